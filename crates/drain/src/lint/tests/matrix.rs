//! Every rule that depends on workloads, for every kind that makes pods, from manifests, dumps and
//! servers.

use serde_json::{Value, json};

use super::{LintOptions, SourceMap, lint, options};
use crate::cluster::{ClusterSnapshot, OwnerScale, SnapshotOrigin};

/// What makes the pods. `Thing` is custom, without a template and without a scale.
const KINDS: [&str; 10] = [
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "ReplicationController",
    "Pod",
    "Rollout",
    "Thing",
];

/// A cluster that breaks a rule, if the kind can break it.
struct Scenario {
    rule: &'static str,
    /// The spec of the budget, null for none. Its selector is added.
    budget: Value,
    replicas: usize,
    /// Members of the pod's spec.
    pod: Value,
    /// The status of the pods of a server.
    status: Value,
    /// Further objects.
    more: fn(kind: &str) -> Vec<Value>,
    /// For each of [`KINDS`] where the rule finds something: manifests, dump, live; `-` for none.
    found: [&'static str; 10],
}

impl Scenario {
    fn new(rule: &'static str, budget: Value, replicas: usize, found: [&'static str; 10]) -> Self {
        Self {
            rule,
            budget,
            replicas,
            pod: json!({}),
            status: json!({"phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}]}),
            more: |_| Vec::new(),
            found,
        }
    }

    fn with_pod(self, pod: Value) -> Self {
        Self { pod, ..self }
    }

    fn with(self, more: fn(&str) -> Vec<Value>) -> Self {
        Self { more, ..self }
    }
}

fn api_version(kind: &str) -> &'static str {
    match kind {
        "Pod" | "ReplicationController" => "v1",
        "Job" | "CronJob" => "batch/v1",
        "Rollout" => "argoproj.io/v1alpha1",
        "Thing" => "example.com/v1",
        _ => "apps/v1",
    }
}

fn owner(kind: &str, name: &str) -> Value {
    json!([{"apiVersion": api_version(kind), "kind": kind, "name": name,
        "uid": format!("uid-{name}"), "controller": true}])
}

fn pod_spec(scenario: &Scenario) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
    for (name, value) in scenario.pod.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    spec
}

/// The objects that users write.
fn manifests(kind: &str, name: &str, scenario: &Scenario) -> Vec<Value> {
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": pod_spec(scenario)});
    let mut spec = match kind {
        "Pod" => {
            let pod = |number: usize| {
                json!({"apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": format!("{name}-{number}"), "labels": labels},
                    "spec": pod_spec(scenario)})
            };
            return (0..scenario.replicas).map(pod).collect();
        }
        "Thing" => json!({"size": scenario.replicas}),
        "CronJob" => {
            json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}})
        }
        "ReplicationController" => json!({"template": template}),
        _ => json!({"template": template, "selector": {"matchLabels": labels}}),
    };
    if !matches!(kind, "DaemonSet" | "Job" | "CronJob" | "Thing") {
        spec["replicas"] = json!(scenario.replicas);
    }
    vec![
        json!({"apiVersion": api_version(kind), "kind": kind, "metadata": {"name": name},
        "spec": spec}),
    ]
}

/// The objects that a server has.
fn stored(kind: &str, name: &str, scenario: &Scenario) -> Vec<Value> {
    let mut objects = manifests(kind, name, scenario);
    if kind == "Pod" {
        for object in &mut objects {
            object["metadata"]["uid"] = object["metadata"]["name"].clone();
            object["status"] = scenario.status.clone();
        }
        return objects;
    }
    objects[0]["metadata"]["uid"] = json!(format!("uid-{name}"));
    let between = match kind {
        "Deployment" => Some("ReplicaSet"),
        "CronJob" => Some("Job"),
        _ => None,
    };
    let mut parent = owner(kind, name);
    if let Some(between) = between {
        let own = format!("{name}-1");
        let mut object = manifests(between, &own, scenario).remove(0);
        object["metadata"] = json!({"name": own, "uid": format!("uid-{own}"),
            "ownerReferences": parent});
        objects.push(object);
        parent = owner(between, &own);
    }
    objects.extend((0..scenario.replicas).map(|number| {
        let name = format!("{name}-{number}");
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "uid": name,
                "labels": {"app": "web"}, "ownerReferences": parent},
            "spec": pod_spec(scenario), "status": scenario.status})
    }));
    objects
}

fn snapshot(kind: &str, source: char, scenario: &Scenario) -> ClusterSnapshot {
    let workloads = |name: &str| match source {
        'm' => manifests(kind, name, scenario),
        _ => stored(kind, name, scenario),
    };
    let mut objects = workloads("web");
    if scenario.rule == "pdb-several-workloads" {
        objects.extend(workloads("other"));
    }
    let mut budgets = Vec::new();
    let mut add = |name: &str, namespace: &str, spec: &Value| {
        budgets.push(
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec}),
        );
    };
    // Shows that budgets are part of the file.
    add(
        "elsewhere",
        "elsewhere",
        &json!({"maxUnavailable": 1, "selector": {}}),
    );
    if !scenario.budget.is_null() {
        let mut spec = scenario.budget.clone();
        if spec["selector"].is_null() {
            spec["selector"] = json!({"matchLabels": {"app": "web"}});
        }
        add("web", "default", &spec);
        if scenario.rule == "pdb-overlap" {
            add("second", "default", &spec);
        }
    }
    objects.extend(budgets);
    objects.extend((scenario.more)(kind));
    let list = json!({"kind": "List", "items": objects}).to_string();
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    let mut snapshot = ClusterSnapshot::parse(&list, now).expect("a snapshot");
    if source == 'l' {
        snapshot.origin = SnapshotOrigin::Server;
        snapshot.unread.clear();
        snapshot.custom.clear();
        if matches!(kind, "Rollout" | "Thing") {
            let replicas = i32::try_from(scenario.replicas).expect("small");
            let without = "things.example.com does not implement the scale subresource";
            snapshot.scales.push(OwnerScale {
                api_version: api_version(kind).to_owned(),
                kind: kind.to_owned(),
                namespace: "default".to_owned(),
                name: "web".to_owned(),
                replicas: match kind {
                    "Rollout" => Ok(replicas),
                    _ => Err(without.to_owned()),
                },
            });
        }
    }
    snapshot
}

fn service(_: &str) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}}}),
    ]
}

fn autoscaler(kind: &str) -> Vec<Value> {
    vec![
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"}, "spec": {"minReplicas": 2, "maxReplicas": 5,
            "scaleTargetRef": {"apiVersion": api_version(kind), "kind": kind, "name": "web"}}}),
    ]
}

fn scenarios() -> Vec<Scenario> {
    const ALL: [&str; 10] = ["mdl"; 10];
    /// All that have a template, and the pods of `Thing`.
    const PODS: [&str; 10] = [
        "mdl", "mdl", "mdl", "mdl", "mdl", "mdl", "mdl", "mdl", "mdl", "dl",
    ];
    /// Those that want a number of pods.
    const SCALED: [&str; 10] = ["mdl", "mdl", "mdl", "-", "-", "-", "mdl", "-", "mdl", "dl"];
    let one = || json!({"maxUnavailable": 1});
    let nobody = || json!({"maxUnavailable": 1, "selector": {"matchLabels": {"app": "nobody"}}});
    let sleep = json!([{"name": "c", "image": "i",
        "lifecycle": {"preStop": {"sleep": {"seconds": 30}}}}]);
    let spread = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule"}]);
    let mut crashing = Scenario::new(
        "pdb-unhealthy-policy",
        one(),
        2,
        ["dl", "dl", "dl", "dl", "dl", "dl", "dl", "dl", "dl", "dl"],
    );
    crashing.status = json!({"phase": "Running", "containerStatuses": [{"name": "c", "image": "i",
        "imageID": "", "ready": false, "restartCount": 9,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
    vec![
        Scenario::new(
            "pdb-never-allows",
            json!({"minAvailable": 2}),
            2,
            [
                "mdl", "mdl", "mdl", "-", "-", "-", "mdl", "mdl", "mdl", "dl",
            ],
        ),
        Scenario::new("pdb-never-allows", json!({"maxUnavailable": 0}), 2, ALL),
        Scenario::new("pdb-never-allows", json!({"minAvailable": "100%"}), 2, ALL),
        Scenario::new("pdb-never-allows", one(), 2, ["-"; 10]),
        Scenario::new(
            "pdb-single-replica",
            json!({"minAvailable": 1}),
            1,
            [
                "mdl", "mdl", "mdl", "-", "-", "-", "mdl", "mdl", "mdl", "dl",
            ],
        ),
        Scenario::new(
            "pdb-single-replica",
            json!({"minAvailable": 1}),
            2,
            ["-"; 10],
        ),
        Scenario::new(
            "pdb-single-replica",
            json!({"minAvailable": 1}),
            1,
            ["-"; 10],
        )
        .with(autoscaler_except_pods),
        Scenario::new("pdb-no-rule", json!({}), 2, ALL),
        Scenario::new("pdb-overlap", one(), 2, ALL),
        Scenario::new(
            "pdb-uncountable",
            one(),
            2,
            ["-", "-", "-", "mdl", "mdl", "mdl", "-", "-", "-", "l"],
        ),
        Scenario::new("pdb-uncountable", json!({"minAvailable": 1}), 2, ["-"; 10]),
        Scenario::new(
            "pdb-unmanaged-pods",
            one(),
            2,
            ["-", "-", "-", "-", "-", "-", "-", "mdl", "-", "-"],
        ),
        crashing,
        Scenario::new("pdb-unhealthy-policy-unset", one(), 2, ALL),
        Scenario::new(
            "pdb-selects-nothing",
            nobody(),
            2,
            [
                "mdl", "mdl", "mdl", "mdl", "mdl", "mdl", "mdl", "mdl", "l", "l",
            ],
        ),
        Scenario::new("pdb-selects-nothing", one(), 2, ["-"; 10]),
        Scenario::new(
            "pdb-pods-unseen",
            nobody(),
            2,
            ["-", "-", "-", "-", "-", "-", "-", "-", "md", "md"],
        ),
        Scenario::new(
            "pdb-zero-replicas",
            one(),
            0,
            ["mdl", "mdl", "mdl", "-", "-", "-", "mdl", "-", "md", "-"],
        ),
        Scenario::new(
            "pdb-several-workloads",
            one(),
            2,
            [
                "mdl", "mdl", "mdl", "mdl", "mdl", "mdl", "mdl", "-", "mdl", "dl",
            ],
        ),
        Scenario::new("hpa-minimum", json!({"minAvailable": 2}), 2, SCALED).with(autoscaler),
        Scenario::new("single-replica", json!(null), 1, SCALED),
        Scenario::new("single-replica", one(), 1, ["-"; 10]).with(autoscaler),
        Scenario::new("no-budget", json!(null), 2, SCALED),
        Scenario::new("no-budget", one(), 2, ["-"; 10]),
        Scenario::new(
            "bare-pod",
            json!(null),
            2,
            ["-", "-", "-", "-", "-", "-", "-", "mdl", "-", "-"],
        ),
        Scenario::new(
            "no-pre-stop",
            json!(null),
            2,
            [
                "mdl", "mdl", "mdl", "mdl", "-", "-", "mdl", "mdl", "mdl", "dl",
            ],
        )
        .with(service),
        Scenario::new("pre-stop-beyond-grace", json!(null), 2, PODS)
            .with_pod(json!({"containers": sleep})),
        Scenario::new("no-grace", json!(null), 2, PODS)
            .with_pod(json!({"terminationGracePeriodSeconds": 0})),
        Scenario::new("long-grace", json!(null), 2, PODS)
            .with_pod(json!({"terminationGracePeriodSeconds": 3600})),
        Scenario::new(
            "tolerates-cordon",
            json!(null),
            2,
            [
                "mdl", "mdl", "mdl", "-", "mdl", "mdl", "mdl", "mdl", "mdl", "dl",
            ],
        )
        .with_pod(json!({"tolerations": [{"operator": "Exists"}]})),
        Scenario::new(
            "spread-counts-cordoned",
            json!(null),
            2,
            [
                "mdl", "mdl", "mdl", "-", "mdl", "mdl", "mdl", "-", "mdl", "dl",
            ],
        )
        .with_pod(json!({"topologySpreadConstraints": spread})),
    ]
}

/// Nothing scales a single pod, so that it stays the only one.
fn autoscaler_except_pods(kind: &str) -> Vec<Value> {
    match kind {
        // A second pod shows that the rule counts all of them.
        "Pod" => vec![json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "second", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}})],
        _ => autoscaler(kind),
    }
}

#[test]
fn every_rule_judges_every_kind_from_every_source() {
    let options: LintOptions = options();
    let mut wrong = Vec::new();
    for scenario in scenarios() {
        for (kind, expected) in KINDS.into_iter().zip(scenario.found) {
            for source in ['m', 'd', 'l'] {
                let snapshot = snapshot(kind, source, &scenario);
                let findings = lint(&snapshot, &SourceMap::default(), &options);
                let own = findings.iter().filter(|finding| {
                    finding.rule == scenario.rule && finding.object.namespace == "default"
                });
                let messages: Vec<&str> = own.map(|finding| finding.message.as_str()).collect();
                if messages.is_empty() == expected.contains(source) {
                    wrong.push(format!(
                        "{} {} of {kind} ({source}): expected {expected}, found {messages:?}",
                        scenario.rule, scenario.budget
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_rule_of_workloads_is_part_of_the_matrix() {
    let tried: Vec<&str> = scenarios().iter().map(|scenario| scenario.rule).collect();
    // These do not depend on what makes the pods.
    let others = ["server-refuses", "hpa-minimum-one", "eviction-webhook"];
    for rule in super::RULES {
        assert!(
            tried.contains(&rule.id) || others.contains(&rule.id),
            "{}",
            rule.id
        );
    }
}

#[test]
fn a_dump_without_the_owners_of_pods_has_no_errors() {
    for kind in [
        "Deployment",
        "ReplicaSet",
        "StatefulSet",
        "ReplicationController",
    ] {
        let scenario = Scenario::new(
            "pdb-uncountable",
            json!({"maxUnavailable": 1}),
            2,
            ["-"; 10],
        );
        let mut snapshot = snapshot(kind, 'd', &scenario);
        snapshot.deployments.clear();
        snapshot.stateful_sets.clear();
        snapshot.replication_controllers.clear();
        // Another object of the kind is there, so that the kind itself was read.
        snapshot
            .replica_sets
            .retain(|set| set.metadata.name.as_deref() == Some("other"));
        let findings = lint(&snapshot, &SourceMap::default(), &options());
        let errors: Vec<_> = findings
            .iter()
            .filter(|finding| finding.severity == super::FindingSeverity::Error)
            .collect();
        assert!(errors.is_empty(), "{kind}: {errors:?}");
        assert!(
            findings
                .iter()
                .any(|finding| finding.rule == "pdb-pods-unseen"),
            "{kind}"
        );
    }
}
