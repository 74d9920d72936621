//! Tables: what a kind gets by default, which faults an object or a change has. Objects are given
//! in YAML, because that is how people write them.

use kinds::Tree;
use kinds::facts::Resource;
use kinds::tree::Text;

use super::{Context, Gates, Rules};
use crate::kind;
use crate::tree::{at, put};

const ON: Gates = Gates {
    unhealthy_pod_eviction_policy: true,
};
const OFF: Gates = Gates {
    unhealthy_pod_eviction_policy: false,
};

fn rules(resource: &str) -> (Rules, &'static Resource) {
    let (group, version, plural) = match resource.split('/').collect::<Vec<_>>()[..] {
        [version, plural] => ("", version, plural),
        [group, version, plural] => (group, version, plural),
        _ => panic!("{resource}"),
    };
    let resource = kinds::resource(group, version, plural).expect("a resource");
    (kind::rules(&resource.into()), resource)
}

fn context(subresource: &str, gates: Gates) -> Context<'_> {
    Context {
        subresource,
        gates,
        now: "2026-01-02T03:04:05.678Z".parse().expect("a time"),
    }
}

/// An object as it comes out of its decoder and its defaults.
fn object(resource: &str, yaml: &str) -> Tree {
    let (rules, resource) = rules(resource);
    let mut tree = kinds::yaml::decode(yaml.as_bytes(), resource.ty)
        .expect("sound YAML")
        .tree;
    if at(&tree, &["metadata", "name"]).is_null() {
        put(&mut tree, &["metadata", "name"], "x");
    }
    if resource.namespaced {
        put(&mut tree, &["metadata", "namespace"], "ns");
    }
    put(&mut tree, &["metadata", "uid"], "u-1");
    rules.default(&mut tree);
    tree
}

fn made(resource: &str, yaml: &str, gates: Gates) -> Tree {
    let mut tree = object(resource, yaml);
    rules(resource)
        .0
        .prepare_create(&context("", gates), &mut tree);
    put(&mut tree, &["metadata", "resourceVersion"], "7");
    tree
}

/// The part of a new object that a path names.
#[track_caller]
fn check_part(resource: &str, yaml: &str, path: &[&str], expected: &str) {
    let made = made(resource, yaml, ON);
    let expected: Tree = serde_json::from_str(expected).expect("JSON");
    assert_eq!(at(&made, path), &expected, "{made:#}");
}

fn texts(faults: &[kinds::status::FieldError]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

/// The faults of a new object.
#[track_caller]
fn check_faults(resource: &str, yaml: &str, expected: &[&str]) {
    let made = made(resource, yaml, ON);
    let faults = texts(&rules(resource).0.validate_create(&context("", ON), &made));
    assert_eq!(faults, expected);
}

/// The change of an object through a subresource (or none): what comes of it, and its faults.
fn change(
    resource: &str,
    old: &str,
    new: &str,
    subresource: &str,
    gates: Gates,
) -> (Tree, Vec<String>) {
    let (rules, _) = rules(resource);
    let stored = made(resource, old, ON);
    let mut next = object(resource, new);
    let context = context(subresource, gates);
    rules.prepare_update(&context, &mut next, &stored);
    let faults = texts(&rules.validate_update(&context, &next, &stored));
    (next, faults)
}

/// The generation after a sound change.
#[track_caller]
fn check_generation(resource: &str, old: &str, new: &str, expected: u64) {
    let (next, faults) = change(resource, old, new, "", ON);
    assert_eq!(faults, [""; 0]);
    assert_eq!(
        at(&next, &["metadata", "generation"]),
        &Tree::from(expected),
        "{new}"
    );
}

#[track_caller]
fn check_change(resource: &str, old: &str, new: &str, expected: &[&str]) {
    let (_, faults) = change(resource, old, new, "", ON);
    let firsts: Vec<&str> = faults
        .iter()
        .map(|fault| fault.split('\n').next().unwrap_or_default())
        .collect();
    assert_eq!(firsts, expected);
}

const POD: &str = "spec: {containers: [{name: c, image: img}]}";
const TEMPLATE: &str =
    "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: img}]}}";

#[test]
fn pods_get_their_defaults() {
    let part = |spec: &str, path: &[&str], expected: &str| {
        check_part("v1/pods", &format!("spec: {spec}"), path, expected)
    };
    part(
        "{containers: [{name: c, image: 'a:5000/b'}]}",
        &["status"],
        r#"{"phase":"Pending","qosClass":"BestEffort"}"#,
    );
    for (image, policy) in [
        ("a:5000/b", "Always"),
        ("a:5000/b:1", "IfNotPresent"),
        ("b:latest", "Always"),
        ("b@sha256:00", "IfNotPresent"),
    ] {
        let made = made(
            "v1/pods",
            &format!("spec: {{containers: [{{name: c, image: '{image}'}}]}}"),
            ON,
        );
        assert_eq!(
            made["spec"]["containers"][0]["imagePullPolicy"], policy,
            "{image}"
        );
    }
    part(
        "{terminationGracePeriodSeconds: -5}",
        &["spec", "terminationGracePeriodSeconds"],
        "1",
    );
    part(
        "{serviceAccount: old}",
        &["spec", "serviceAccountName"],
        r#""old""#,
    );
    part(
        "{volumes: [{name: v}]}",
        &["spec", "volumes"],
        r#"[{"name":"v","emptyDir":{}}]"#,
    );
    part(
        "{volumes: [{name: v, hostPath: {path: /}}]}",
        &["spec", "volumes"],
        r#"[{"name":"v","hostPath":{"path":"/","type":""}}]"#,
    );
    part(
        "{volumes: [{name: v, configMap: {name: c}}]}",
        &["spec", "volumes"],
        r#"[{"name":"v","configMap":{"name":"c","defaultMode":420}}]"#,
    );
    part(
        "{containers: [{name: c, image: i, env: [{name: E, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]}]}",
        &["spec", "containers"],
        r#"[{"name":"c","image":"i","env":[{"name":"E","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu","divisor":"0"}}}],"resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"Always"}]"#,
    );
}

#[test]
fn a_gated_pod_says_so() {
    check_part(
        "v1/pods",
        "spec: {schedulingGates: [{name: a.b/c}], containers: [{name: c, image: i}]}",
        &["status", "conditions"],
        r#"[{"type":"PodScheduled","status":"False","lastTransitionTime":"2026-01-02T03:04:05Z","reason":"SchedulingGated","message":"Scheduling is blocked due to non-empty scheduling gates"}]"#,
    );
}

#[test]
fn the_quality_of_a_pod_follows_from_its_resources() {
    let check = |resources: &str, expected: &str| {
        let yaml = format!("spec: {{containers: [{{name: c, image: i, resources: {resources}}}]}}");
        check_part(
            "v1/pods",
            &yaml,
            &["status", "qosClass"],
            &format!("{expected:?}"),
        );
    };
    check("{}", "BestEffort");
    check("{limits: {cpu: 1, memory: 1Gi}}", "Guaranteed");
    check(
        "{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}",
        "Burstable",
    );
    check("{requests: {cpu: 1}}", "Burstable");
    check("{requests: {cpu: 0}}", "BestEffort");
    check("{limits: {example.com/gpu: 1}}", "BestEffort");
    // One container that promises nothing spoils it for all, also an init container.
    let limits = "resources: {limits: {cpu: 1, memory: 1Gi}}";
    for other in [
        "containers: [{name: c, image: i, LIMITS}, {name: d, image: i}]",
        "initContainers: [{name: d, image: i}], containers: [{name: c, image: i, LIMITS}]",
    ] {
        let yaml = format!("spec: {{{}}}", other.replace("LIMITS", limits));
        check_part("v1/pods", &yaml, &["status", "qosClass"], r#""Burstable""#);
    }
}

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
fn small_kinds_get_their_defaults() {
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
fn faults_of_pods_are_named() {
    let check =
        |spec: &str, expected: &[&str]| check_faults("v1/pods", &format!("spec: {spec}"), expected);
    check("{containers: [{name: c, image: i}]}", &[]);
    check(
        "{containers: [{name: c, image: ' i'}]}",
        &[
            r#"spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace"#,
        ],
    );
    check(
        "{containers: [{name: c, image: i, livenessProbe: {}}]}",
        &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
    );
    check(
        "{containers: [{name: c, image: i, livenessProbe: {tcpSocket: {port: x--y}, successThreshold: 2, periodSeconds: -1}}]}",
        &[
            r#"spec.containers[0].livenessProbe.tcpSocket.port: Invalid value: "x--y": must not contain consecutive hyphens"#,
            "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    check(
        "{initContainers: [{name: c, image: i}], containers: [{name: c, image: i}]}",
        &[r#"spec.initContainers[0].name: Duplicate value: "c""#],
    );
    check(
        "{initContainers: [{name: i, image: i, readinessProbe: {exec: {command: [x]}}}], containers: [{name: c, image: i}]}",
        &[
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
    check(
        "{containers: [{name: c, image: i}], volumes: [{name: v, emptyDir: {}, secret: {}}]}",
        &["spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type"],
    );
    check(
        "{containers: [{name: c, image: i, resources: {limits: {cpu: -1, gpu: 1}}}]}",
        &[
            r#"spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified"#,
            r#"spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers"#,
            r#"spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified"#,
            r#"spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers"#,
        ],
    );
    check(
        "{containers: [{name: c, image: i}], tolerations: [{key: k, operator: Exists, effect: NoSchedule, tolerationSeconds: 1}]}",
        &[
            r#"spec.tolerations[0].effect: Invalid value: "NoSchedule": effect must be 'NoExecute' when `tolerationSeconds` is set"#,
        ],
    );
    check(
        "{containers: [{name: c, image: i}], affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}}",
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
        ],
    );
}

#[test]
fn faults_of_other_kinds_are_named() {
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
fn generation_counts_what_controllers_must_look_at() {
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
fn little_of_a_pod_may_change() {
    let check = |new: &str, expected: &[&str]| check_change("v1/pods", POD, new, expected);
    check(
        "{metadata: {labels: {a: b}}, spec: {activeDeadlineSeconds: 5, containers: [{name: c, image: new}]}}",
        &[],
    );
    check(
        "spec: {tolerations: [{key: k, operator: Exists}], containers: [{name: c, image: img}]}",
        &[],
    );
    check(
        "spec: {schedulingGates: [{name: a}], containers: [{name: c, image: img}]}",
        &[
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a'",
        ],
    );
    check(
        "spec: {nodeName: n1, containers: [{name: c, image: img}]}",
        &[
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ],
    );
    check_change(
        "v1/pods",
        "spec: {schedulingGates: [{name: a}], nodeSelector: {x: v}, containers: [{name: c, image: img}]}",
        "spec: {nodeSelector: {x: v, z: w}, containers: [{name: c, image: img}]}",
        &[],
    );
}

#[test]
fn a_write_of_a_status_changes_nothing_else() {
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
fn a_finished_container_stays_finished() {
    let status = |state: &str| {
        format!(
            "{{spec: {{restartPolicy: Never, containers: [{{name: c, image: i}}]}}, status: {{containerStatuses: [{{name: c, image: i, imageID: '', ready: false, restartCount: 0, state: {state}}}]}}}}"
        )
    };
    let (rules, _) = rules("v1/pods");
    let mut stored = made("v1/pods", &status("{}"), ON);
    stored["status"] = object("v1/pods", &status("{terminated: {exitCode: 0}}"))["status"].clone();
    let mut next = object("v1/pods", &status("{running: {}}"));
    let context = context("status", ON);
    rules.prepare_update(&context, &mut next, &stored);
    assert_eq!(
        texts(&rules.validate_update(&context, &next, &stored)),
        [
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
        ]
    );
}

#[test]
fn what_is_chosen_once_stays() {
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
fn metadata_that_only_the_system_sets_is_carried_over_and_faults_are_said_twice() {
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
fn the_gate_drops_the_eviction_policy_unless_it_is_in_use() {
    const PLAIN: &str = "spec: {minAvailable: 1}";
    const ALWAYS: &str = "spec: {minAvailable: 1, unhealthyPodEvictionPolicy: AlwaysAllow}";
    let policy = |tree: &Tree| {
        at(tree, &["spec", "unhealthyPodEvictionPolicy"])
            .as_str()
            .map(str::to_owned)
    };
    assert_eq!(
        policy(&made("policy/v1/poddisruptionbudgets", ALWAYS, OFF)),
        None
    );
    assert_eq!(
        policy(&made("policy/v1/poddisruptionbudgets", ALWAYS, ON)),
        Some("AlwaysAllow".to_owned())
    );
    assert_eq!(
        policy(&change("policy/v1/poddisruptionbudgets", PLAIN, ALWAYS, "", OFF).0),
        None
    );
    assert_eq!(
        policy(&change("policy/v1/poddisruptionbudgets", ALWAYS, ALWAYS, "", OFF).0),
        Some("AlwaysAllow".to_owned())
    );
}

#[test]
fn the_legacy_selector_term_is_dropped_unless_it_stands_alone() {
    const KEY: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";
    let terms = |others: &str| {
        let yaml = format!(
            "spec: {{selector: {{matchExpressions: [{{key: {KEY}, operator: Exists}}{others}]}}}}"
        );
        made("policy/v1/poddisruptionbudgets", &yaml, ON)["spec"]["selector"]["matchExpressions"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(terms(""), Some(1));
    assert_eq!(terms(", {key: a, operator: Exists}"), Some(1));
    assert_eq!(
        terms(", {key: a, operator: Exists}, {key: b, operator: Exists}"),
        Some(2)
    );
}

#[test]
fn the_status_of_a_budget_is_judged() {
    let status = "{minAvailable: 1}, status: {disruptionsAllowed: -1, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0, conditions: [{type: a b, status: Maybe, reason: '1', message: ''}, {type: ok, status: 'True', reason: Fine, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}]}}";
    let (_, faults) = change(
        "policy/v1/poddisruptionbudgets",
        "spec: {minAvailable: 1}",
        &format!("{{spec: {status}"),
        "status",
        ON,
    );
    let fields: Vec<&str> = faults
        .iter()
        .map(|fault| fault.split(": ").next().unwrap_or_default())
        .collect();
    assert_eq!(
        fields,
        [
            "status.conditions[0].type",
            "status.conditions[0].status",
            "status.conditions[0].lastTransitionTime",
            "status.conditions[0].reason",
            "status.disruptionsAllowed",
        ]
    );
}

#[test]
fn field_selectors_are_known_by_kind() {
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
fn the_grace_of_a_pod_follows_its_node_and_phase() {
    let grace = |spec: &str, phase: &str, requested: Option<i64>| {
        let mut pod = made("v1/pods", &format!("spec: {spec}"), ON);
        put(&mut pod, &["status", "phase"], phase);
        rules("v1/pods").0.grace_seconds(&pod, requested)
    };
    assert_eq!(grace("{nodeName: n1}", "Running", None), Some(30));
    assert_eq!(grace("{nodeName: n1}", "Pending", Some(5)), Some(5));
    assert_eq!(grace("{nodeName: n1}", "Running", Some(-1)), Some(1));
    assert_eq!(grace("{nodeName: n1}", "Succeeded", Some(5)), Some(0));
    assert_eq!(grace("{}", "Running", None), Some(0));
    assert_eq!(
        rules("v1/configmaps").0.grace_seconds(&Tree::Null, Some(5)),
        None
    );
}

#[test]
fn every_stored_kind_takes_an_empty_object_without_panic() {
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
