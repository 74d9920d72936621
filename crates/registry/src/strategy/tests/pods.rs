//! Tests of defaults, validation and updates of pods.
//!
//! Pods have a file of their own because they have the most rules of all kinds.

use kinds::Tree;

use super::{ON, POD, check_change, check_faults, check_part, context, made, object, rules, texts};
use crate::tree::put;

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
fn a_pod_with_scheduling_gates_gets_a_condition() {
    check_part(
        "v1/pods",
        "spec: {schedulingGates: [{name: a.b/c}], containers: [{name: c, image: i}]}",
        &["status", "conditions"],
        r#"[{"type":"PodScheduled","status":"False","lastTransitionTime":"2026-01-02T03:04:05Z","reason":"SchedulingGated","message":"Scheduling is blocked due to non-empty scheduling gates"}]"#,
    );
}

#[test]
fn the_qos_class_of_a_pod_follows_from_its_resources() {
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
    // One container without guarantees, even an init container, makes the whole pod Burstable.
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
fn pod_faults_name_field_and_reason() {
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
fn only_mutable_fields_of_a_pod_may_change() {
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
fn a_terminated_container_stays_terminated() {
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
fn the_grace_period_of_a_pod_follows_its_node_and_phase() {
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
