//! Recorded conversations about ownership, and properties of apply.

mod untyped;

use crate::tree::json;
use proptest::prelude::*;

use super::*;
use crate::facts::Type;

const ACCOUNT: &str = "io.k8s.api.core.v1.ServiceAccount";
const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const POD: &str = "io.k8s.api.core.v1.Pod";
const BUDGET: &str = "io.k8s.api.policy.v1.PodDisruptionBudget";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

/// An object on a server that does nothing but apply and update.
struct TestObject {
    ty: &'static Type,
    live: Tree,
    api_version: &'static str,
    minute: u32,
}

impl TestObject {
    fn new(ty: &str) -> Self {
        let api_version = match ty {
            BUDGET => "policy/v1",
            DEPLOYMENT => "apps/v1",
            _ => "v1",
        };
        Self {
            ty: crate::type_named(ty).unwrap(),
            live: json!({"metadata": {}}),
            api_version,
            minute: 0,
        }
    }

    fn apply_to(
        &mut self,
        subresource: &str,
        manager: &str,
        force: bool,
        applied: Tree,
    ) -> Result<(), ApplyError> {
        self.minute += 1;
        let now = format!("2026-01-01T00:{:02}:00Z", self.minute);
        let object = crate::patch::merge(
            json!({"apiVersion": self.api_version, "kind": "K", "metadata": {"name": "a"}}),
            applied,
        )
        .unwrap();
        let writer = FieldManager {
            manager,
            api_version: self.api_version,
            subresource,
            now: &now,
        };
        let mut applied = apply(
            &self.live,
            &object,
            ApplySchema::BuiltIn(self.ty),
            &writer,
            force,
        )?;
        applied["metadata"]["uid"] = "u".into();
        self.live = applied;
        Ok(())
    }

    fn apply(&mut self, manager: &str, applied: Tree) -> Result<(), ApplyError> {
        self.apply_to("", manager, false, applied)
    }

    fn write_to(&mut self, subresource: &str, manager: &str, patch: Tree) {
        self.minute += 1;
        let now = format!("2026-01-01T00:{:02}:00Z", self.minute);
        let writer = FieldManager {
            manager,
            api_version: self.api_version,
            subresource,
            now: &now,
        };
        // An empty list resets the managers, and a merge patch keeps it.
        let mut object = crate::patch::merge(self.live.clone(), patch).unwrap();
        let managed = update_managers(&self.live, &object, ApplySchema::BuiltIn(self.ty), &writer);
        set_managers(&mut object, managed);
        object["metadata"]["uid"] = "u".into();
        self.live = object;
    }

    fn write(&mut self, manager: &str, patch: Tree) {
        self.write_to("", manager, patch);
    }

    /// Returns `manager operation[/subresource] fields` of every entry, in order.
    fn managers(&self) -> Vec<(String, Tree)> {
        let entries = managers::of(&self.live)
            .as_array()
            .cloned()
            .unwrap_or_default();
        let text = |entry: &Tree, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let named = entries.into_iter().map(|entry| {
            let subresource = text(&entry, "subresource");
            let slash = if subresource.is_empty() { "" } else { "/" };
            let untimed = if entry.get("time").is_none() {
                " untimed"
            } else {
                ""
            };
            (
                format!(
                    "{} {}{slash}{subresource}{untimed}",
                    text(&entry, "manager"),
                    text(&entry, "operation")
                ),
                entry["fieldsV1"].clone(),
            )
        });
        named.collect()
    }

    fn check(&self, expected: &[(&str, Tree)]) {
        let expected: Vec<(String, Tree)> = expected
            .iter()
            .map(|(name, fields)| ((*name).to_owned(), fields.clone()))
            .collect();
        assert_eq!(self.managers(), expected);
    }
}

#[test]
fn kubectl_has_no_conflicts_with_its_own_client_side_apply() {
    const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let start = || {
        let mut object = TestObject::new(CONFIG_MAP);
        let last = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "a"},
            "data": {"k": "1", "l": "1"}})
        .to_string();
        object.write(
            "kubectl-client-side-apply",
            json!({"metadata": {"annotations": {ANNOTATION: last}}, "data": {"k": "1", "l": "1"}}),
        );
        object
    };
    let applied = || json!({"data": {"k": "2"}});
    // The rule holds for kubectl only, and for values that equal the annotation only.
    assert!(start().apply("other", applied()).is_err());
    let mut object = start();
    object.apply("kubectl", applied()).unwrap();
    assert_eq!(object.live["data"], json!({"k": "2", "l": "1"}));
    let remembered = object.live["metadata"]["annotations"][ANNOTATION]
        .as_str()
        .unwrap();
    assert_eq!(
        remembered,
        "{\"apiVersion\":\"v1\",\"data\":{\"k\":\"2\"},\"kind\":\"K\",\"metadata\":{\"name\":\"a\"}}\n"
    );
    let mut object = start();
    object.write("somebody", json!({"data": {"k": "3"}}));
    let refused = object.apply("kubectl", applied()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Apply failed with 1 conflict: conflict with \"somebody\" using v1: .data.k"
    );
}

#[test]
fn a_config_map_is_applied_changed_and_pruned() {
    let mut map = TestObject::new(CONFIG_MAP);
    map.apply(
        "m1",
        json!({"metadata": {"labels": {"l": "v"}}, "data": {"k": "1", "j": "1"}}),
    )
    .unwrap();
    let both = json!({"f:data": {"f:j": {}, "f:k": {}}, "f:metadata": {"f:labels": {"f:l": {}}}});
    map.check(&[("m1 Apply", both)]);
    map.apply("m1", json!({"data": {"k": "2"}})).unwrap();
    assert_eq!(map.live["data"], json!({"k": "2"}));
    assert_eq!(map.live["metadata"].get("labels"), None);
    let key = || json!({"f:data": {"f:k": {}}});
    map.check(&[("m1 Apply", key())]);
    // An apply without effect makes an entry without a time, which sorts first.
    map.apply("m2", json!({"data": {"k": "2"}})).unwrap();
    map.check(&[("m2 Apply untimed", key()), ("m1 Apply", key())]);
    let error = map.apply("m2", json!({"data": {"k": "3"}})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"m1\": .data.k"
    );
    map.apply_to("", "m2", true, json!({"data": {"k": "3"}}))
        .unwrap();
    map.check(&[("m2 Apply", key())]);
    map.apply("m1", json!({})).unwrap();
    assert_eq!(map.live["data"], json!({"k": "3"}));
    map.apply("m2", json!({})).unwrap();
    assert_eq!(map.live.get("data"), None);
    map.check(&[]);
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let mut map = TestObject::new(CONFIG_MAP);
    map.write("b", json!({"data": {"k": "1", "j": "1"}}));
    map.apply("a", json!({"data": {"x": "1"}})).unwrap();
    let error = map
        .apply("m", json!({"data": {"k": "2", "j": "2", "x": "2"}}))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .data.x\nconflicts with \"b\" using v1:\n- .data.j\n- .data.k"
    );
    let status = error.status();
    let details = status.details.unwrap();
    assert_eq!(
        (status.code, status.reason.as_str(), details.causes.len()),
        (409, "Conflict", 3)
    );
    assert_eq!(details.causes[1].message, "conflict with \"b\" using v1");
}

#[test]
fn the_status_of_a_pod_has_an_owner_of_its_own() {
    let mut pod = TestObject::new(POD);
    let spec = |image: &str| {
        json!({"spec": {"schedulerName": "nobody", "nodeName": "n",
        "automountServiceAccountToken": false, "containers": [{"name": "c", "image": image}]}})
    };
    pod.apply("m1", spec("img")).unwrap();
    let own = json!({"f:spec": {"f:automountServiceAccountToken": {},
        "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}}},
        "f:nodeName": {}, "f:schedulerName": {}}});
    let ready =
        |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    let mut running = ready("True");
    running["status"]["phase"] = "Running".into();
    pod.apply_to("status", "kubelet", false, running).unwrap();
    let status = json!({"f:status": {"f:conditions": {"k:{\"type\":\"Ready\"}": {".": {},
        "f:status": {}, "f:type": {}}}, "f:phase": {}}});
    pod.check(&[("m1 Apply", own), ("kubelet Apply/status", status)]);
    pod.apply("m1", spec("img2")).unwrap();
    assert_eq!(pod.live["spec"]["containers"][0]["image"], "img2");
    let error = pod
        .apply_to("status", "other", false, ready("False"))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubelet\" with subresource \"status\": .status.conditions[type=\"Ready\"].status"
    );
    let running = json!({"status": {"phase": "Running"}});
    pod.apply_to("status", "kubelet", false, running).unwrap();
    assert_eq!(pod.live["status"], json!({"phase": "Running"}));
}

#[test]
fn a_budget_is_shared_by_force_and_given_back() {
    let mut budget = TestObject::new(BUDGET);
    let spec = |count: u32| {
        json!({"spec": {"minAvailable": count,
        "selector": {"matchLabels": {"app": "none"}}}})
    };
    budget.apply("one", spec(1)).unwrap();
    budget.check(&[(
        "one Apply",
        json!({"f:spec": {"f:minAvailable": {}, "f:selector": {}}}),
    )]);
    let before = managers::of(&budget.live).clone();
    budget.apply("one", spec(1)).unwrap();
    assert_eq!(
        managers::of(&budget.live),
        &before,
        "an apply without effect keeps the time"
    );
    assert_eq!(
        budget.apply("two", spec(2)).unwrap_err().to_string(),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.minAvailable"
    );
    budget.apply_to("", "two", true, spec(2)).unwrap();
    let both = json!({"f:spec": {"f:minAvailable": {}, "f:selector": {}}});
    budget.check(&[
        ("one Apply", json!({"f:spec": {"f:selector": {}}})),
        ("two Apply", both),
    ]);
    let selector = json!({"spec": {"selector": {"matchLabels": {"app": "none"}}}});
    budget.apply("one", selector.clone()).unwrap();
    budget.apply("two", json!({"spec": {}})).unwrap();
    assert_eq!(budget.live["spec"], selector["spec"]);
}

#[test]
fn a_controller_owns_the_conditions_that_it_writes() {
    let mut budget = TestObject::new(BUDGET);
    budget.write(
        "maker",
        json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "none"}}}}),
    );
    budget.write_to(
        "status",
        "kube-controller-manager",
        json!({"status": {
            "conditions": [{"type": "DisruptionAllowed", "status": "False", "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "InsufficientPods",
                "message": ""}],
            "currentHealthy": 0, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 0,
                "observedGeneration": 1
        }}),
    );
    let condition = json!({".": {}, "f:lastTransitionTime": {}, "f:message": {},
        "f:observedGeneration": {}, "f:reason": {}, "f:status": {}, "f:type": {}});
    let conditions = json!({".": {}, "k:{\"type\":\"DisruptionAllowed\"}": condition});
    budget.check(&[
        (
            "maker Update",
            json!({"f:spec": {"f:minAvailable": {}, "f:selector": {}}}),
        ),
        (
            "kube-controller-manager Update/status",
            json!({"f:status": {"f:conditions": conditions, "f:desiredHealthy": {},
                "f:observedGeneration": {}}}),
        ),
    ]);
    budget.write("changer", json!({"spec": {"minAvailable": 2}}));
    assert_eq!(
        budget.managers()[0],
        (
            "maker Update".to_owned(),
            json!({"f:spec": {"f:selector": {}}})
        )
    );
    assert_eq!(
        budget.managers()[2],
        (
            "changer Update".to_owned(),
            json!({"f:spec": {"f:minAvailable": {}}})
        )
    );
}

#[test]
fn ordinary_writes_own_what_they_change() {
    let mut map = TestObject::new(CONFIG_MAP);
    map.write(
        "mine",
        json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "a",
        "namespace": "n", "creationTimestamp": "t", "resourceVersion": "1"}, "data": {"k": "1"}}),
    );
    map.check(&[("mine Update", json!({"f:data": {".": {}, "f:k": {}}}))]);
    map.write("mine", json!({"data": {"j": "1"}}));
    map.write("yours", json!({"data": {"k": "2"}}));
    let (mine, yours) = (
        json!({"f:data": {".": {}, "f:j": {}}}),
        json!({"f:data": {"f:k": {}}}),
    );
    map.check(&[("mine Update", mine), ("yours Update", yours)]);
    let before = map.live.clone();
    map.write("third", json!({"data": {"k": "2"}}));
    assert_eq!(map.live, before, "a write without a change owns nothing");
    map.write("yours", json!({"metadata": {"managedFields": [{}]}}));
    map.check(&[]);
    map.write("yours", json!({"data": {"k": "3"}}));
    map.check(&[]);
    map.apply("later", json!({"data": {"k": "3"}})).unwrap();
    let before_apply = json!({"f:data": {".": {}, "f:j": {}, "f:k": {}}});
    map.check(&[
        ("later Apply untimed", json!({"f:data": {"f:k": {}}})),
        ("before-first-apply Update", before_apply),
    ]);
}

#[test]
fn an_empty_list_resets_the_managers_but_not_through_a_subresource() {
    let mut map = TestObject::new(CONFIG_MAP);
    map.write("mine", json!({"data": {"k": "1"}}));
    map.write_to(
        "status",
        "mine",
        json!({"metadata": {"managedFields": [{}]}}),
    );
    assert_eq!(map.managers().len(), 1);
    map.write("mine", json!({"metadata": {"managedFields": []}}));
    map.check(&[]);
    map.write("mine", json!({"metadata": {"managedFields": []}}));
    assert_eq!(map.live["metadata"].get("managedFields"), None);
}

#[test]
fn a_created_pod_is_owned_with_its_defaults() {
    let mut pod = TestObject::new(POD);
    pod.write("mine", json!({"spec": {
        "containers": [{"name": "c", "image": "img", "imagePullPolicy": "Always", "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
        "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Always",
            "securityContext": {}, "terminationGracePeriodSeconds": 0
    }}));
    let ports = json!({".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {},
        "f:containerPort": {}, "f:protocol": {}}});
    let container = json!({".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {},
        "f:ports": ports, "f:resources": {}, "f:terminationMessagePath": {},
        "f:terminationMessagePolicy": {}});
    pod.check(&[(
        "mine Update",
        json!({"f:spec": {
            "f:containers": {"k:{\"name\":\"c\"}": container},
            "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {},
                "f:securityContext": {}, "f:terminationGracePeriodSeconds": {}
        }}),
    )]);
}

#[test]
fn a_created_deployment_is_owned_as_in_upstream() {
    let mut deployment = TestObject::new(DEPLOYMENT);
    deployment.write(
        "kubectl-create",
        json!({"spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c",
                "resources": {"limits": {"cpu": "1"}}}]}}
        }}),
    );
    let resources = json!({".": {}, "f:limits": {".": {}, "f:cpu": {}}});
    deployment.check(&[(
        "kubectl-create Update",
        json!({"f:spec": {
            "f:replicas": {}, "f:selector": {}, "f:strategy": {"f:rollingUpdate": {".": {},
                "f:maxSurge": {}}, "f:type": {}},
            "f:template": {"f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {},
                "f:resources": resources}}}}
        }}),
    )]);
}

#[test]
fn sets_and_references_are_owned_item_by_item() {
    let mut map = TestObject::new(CONFIG_MAP);
    map.apply(
        "a",
        json!({"metadata": {"finalizers": ["x/a"], "ownerReferences": [{"apiVersion": "v1",
            "kind": "Pod", "name": "p", "uid": "1"}]}}),
    )
    .unwrap();
    map.apply("b", json!({"metadata": {"finalizers": ["x/b"]}}))
        .unwrap();
    assert_eq!(map.live["metadata"]["finalizers"], json!(["x/a", "x/b"]));
    map.check(&[
        (
            "a Apply",
            json!({"f:metadata": {"f:finalizers": {"v:\"x/a\"": {}},
            "f:ownerReferences": {"k:{\"uid\":\"1\"}": {}}}}),
        ),
        (
            "b Apply",
            json!({"f:metadata": {"f:finalizers": {"v:\"x/b\"": {}}}}),
        ),
    ]);
    map.apply("a", json!({})).unwrap();
    assert_eq!(map.live["metadata"]["finalizers"], json!(["x/b"]));
    assert_eq!(map.live["metadata"].get("ownerReferences"), None);
}

#[test]
fn applied_items_come_in_their_order_and_others_stay_between_them() {
    let table = [
        (
            ["a", "b"].as_slice(),
            ["b", "a"].as_slice(),
            ["b", "a"].as_slice(),
        ),
        (&["a", "x", "b"], &["b", "a"], &["x", "b", "a"]),
        (&["a", "b"], &["n"], &["a", "b", "n"]),
        (&["a", "b"], &["n", "b"], &["a", "n", "b"]),
        (&["a", "z"], &["a", "n"], &["a", "z", "n"]),
        (&[], &["b", "a"], &["b", "a"]),
    ];
    let list =
        |names: &[&str]| -> Tree { names.iter().map(|name| json!({"name": name})).collect() };
    for (live, applied, expected) in table {
        let mut pod = TestObject::new(POD);
        pod.write("other", json!({"spec": {"containers": list(live)}}));
        pod.apply("m", json!({"spec": {"containers": list(applied)}}))
            .unwrap();
        assert_eq!(
            pod.live["spec"]["containers"],
            list(expected),
            "{applied:?} on {live:?}"
        );
    }
}

#[test]
fn fields_that_the_server_added_below_an_owned_item_are_removed_with_it() {
    let mut pod = TestObject::new(POD);
    pod.apply(
        "m",
        json!({"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b"}]}}),
    )
    .unwrap();
    pod.live["spec"]["containers"][0]["imagePullPolicy"] = "Always".into();
    pod.live["spec"]["dnsPolicy"] = "ClusterFirst".into();
    pod.apply("m", json!({"spec": {"containers": [{"name": "b"}]}}))
        .unwrap();
    assert_eq!(
        pod.live["spec"],
        json!({"containers": [{"name": "b"}], "dnsPolicy": "ClusterFirst"})
    );
}

#[test]
fn invalid_objects_are_rejected_with_the_messages_of_the_api() {
    let prefix = "failed to create typed patch object (/a; /v1, Kind=K): ";
    let table = [
        (
            CONFIG_MAP,
            json!({"nope": 1}),
            ".nope: field not declared in schema",
        ),
        (
            CONFIG_MAP,
            json!({"data": {"k": 1}}),
            ".data.k: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            CONFIG_MAP,
            json!({"data": ["x"]}),
            ".data: expected map, got &value.valueUnstructured{Value:[]interface {}{\"x\"}}",
        ),
        (
            POD,
            json!({"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}),
            ".spec.containers: duplicate entries for key [name=\"c\"]",
        ),
        (
            POD,
            json!({"spec": {"containers": [{"name": "c", "tty": 1}]}}),
            ".spec.containers[name=\"c\"].tty: expected boolean, got &value.valueUnstructured{Value:1}",
        ),
        (
            POD,
            json!({"spec": {"containers": [1]}}),
            ".spec.containers: element 0: associative list with keys may not have non-map elements",
        ),
        (
            POD,
            json!({"spec": {"x": 1, "y": 1}}),
            "errors:\n  .spec.x: field not declared in schema\n  .spec.y: field not declared in schema",
        ),
        (
            ACCOUNT,
            json!({"secrets": [{"namespace": "c"}]}),
            ".secrets: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have default values for any key fields)",
        ),
    ];
    for (ty, applied, why) in table {
        let error = TestObject::new(ty).apply("m", applied).unwrap_err();
        assert_eq!(
            (error.status().code, error.to_string()),
            (500, format!("{prefix}{why}"))
        );
    }
    let error = TestObject::new(CONFIG_MAP)
        .apply(
            "m",
            json!({"metadata": {"managedFields": [{"manager": "x"}]}}),
        )
        .unwrap_err();
    assert_eq!(
        (error.status().code, error.to_string().as_str()),
        (400, "metadata.managedFields must be nil")
    );
}

#[test]
fn the_oldest_updaters_are_merged() {
    let mut map = TestObject::new(CONFIG_MAP);
    for index in 0..13 {
        map.write(
            &format!("m{index:02}"),
            json!({"data": {format!("k{index:02}"): "1"}}),
        );
    }
    let managers = map.managers();
    assert_eq!(managers.len(), 10);
    assert_eq!(
        managers[0],
        (
            "ancient-changes Update".to_owned(),
            json!({"f:data": {".": {}, "f:k00": {}, "f:k01": {}, "f:k02": {}, "f:k03": {}}})
        )
    );
    assert_eq!(managers[1].0, "m04 Update");
}

#[test]
fn objects_without_a_definition_are_owned_member_by_member() {
    let writer = FieldManager {
        manager: "m",
        api_version: "x/v1",
        subresource: "",
        now: "2026-01-01T00:00:00Z",
    };
    let applied = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"},
        "spec": {"list": [1], "map": {"a": 1}, "none": {}}});
    let object = apply(&json!({}), &applied, ApplySchema::Deduced, &writer, false).unwrap();
    assert_eq!(
        managers::of(&object)[0]["fieldsV1"],
        json!({"f:spec": {".": {}, "f:list": {}, "f:map": {".": {}, "f:a": {}}, "f:none": {}}})
    );
    let applied = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"},
        "spec": {"list": [2]}});
    let object = apply(&object, &applied, ApplySchema::Deduced, &writer, false).unwrap();
    assert_eq!(object["spec"], json!({"list": [2]}));
}

fn any_fields() -> impl Strategy<Value = Tree> {
    Just(json!({})).prop_recursive(3, 12, 3, |inner| {
        let element = "f:[a-c]|k:[{]\"name\": ?\"[ab]\"[}]|v:\"[ab]\"|v:1|i:0|[.]";
        proptest::collection::btree_map(element, inner, 0..4).prop_map(|members| {
            Tree::Object(
                members
                    .into_iter()
                    .map(|(name, below)| {
                        if name == "." {
                            (name, json!({}))
                        } else {
                            (name, below)
                        }
                    })
                    .collect(),
            )
        })
    })
}

fn any_data() -> impl Strategy<Value = Tree> {
    let data = proptest::collection::btree_map("[a-d]", "[12]", 0..4);
    let finalizers = proptest::collection::btree_set("[a-d]", 0..4);
    (data, finalizers).prop_map(
        |(data, finalizers)| json!({"data": data, "metadata": {"finalizers": finalizers}}),
    )
}

proptest! {
    #[test]
    fn field_sets_have_the_properties_of_sets(left in any_fields(), right in any_fields()) {
        let (Some(left), Some(right)) = (FieldSet::decode(&left),
            FieldSet::decode(&right)) else { return Ok(()) };
        prop_assert_eq!(FieldSet::decode(&left.encode()), Some(left.clone()));
        let both = left.clone().union(&right);
        prop_assert_eq!(left.clone().difference(&right).union(&left.intersection(&right)),
            left.clone());
        prop_assert_eq!(both.clone().difference(&right), left.clone().difference(&right));
        prop_assert_eq!(right.clone().union(&left), both);
        prop_assert!(left.clone().difference(&left).is_empty());
    }

    #[test]
    fn an_apply_is_idempotent_and_sets_what_it_names(first in any_data(), second in any_data(),
        mine in any_data()) {
        let mut map = TestObject::new(CONFIG_MAP);
        map.write("w", first);
        map.apply_to("", "m", true, second).unwrap();
        map.apply_to("", "m", true, mine.clone()).unwrap();
        for (name, value) in mine["data"].as_object().unwrap() {
            prop_assert_eq!(&map.live["data"][name], value);
        }
        let before = map.live.clone();
        map.apply("m", mine.clone()).unwrap();
        prop_assert!(crate::json::equal(&map.live, &before, map.ty), "{} {}", map.live, before);
        // A field disappears when its last owner stops applying it.
        map.apply("m", json!({})).unwrap();
        let owned = managers::ManagedFields::decode(managers::of(&map.live)).unwrap().owned();
        for name in map.live["data"].as_object().into_iter().flatten().map(|(name, _)| name) {
            prop_assert!(owned.get("f:data").is_some_and(|data| data.below.get(&format!(
                "f:{name}")).is_some()), "{}", name);
        }
    }

    #[test]
    fn garbage_never_panics(live in any_fields(), applied in any_fields(), names in "[a-c]{1,2}") {
        let writer = FieldManager { manager: "m", api_version: "v1", subresource: "", now: "" };
        let garbage = json!({"metadata": {"managedFields": [{"manager": names,
            "operation": "Apply", "fieldsV1": live}, applied]}, "data": applied});
        let ty = ApplySchema::BuiltIn(crate::type_named(CONFIG_MAP).expect("in the table"));
        let _ = apply(&garbage, &json!({"data": live, "metadata": {"finalizers": [applied, 1, null,
            null]}}), ty, &writer, false);
        let _ = apply(&Tree::Null, &live, ty, &writer, true);
        let _ = update_managers(&garbage, &applied, ty, &writer);
    }
}
