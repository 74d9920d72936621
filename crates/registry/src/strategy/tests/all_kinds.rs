//! Tests of defaults, validation and updates of all kinds except pods and disruption budgets, and
//! of the rules that all kinds share.

use kinds::Tree;
use kinds::tree::Text;

use super::{
    ON, POD, TEMPLATE, change, check_change, check_faults, check_generation, check_part, context,
    made, rules,
};
use crate::kind;

#[test]
fn workloads_get_their_defaults() {
    check_part(
        "apps/v1/daemonsets",
        &format!("spec: {{selector: {{matchLabels: {{a: b}}}}, {TEMPLATE}}}"),
        &["metadata", "annotations"],
        r#"{"deprecated.daemonset.template.generation":"1"}"#,
    );
    let job = "spec: {template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}";
    check_part(
        "batch/v1/jobs",
        job,
        &["spec", "selector"],
        r#"{"matchLabels":{"batch.kubernetes.io/controller-uid":"u-1"}}"#,
    );
    check_part(
        "batch/v1/jobs",
        job,
        &["spec", "template", "metadata", "labels"],
        r#"{"a":"b","batch.kubernetes.io/controller-uid":"u-1","batch.kubernetes.io/job-name":"x","controller-uid":"u-1","job-name":"x"}"#,
    );
    check_part(
        "batch/v1/jobs",
        job,
        &["metadata", "labels"],
        r#"{"a":"b"}"#,
    );
    let made = made("batch/v1/jobs", job, ON);
    for (field, expected) in [("completions", 1), ("parallelism", 1), ("backoffLimit", 6)] {
        assert_eq!(made["spec"][field], expected, "{field}");
    }
    check_part(
        "batch/v1/cronjobs",
        "spec: {schedule: '* * * * *'}",
        &["spec", "concurrencyPolicy"],
        r#""Allow""#,
    );
}

#[test]
fn other_kinds_get_their_defaults() {
    check_part(
        "discovery.k8s.io/v1/endpointslices",
        "{addressType: IPv4, endpoints: [], ports: [{port: 80}]}",
        &["ports"],
        r#"[{"name":"","port":80,"protocol":"TCP"}]"#,
    );
    check_part(
        "networking.k8s.io/v1/networkpolicies",
        "spec: {egress: [{ports: [{port: 53}]}]}",
        &["spec"],
        r#"{"podSelector":{},"policyTypes":["Ingress","Egress"],"egress":[{"ports":[{"port":53,"protocol":"TCP"}]}]}"#,
    );
    check_part(
        "storage.k8s.io/v1/storageclasses",
        "provisioner: p",
        &["reclaimPolicy"],
        r#""Delete""#,
    );
    check_part(
        "v1/secrets",
        "stringData: {a: b}",
        &["data"],
        r#"{"a":"Yg=="}"#,
    );
    check_part(
        "v1/nodes",
        "spec: {podCIDR: 10.0.0.0/24}",
        &["spec", "podCIDRs"],
        r#"["10.0.0.0/24"]"#,
    );
    check_part(
        "v1/namespaces",
        "spec: {finalizers: [a.b/c]}",
        &["spec", "finalizers"],
        r#"["a.b/c","kubernetes"]"#,
    );
}

#[test]
fn faults_of_other_kinds_name_field_and_reason() {
    check_faults(
        "apps/v1/deployments",
        &format!(
            "spec: {{replicas: -1, strategy: {{rollingUpdate: {{maxSurge: 0, maxUnavailable: 0}}}}, progressDeadlineSeconds: 5, minReadySeconds: 9, selector: {{matchLabels: {{a: b}}}}, {TEMPLATE}}}"
        ),
        &[
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
        ],
    );
    check_faults(
        "batch/v1/jobs",
        "spec: {completionMode: Indexed, parallelism: 1, template: {spec: {containers: [{name: c, image: i}]}}}",
        &[
            "spec.completions: Required value: when completion mode is Indexed",
            r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#,
        ],
    );
    check_faults(
        "v1/nodes",
        "spec: {taints: [{key: k, effect: Never}, {key: l, effect: NoSchedule}, {key: l, effect: NoSchedule}]}",
        &[
            r#"metadata.taints[0].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#,
            r#"metadata.taints[2]: Duplicate value: {"Key":"l","Value":"","Effect":"NoSchedule","TimeAdded":null}: taints must be unique by key and effect pair"#,
        ],
    );
    check_faults(
        "scheduling.k8s.io/v1/priorityclasses",
        "{metadata: {name: a}, value: 2000000000}",
        &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    );
    check_faults(
        "v1/events",
        "{involvedObject: {kind: Pod, namespace: other, name: p}}",
        &[r#"involvedObject.namespace: Invalid value: "other": does not match event.namespace"#],
    );
    check_faults(
        "rbac.authorization.k8s.io/v1/clusterroles",
        "metadata: {name: 'system:x'}",
        &[],
    );
    check_faults(
        "discovery.k8s.io/v1/endpointslices",
        "{addressType: IPv4, endpoints: [{addresses: []}, {addresses: ['::1']}]}",
        &[
            "endpoints[0].addresses: Required value: must contain at least 1 address",
            r#"endpoints[1].addresses[0]: Invalid value: "::1": must be a valid IPv4 address"#,
        ],
    );
}

#[test]
fn the_generation_counts_changes_for_controllers() {
    let budgets = |new: &str, expected| {
        check_generation(
            "policy/v1/poddisruptionbudgets",
            "spec: {minAvailable: 1}",
            new,
            expected,
        )
    };
    budgets("{metadata: {labels: {a: b}}, spec: {minAvailable: 1}}", 1);
    budgets("spec: {minAvailable: 1, selector: {}}", 2);
    let old = format!("spec: {{selector: {{matchLabels: {{a: b}}}}, {TEMPLATE}}}");
    check_generation(
        "apps/v1/deployments",
        &old,
        &format!("{{metadata: {{annotations: {{x: v}}}}, {old}}}"),
        2,
    );
    check_generation(
        "apps/v1/deployments",
        &old,
        &format!("{{metadata: {{labels: {{x: v}}}}, {old}}}"),
        1,
    );
    check_generation(
        "apps/v1/replicasets",
        &old,
        &format!("{{metadata: {{annotations: {{x: v}}}}, {old}}}"),
        1,
    );
    check_generation("v1/pods", POD, POD, 1);
    check_generation(
        "v1/pods",
        POD,
        "spec: {hostNetwork: false, containers: [{name: c, image: img, stdin: false}]}",
        1,
    );
    check_generation(
        "v1/pods",
        POD,
        "spec: {containers: [{name: c, image: new}]}",
        2,
    );
    let (next, _) = change(
        "apps/v1/daemonsets",
        &old,
        &old.replace("img", "new"),
        "",
        ON,
    );
    assert_eq!(
        next["metadata"]["annotations"]["deprecated.daemonset.template.generation"],
        "2"
    );
    let (same, _) = change("apps/v1/daemonsets", &old, &old, "", ON);
    assert_eq!(
        same["metadata"]["annotations"]["deprecated.daemonset.template.generation"],
        "1"
    );
    assert_eq!(next["metadata"]["generation"], 2);
}

#[test]
fn the_unavailability_of_a_stateful_set_is_dropped_as_its_gate_is_off() {
    let resource = "apps/v1/statefulsets";
    let path = ["spec", "updateStrategy", "rollingUpdate"];
    let set = |most: &str| {
        let rolling = format!("{{type: RollingUpdate, rollingUpdate: {{{most}}}}}");
        format!(
            "spec: {{selector: {{matchLabels: {{a: b}}}}, updateStrategy: {rolling}, {TEMPLATE}}}"
        )
    };
    for most in [
        "maxUnavailable: 2",
        "maxUnavailable: 0",
        "maxUnavailable: 200%",
        "",
    ] {
        check_part(resource, &set(most), &path, r#"{"partition":0}"#);
        let (next, faults) = change(resource, &set(""), &set(most), "", ON);
        assert_eq!(faults, [""; 0], "{most}");
        assert_eq!(
            crate::tree::at(&next, &path),
            &kinds::tree::json!({"partition": 0}),
            "{most}"
        );
    }
}

#[test]
fn a_status_update_changes_nothing_else() {
    let (next, faults) = change(
        "v1/pods",
        "{metadata: {ownerReferences: [{apiVersion: v1, kind: Pod, name: o, uid: u}]}, spec: {containers: [{name: c, image: img}]}}",
        "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: other}]}, status: {phase: Running, podIP: 10.0.0.1}}",
        "status",
        ON,
    );
    assert_eq!(faults, [""; 0]);
    assert_eq!(next["spec"]["containers"][0]["image"], "img");
    assert_eq!(next["metadata"]["labels"]["a"], "b");
    assert_eq!(next["metadata"]["ownerReferences"][0]["name"], "o");
    assert_eq!(next["metadata"]["generation"], 1);
    assert_eq!(
        next["status"],
        kinds::tree::json!({"phase": "Running", "qosClass": "BestEffort", "podIP": "10.0.0.1",
            "podIPs": [{"ip": "10.0.0.1"}]})
    );
}

#[test]
fn immutable_fields_cannot_change() {
    check_change(
        "v1/nodes",
        "spec: {podCIDR: 10.0.0.0/24, providerID: a://b}",
        "spec: {podCIDR: 10.1.0.0/24, providerID: a://c, unschedulable: true}",
        &[
            "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
            "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
        ],
    );
    check_change(
        "v1/nodes",
        "{}",
        "spec: {unschedulable: true, taints: [{key: k, effect: NoExecute}]}",
        &[],
    );
    check_change(
        "v1/secrets",
        "{type: a, immutable: true, data: {k: eA==}}",
        "{type: b, immutable: true, data: {}}",
        &[
            r#"type: Invalid value: "b": field is immutable"#,
            "data: Forbidden: field is immutable when `immutable` is set",
        ],
    );
    check_change(
        "v1/configmaps",
        "{immutable: true}",
        "{}",
        &["immutable: Forbidden: field is immutable when `immutable` is set"],
    );
    check_change(
        "v1/services",
        "spec: {clusterIP: 10.96.0.5, ports: [{port: 1}]}",
        "spec: {clusterIP: 10.96.0.6, ports: [{port: 1}]}",
        &[r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.6"]: may not change once set"#],
    );
    check_change(
        "scheduling.k8s.io/v1/priorityclasses",
        "value: 1",
        "value: 2",
        &["value: Forbidden: may not be changed in an update."],
    );
}

#[test]
fn system_metadata_is_carried_over_and_its_faults_are_reported_twice() {
    let (next, faults) = change(
        "v1/configmaps",
        "{}",
        "metadata: {generation: 9, name: other}",
        "",
        ON,
    );
    assert_eq!(next["metadata"]["resourceVersion"], "7");
    assert!(next["metadata"].get("generation").is_none());
    assert_eq!(
        faults,
        [r#"metadata.name: Invalid value: "other": field is immutable"#; 2]
    );
    let (_, faults) = change(
        "policy/v1/poddisruptionbudgets",
        "{}",
        "metadata: {name: other}",
        "",
        ON,
    );
    assert_eq!(
        faults,
        [r#"metadata.name: Invalid value: "other": field is immutable"#]
    );
}

#[test]
fn each_kind_has_its_field_selectors() {
    let check = |resource: &str, field: &str, expected: Result<&'static str, &str>| {
        assert_eq!(
            rules(resource).0.check_field(field),
            expected.map(Text::new_static).map_err(str::to_owned),
            "{resource} {field}"
        );
    };
    check("v1/pods", "spec.nodeName", Ok("spec.nodeName"));
    check("v1/pods", "spec.host", Ok("spec.nodeName"));
    check(
        "v1/pods",
        "spec.priority",
        Err("field label not supported: spec.priority"),
    );
    check("v1/configmaps", "metadata.name", Ok("metadata.name"));
    check(
        "v1/configmaps",
        "x",
        Err("\"x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
    );
    check(
        "events.k8s.io/v1/events",
        "regarding.name",
        Ok("involvedObject.name"),
    );
    check(
        "batch/v1/jobs",
        "status.successful",
        Ok("status.successful"),
    );
    let pod = made(
        "v1/pods",
        "spec: {nodeName: n1, hostNetwork: true, containers: []}",
        ON,
    );
    let value = |field: &str| rules("v1/pods").0.selectable(&pod, field);
    assert_eq!(
        [
            value("spec.nodeName"),
            value("spec.hostNetwork"),
            value("status.phase"),
            value("status.podIP")
        ],
        ["n1", "true", "Pending", ""]
    );
}

#[test]
fn every_stored_kind_accepts_an_empty_object_without_panic() {
    for resource in kinds::resources().iter().filter(|resource| resource.stored) {
        let rules = kind::rules(&resource.into());
        for mut tree in [
            Tree::Null,
            kinds::tree::json!({}),
            kinds::tree::json!({"spec": {}, "status": {}}),
        ] {
            rules.default(&mut tree);
            rules.prepare_create(&context("", ON), &mut tree);
            assert!(
                !rules.validate_create(&context("", ON), &tree).is_empty(),
                "{}: a name is required",
                resource.plural
            );
            let mut next = tree.clone();
            rules.prepare_update(&context("", ON), &mut next, &tree);
            let _ = rules.validate_update(&context("", ON), &next, &tree);
            for sub in resource.subresources.iter() {
                let mut next = kinds::tree::json!({});
                rules.prepare_update(&context(sub.name, ON), &mut next, &tree);
                let _ = rules.validate_update(&context(sub.name, ON), &next, &tree);
            }
        }
    }
}
