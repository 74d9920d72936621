//! Failure policy, success policy and limits per index.

use super::*;

fn ignoring() -> Value {
    json!({"rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [42]}}]})
}

fn ended(name: &str, code: i32, condition: Option<&str>, annotations: Value) -> Arc<Pod> {
    let conditions = condition.map(|ty| json!([{"type": ty, "status": "True"}]));
    let state = json!({"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}});
    Arc::new(pod(json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "finalizers": [TRACKING],
            "annotations": annotations},
        "status": {"phase": "Failed", "conditions": conditions,
            "containerStatuses": [{"name": "c", "restartCount": 0, "state": state}]}})))
}

#[test]
fn an_ignored_failure_does_not_count_and_is_still_waited_for() {
    // (exit code, condition, counted)
    let cases = [
        (1, Some("DisruptionTarget"), false),
        (42, None, false),
        (42, Some("DisruptionTarget"), false),
        (1, None, true),
        (137, Some("Other"), true),
    ];
    for (code, condition, counted) in cases {
        let text = format!("{code} {condition:?}");
        // A limit that the first failure exceeds if it counts.
        let limit = if counted { 6 } else { 0 };
        let mut run = Run::new(json!({"completions": 1, "backoffLimit": limit,
            "podReplacementPolicy": "Failed", "podFailurePolicy": ignoring()}));
        let plan = run.step(&[ended("a", code, condition, json!({}))]);
        assert_eq!(names(&plan.release), ["a"], "{text}");
        assert_eq!(run.counts()[1], i32::from(counted), "{text}");
        assert!(plan.create.is_empty(), "{text}");
        assert_eq!(plan.recheck, Some(at(10)), "{text}");
        let plan = run.step(&[ended("b", code, condition, json!({}))]);
        assert_eq!(plan.recheck, Some(at(20)), "{text}");
        run.now = at(20);
        assert_eq!(run.step(&[]).create.len(), 1, "{text}");
    }
}

#[test]
fn the_first_rule_that_fits_decides() {
    let on = |codes: Value| json!({"operator": "In", "values": codes});
    let fits = |action: &str, codes: Value| json!({"action": action, "onExitCodes": on(codes)});
    let on_condition = |status: &str| json!([{"type": "Config", "status": status}]);
    let not = json!({"operator": "NotIn", "values": [3]});
    let of = |container: &str| json!({"containerName": container, "operator": "In", "values": [1]});
    let message = "Container c for pod n/p failed with exit code 1 matching FailJob rule at index";
    // (rules, the reason and message of a failed job)
    let cases = [
        (
            json!([fits("FailJob", json!([1]))]),
            Some(format!("{message} 0")),
        ),
        (
            json!([fits("Ignore", json!([7])), fits("FailJob", json!([1, 2]))]),
            Some(format!("{message} 1")),
        ),
        (
            json!([fits("Count", json!([1])), fits("FailJob", json!([1]))]),
            None,
        ),
        (
            json!([fits("Ignore", json!([1])), fits("FailJob", json!([1]))]),
            None,
        ),
        (
            json!([{"action": "FailJob", "onExitCodes": not}]),
            Some(format!("{message} 0")),
        ),
        (
            json!([{"action": "FailJob", "onExitCodes": of("c")}]),
            Some(format!("{message} 0")),
        ),
        (
            json!([{"action": "FailJob", "onExitCodes": of("other")}]),
            None,
        ),
        (
            json!([{"action": "FailJob", "onPodConditions": on_condition("True")}]),
            Some("Pod n/p has condition Config matching FailJob rule at index 0".to_owned()),
        ),
        (
            json!([{"action": "FailJob", "onPodConditions": on_condition("False")}]),
            None,
        ),
    ];
    for (rules, expected) in cases {
        let mut run = Run::new(json!({"completions": 1, "podFailurePolicy": {"rules": rules}}));
        run.step(&[ended("p", 1, Some("Config"), json!({}))]);
        let conditions = run.status().conditions.unwrap_or_default();
        let found = conditions.first().and_then(|one| one.message.clone());
        assert_eq!(found, expected, "{rules}");
        assert_eq!(conditions.len(), if expected.is_some() { 2 } else { 0 });
    }
}

fn per_index(limit: i32, extra: Value) -> Value {
    let mut spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed",
        "backoffLimit": i32::MAX, "backoffLimitPerIndex": limit});
    if let (Some(spec), Some(extra)) = (spec.as_object_mut(), extra.as_object()) {
        spec.extend(extra.clone());
    }
    spec
}

#[test]
fn each_index_counts_its_failures_and_waits_for_its_own_pause() {
    let mut run = Run::new(per_index(2, json!({})));
    let first = run.step(&[]);
    assert_eq!(made(&first), ["0:0", "1:0", "2:0"]);
    let host = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.hostname.clone());
    assert_eq!(host(&first.create[2]).as_deref(), Some("job-2"));
    let others = [indexed("b", "Running", 1, 0), indexed("c", "Running", 2, 0)];
    let with = |pod: Arc<Pod>| [vec![pod], others.to_vec()].concat();
    // The failed pod stays uncounted until its successor exists.
    let failed = with(indexed("a", "Failed", 0, 0));
    let plan = run.step(&failed);
    assert!(plan.create.is_empty() && plan.release.is_empty());
    assert_eq!(plan.recheck, Some(at(10)));
    assert_eq!(run.counts(), [0, 0, 2, 0]);
    run.now = at(10);
    let plan = run.step(&failed);
    assert_eq!(made(&plan), ["0:1"]);
    assert!(plan.release.is_empty());
    let replaced = [failed, vec![indexed("a2", "Running", 0, 1)]].concat();
    let plan = run.step(&replaced);
    assert_eq!(names(&plan.release), ["a"]);
    assert_eq!(run.counts(), [0, 1, 3, 0]);
    // The second failure of this index takes twice as long, and the third one is too many.
    let plan = run.step(&with(indexed("a2", "Failed", 0, 1)));
    assert_eq!(plan.recheck, Some(at(20)));
    run.now = at(20);
    assert_eq!(
        made(&run.step(&with(indexed("a2", "Failed", 0, 1)))),
        ["0:2"]
    );
    let plan = run.step(&with(indexed("a3", "Failed", 0, 2)));
    assert_eq!(names(&plan.release), ["a3"]);
    assert_eq!(run.status().failed_indexes.as_deref(), Some("0"));
    assert!(plan.create.is_empty());
    // The other indexes go on, and the job fails when they have ended.
    run.step(&[
        indexed("b", "Succeeded", 1, 0),
        indexed("c", "Succeeded", 2, 0),
    ]);
    assert_eq!(run.status().completed_indexes.as_deref(), Some("1,2"));
    assert_eq!(
        run.conditions(),
        [
            "FailureTarget=True FailedIndexes",
            "Failed=True FailedIndexes"
        ]
    );
}

#[test]
fn an_index_fails_by_its_limit_or_by_a_rule() {
    let rule = |action: &str| {
        json!({"podReplacementPolicy": "Failed", "podFailurePolicy": {"rules": [
            {"action": action, "onExitCodes": {"operator": "In", "values": [1]}}]}})
    };
    let two = |one: Value, other: Value| {
        let mut both = one;
        if let (Some(both), Some(other)) = (both.as_object_mut(), other.as_object()) {
            both.extend(other.clone());
        }
        both
    };
    // (limit, extra, failures before, failed indexes, what the next pod carries)
    let cases: [(i32, Value, i32, &str, &[&str]); 8] = [
        (0, json!({}), 0, "0", &[]),
        (1, json!({}), 0, "", &["0:1"]),
        (1, json!({}), 1, "0", &[]),
        (3, rule("FailIndex"), 0, "0", &[]),
        (3, rule("Count"), 0, "", &["0:1"]),
        (0, rule("Ignore"), 0, "", &["0:01"]),
        (1, rule("Ignore"), 1, "", &["0:11"]),
        (
            0,
            two(json!({"maxFailedIndexes": 0}), rule("Ignore")),
            0,
            "",
            &["0:01"],
        ),
    ];
    for (limit, extra, before, lost, next) in cases {
        let text = format!("{limit} {extra} after {before}");
        let mut run = Run::new(per_index(limit, extra));
        let pods = [
            indexed("a", "Failed", 0, before),
            indexed("b", "Running", 1, 0),
            indexed("c", "Running", 2, 0),
        ];
        run.step(&pods);
        assert_eq!(run.status().failed_indexes.as_deref(), Some(lost), "{text}");
        run.now = at(600);
        assert_eq!(made(&run.step(&pods)), next, "{text}");
    }
}

#[test]
fn ignored_failures_of_an_index_lengthen_its_pause() {
    let mut run = Run::new(per_index(1, json!({"podFailurePolicy": ignoring()})));
    let others = [indexed("b", "Running", 1, 0), indexed("c", "Running", 2, 0)];
    for (ignored, pause) in [("0", 10), ("1", 20), ("2", 40)] {
        let annotations = json!({INDEX: "0", FAILURES: "0", IGNORED: ignored});
        let failed = ended("a", 42, None, annotations);
        let plan = run.step(&[vec![failed], others.to_vec()].concat());
        assert_eq!(plan.recheck, Some(at(pause)));
    }
    assert_eq!(run.counts()[1], 0);
}

#[test]
fn too_many_failed_indexes_fail_the_job_at_once() {
    let mut run = Run::new(per_index(
        0,
        json!({"completions": 5, "maxFailedIndexes": 1}),
    ));
    let pods = [
        indexed("a", "Failed", 0, 0),
        indexed("b", "Running", 1, 0),
        indexed("c", "Running", 2, 0),
    ];
    assert!(run.step(&pods).stop.is_empty());
    let pods = [
        indexed("b", "Failed", 1, 0),
        indexed("c", "Running", 2, 0),
        indexed("d", "Running", 3, 0),
    ];
    let plan = run.step(&pods);
    assert_eq!(names(&plan.stop), ["c", "d"]);
    assert_eq!(
        run.conditions(),
        ["FailureTarget=True MaxFailedIndexesExceeded"]
    );
    assert_eq!(run.status().failed_indexes.as_deref(), Some("0,1"));
    assert_eq!(run.counts(), [0, 4, 0, 2]);
}

#[test]
fn a_success_policy_ends_a_job_early() {
    let rules = |rules: Value| json!({"rules": rules});
    // (rules, completed indexes, the number of the rule that is met)
    let cases = [
        (json!([{"succeededCount": 1}]), "0", Some(0)),
        (json!([{"succeededCount": 2}]), "0", None),
        (json!([{"succeededIndexes": "0"}]), "0", Some(0)),
        (json!([{"succeededIndexes": "0,2"}]), "0,1", None),
        (json!([{"succeededIndexes": "0-2"}]), "0-2", Some(0)),
        (
            json!([{"succeededIndexes": "1-3", "succeededCount": 2}]),
            "0,1",
            None,
        ),
        (
            json!([{"succeededIndexes": "1-3", "succeededCount": 2}]),
            "1,3",
            Some(0),
        ),
        (
            json!([{"succeededIndexes": "4"}, {"succeededCount": 3}]),
            "0-2",
            Some(1),
        ),
        (json!([{"succeededCount": 1}]), "", None),
    ];
    for (policy, completed, number) in cases {
        let text = format!("{policy} {completed}");
        let mut run = Run::new(json!({"completions": 5, "parallelism": 5,
            "completionMode": "Indexed", "successPolicy": rules(policy)}));
        run.job.status = serde_json::from_value(json!({"completedIndexes": completed,
            "succeeded": 1}))
        .expect("a status");
        let pods = [member("x", "Running", json!({"annotations": {INDEX: "4"}}))];
        let plan = run.step(&pods);
        assert_eq!(plan.stop.len(), usize::from(number.is_some()), "{text}");
        let Some(number) = number else {
            assert!(run.conditions().is_empty(), "{text}");
            continue;
        };
        let status = run.status();
        let condition = &status.conditions.as_ref().expect("one")[0];
        let message = format!("Matched rules at index {number}");
        assert_eq!(
            condition.message.as_deref(),
            Some(message.as_str()),
            "{text}"
        );
        assert_eq!(run.conditions(), ["SuccessCriteriaMet=True SuccessPolicy"]);
        // The pods that are stopped have not failed.
        assert_eq!(run.counts()[1..], [0, 0, 1], "{text}");
        run.step(&[]);
        assert_eq!(
            run.conditions(),
            [
                "SuccessCriteriaMet=True SuccessPolicy",
                "Complete=True SuccessPolicy"
            ]
        );
    }
}

#[test]
fn an_outcome_that_was_announced_stays() {
    let cases = [
        ("SuccessCriteriaMet", "SuccessPolicy", "Complete"),
        ("FailureTarget", "DeadlineExceeded", "Failed"),
    ];
    for (announced, reason, last) in cases {
        let mut run = Run::new(json!({"completions": 1, "backoffLimit": 0}));
        run.job.status = serde_json::from_value(json!({"startTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": announced, "status": "True", "reason": reason}]}))
        .expect("a status");
        run.step(&[member("bad", "Failed", json!({}))]);
        assert_eq!(
            run.conditions(),
            [
                format!("{announced}=True {reason}"),
                format!("{last}=True {reason}")
            ]
        );
    }
}

#[test]
fn pods_without_a_valid_index_and_second_pods_of_an_index_go() {
    let mut run = Run::new(json!({"completions": 2, "parallelism": 2,
        "completionMode": "Indexed"}));
    let of =
        |name: &str, index: &str| member(name, "Running", json!({"annotations": {INDEX: index}}));
    let pods = [
        of("a", "0"),
        of("b", "0"),
        of("c", "7"),
        of("d", "-1"),
        member("e", "Running", json!({})),
        of("f", "1"),
    ];
    let plan = run.step(&pods);
    let mut gone = names(&plan.discard);
    gone.sort_unstable();
    assert_eq!(gone.len(), 4);
    assert!(["c", "d", "e"].iter().all(|name| gone.contains(name)));
    assert_eq!(run.counts(), [0, 0, 2, 4]);
}
