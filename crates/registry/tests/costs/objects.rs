//! Creating objects: defaulting, admission and validation.

use serde_json::{Map, Value, json};

use crate::costs;
use crate::world::World;

/// Runs requests against a registry of their own.
pub(crate) fn with_world<F: Future<Output = ()>>(run: impl FnOnce(World) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async { run(World::new().await).await });
}

fn list(count: usize, item: impl Fn(usize) -> Value) -> Value {
    (0..count).map(item).collect()
}

fn members(count: usize, member: impl Fn(usize) -> (String, Value)) -> Value {
    (0..count).map(member).collect::<Map<_, _>>().into()
}

fn named(prefix: &'static str) -> impl Fn(usize) -> Value {
    move |at| json!({"name": format!("{prefix}{at}")})
}

/// Creates an object, whether or not it is valid.
fn create(plural: &'static str, object: Value) {
    with_world(|world| async move {
        let namespace = match plural {
            "nodes" | "customresourcedefinitions" => "",
            _ => "shop",
        };
        drop(world.try_create(plural, namespace, object).await);
    });
}

/// Creates a pod with these members of its spec and of its container.
fn pod(spec: Value, container: Value) {
    let mut whole = json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "image": "i"}]}});
    for (name, value) in container.as_object().into_iter().flatten() {
        whole["spec"]["containers"][0][name] = value.clone();
    }
    for (name, value) in spec.as_object().into_iter().flatten() {
        whole["spec"][name] = value.clone();
    }
    create("pods", whole);
}

fn metadata(member: &str, value: Value) {
    let mut object = json!({"metadata": {"name": "a"}});
    object["metadata"][member] = value;
    create("configmaps", object);
}

/// Creates an object of a kind whose spec has this schema.
fn custom(schema: Value, spec: Value) {
    let definition = json!({
        "metadata": {"name": "crates.shop.example.com"},
        "spec": {
            "group": "shop.example.com", "scope": "Namespaced",
            "names": {"plural": "crates", "kind": "Crate"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": schema}}}}],
        },
    });
    with_world(|world| async move {
        world
            .create("customresourcedefinitions", "", definition)
            .await;
        let verb = registry::request::Verb::Create {
            body: crate::world::json_body(&json!({"apiVersion": "shop.example.com/v1",
                "kind": "Crate", "metadata": {"name": "c"}, "spec": spec})),
            options: registry::request::WriteOptions::default(),
        };
        drop(
            world
                .ask_of("shop.example.com", "crates", "shop", verb)
                .await,
        );
    });
}

fn map_list(keys: &Value) -> Value {
    json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys,
        "items": {"type": "object", "required": keys,
            "properties": {"name": {"type": "string"}}}})
}

costs! {
    invalid_labels: 300, |size| {
        metadata("labels", members(size, |at| (format!("-{at}"), json!("-"))));
    };
    invalid_annotations: 300, |size| {
        metadata("annotations", members(size, |at| (format!("-{at}"), json!("-"))));
    };
    owners_that_all_are_controllers: 200, |size| {
        metadata("ownerReferences", list(size, |at| json!({"apiVersion": "v1", "kind": "Pod",
            "name": format!("p{at}"), "uid": format!("u{at}"), "controller": true})));
    };
    invalid_finalizers: 300, |size| {
        metadata("finalizers", list(size, |at| json!(format!("-{at}"))));
    };
    managed_fields_of_a_body: 200, |size| {
        metadata("managedFields", list(size, |at| json!({"manager": format!("m{at}"),
            "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {format!("f:k{at}"): {}}}})));
    };
    keys_of_a_config_map: 300, |size| {
        create("configmaps", json!({"metadata": {"name": "a"},
            "data": members(size, |at| (format!("k{at}"), json!("v")))}));
    };
    containers: 60, |size| {
        pod(json!({"containers": list(size, |at| json!({"name": format!("c{at}"), "image": "i",
            "ports": [{"containerPort": at + 1, "hostPort": at + 1}]}))}), json!({}));
    };
    ephemeral_and_init_containers: 60, |size| {
        let all = list(size, |at| json!({"name": format!("e{at}"), "image": "i",
            "targetContainerName": format!("x{at}")}));
        pod(json!({"initContainers": all, "ephemeralContainers": all}), json!({}));
    };
    mounts_and_devices: 100, |size| {
        let mounts = list(size, |at| json!({"name": format!("m{at}"),
            "mountPath": format!("/{at}")}));
        let devices = list(size, |at| json!({"name": format!("d{at}"),
            "devicePath": format!("/d{at}")}));
        pod(json!({"volumes": list(size, named("m"))}),
            json!({"volumeMounts": mounts, "volumeDevices": devices}));
    };
    variables_of_a_container: 200, |size| {
        let variable = |at| json!({"name": format!("-{at}"), "value": "v"});
        pod(json!({}), json!({"env": list(size, variable)}));
    };
    ports_of_a_container: 200, |size| {
        pod(json!({}), json!({"ports": list(size, |at| json!({"name": format!("p{at}"),
            "containerPort": at}))}));
    };
    amounts_of_a_container: 150, |size| {
        let amounts = members(size, |at| (format!("example.com/r{at}"), json!("2")));
        pod(json!({}), json!({"resources": {"requests": amounts, "limits": amounts}}));
    };
    unknown_claims: 200, |size| {
        pod(json!({"resourceClaims": list(size, named("c"))}),
            json!({"resources": {"claims": list(size, named("x"))}}));
    };
    tolerations: 200, |size| {
        pod(json!({"tolerations": list(size, |at| json!({"key": format!("k{at}"),
            "operator": "Exists"}))}), json!({}));
    };
    spread_constraints: 150, |size| {
        pod(json!({"topologySpreadConstraints": list(size, |at| json!({"maxSkew": 1,
            "topologyKey": format!("k{at}"), "whenUnsatisfiable": "DoNotSchedule"}))}), json!({}));
    };
    volumes: 150, |size| {
        pod(json!({"volumes": list(size, |at| json!({"name": format!("v{at}"), "emptyDir": {}}))}),
            json!({}));
    };
    gates_and_secrets: 200, |size| {
        pod(json!({"schedulingGates": list(size, named("example.com/g")),
            "imagePullSecrets": list(size, named("s")),
            "hostAliases": list(size, |at| json!({"ip": format!("10.0.0.{at}"),
                "hostnames": ["-"]})),
            "readinessGates": list(size, |at| json!({"conditionType": format!("-{at}")}))}),
            json!({}));
    };
    terms_of_a_node_affinity: 100, |size| {
        pod(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": list(size, |at| json!({"matchExpressions": [
                {"key": format!("-{at}"), "operator": "In", "values": ["-"]}]}))}}}}), json!({}));
    };
    expressions_of_a_budget: 150, |size| {
        create("poddisruptionbudgets", json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1,
            "selector": {"matchExpressions": list(size, |at| json!({"key": format!("k{at}"),
            "operator": "In", "values": [format!("-{at}")]}))}}}));
    };
    values_of_a_budget: 300, |size| {
        create("poddisruptionbudgets", json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1,
            "selector": {"matchExpressions": [{"key": "k", "operator": "In",
            "values": list(size, |at| json!(format!("-{at}")))}]}}}));
    };
    ports_of_a_service: 100, |size| {
        create("services", json!({"metadata": {"name": "s"}, "spec": {"ports":
            list(size, |at| json!({"name": format!("p{at}"), "port": at + 1, "targetPort": 0}))}}));
    };
    rules_of_a_job: 100, |size| {
        create("jobs", json!({"metadata": {"name": "j"}, "spec": {
            "podFailurePolicy": {"rules": list(size, |at| json!({"action": "FailJob",
                "onExitCodes": {"operator": "In", "values": [1],
                    "containerName": format!("x{at}")}}))},
            "template": {"spec": {"restartPolicy": "Never", "containers":
                list(size, |at| json!({"name": format!("c{at}"), "image": "i"}))}}}}));
    };
    addresses_of_a_node: 200, |size| {
        create("nodes", json!({"metadata": {"name": "n"}, "status": {
            "addresses": list(size, |at| json!({"type": "InternalIP",
                "address": format!("a{at}")}))}}));
    };
    versions_of_a_definition: 60, |size| {
        create("customresourcedefinitions", json!({"metadata": {"name": "crates.shop.example.com"},
            "spec": {"group": "shop.example.com", "scope": "Namespaced",
                "names": {"plural": "crates", "kind": "Crate"},
                "versions": list(size, |at| json!({"name": format!("v{}", at / 2), "served": true,
                    "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}}))}}));
    };
    keys_of_a_map_list: 150, |size| {
        let keys = list(size, |at| json!(format!("k{at}")));
        let properties = members(size, |at| (format!("k{at}"), json!({"type": "string"})));
        create("customresourcedefinitions", json!({"metadata": {"name": "crates.shop.example.com"},
            "spec": {"group": "shop.example.com", "scope": "Namespaced",
                "names": {"plural": "crates", "kind": "Crate"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"x": {
                        "type": "array", "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": keys, "items": {"type": "object",
                            "required": keys, "properties": properties}}}}}}]}}));
    };
    items_of_a_set: 300, |size| {
        custom(json!({"type": "array", "x-kubernetes-list-type": "set",
            "items": {"type": "string"}}), list(size, |at| json!(format!("i{at}"))));
    };
    items_of_a_map_list: 200, |size| {
        custom(map_list(&json!(["name"])), list(size, named("i")));
    };
    values_of_an_enum: 200, |size| {
        let values = list(size, |at| json!(format!("v{at}")));
        custom(json!({"type": "array", "items": {"type": "string", "enum": values}}),
            list(size, |at| json!(format!("w{at}"))));
    };
    values_below_a_long_key: 200, |size| {
        custom(json!({"type": "object", "additionalProperties": {"type": "object",
            "additionalProperties": {"type": "integer"}}}),
            json!({"k".repeat(40 * size): members(size, |at| (format!("m{at}"), json!("no")))}));
    };
    unknown_fields_below_a_long_key: 200, |size| {
        custom(json!({"type": "object", "additionalProperties": {"type": "object"}}),
            json!({"k".repeat(40 * size): members(size, |at| (format!("m{at}"), json!(1)))}));
    };
}
