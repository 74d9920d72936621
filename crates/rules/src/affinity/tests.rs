//! Affinity, anti-affinity and topology spread over small clusters.

use serde_json::{Value, json};

use super::*;
use crate::fit::Unschedulable;

fn node(name: &str, zone: &str) -> Node {
    serde_json::from_value(
        json!({"metadata": {"name": name, "labels": {"host": name, "zone": zone}}}),
    )
    .expect("a node")
}

fn pod(app: &str, extra: Value) -> Pod {
    let mut spec = json!({"containers": []});
    spec.as_object_mut()
        .expect("an object")
        .extend(extra.as_object().expect("an object").clone());
    serde_json::from_value(
        json!({"metadata": {"namespace": "n", "labels": {"app": app}}, "spec": spec}),
    )
    .expect("a pod")
}

fn term(side: &str, app: &str, key: &str) -> Value {
    let term = json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key});
    json!({"affinity": {side: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

fn spread_node(node: &Node, cordoned: bool) -> SpreadNode<'_> {
    SpreadNode { node, cordoned }
}

fn allows(
    pod: &Pod,
    node: &Node,
    nodes: &[SpreadNode<'_>],
    placed: &[PlacedPod<'_>],
) -> Result<(), Unschedulable> {
    AffinityState::new(pod, nodes, placed, &|_| None).allows(node)
}

fn check(pod: &Pod, node: &Node, placed: &[(&Pod, &Node)], refusal: Option<&str>) {
    let mut nodes: Vec<SpreadNode<'_>> = placed
        .iter()
        .map(|(_, at)| spread_node(at, false))
        .collect();
    nodes.push(spread_node(node, false));
    let placed: Vec<PlacedPod<'_>> = placed
        .iter()
        .map(|(pod, node)| PlacedPod {
            pod,
            node,
            leaving: false,
        })
        .collect();
    let found = allows(pod, node, &nodes, &placed)
        .err()
        .map(|refusal| refusal.reasons[0].clone());
    assert_eq!(found.as_deref(), refusal);
}

#[test]
fn a_pod_counts_for_affinity_only_if_all_terms_select_it() {
    let (a, b) = (node("a", "1"), node("b", "1"));
    let label = |key: &str| {
        json!({"labelSelector": {"matchExpressions": [{"key": key, "operator": "Exists"}]},
            "topologyKey": "zone"})
    };
    let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution":
        [label("app"), label("tier")]});
    let guest = pod("web", json!({"affinity": {"podAffinity": rule}}));
    let mut half = pod("db", json!({}));
    let refusal = Some("node(s) didn't match pod affinity rules");
    let mut other_half = half.clone();
    other_half.metadata.labels = Some([("tier".to_owned(), "x".to_owned())].into());
    check(&guest, &b, &[(&half, &a), (&other_half, &a)], refusal);
    half.metadata
        .labels
        .get_or_insert_default()
        .insert("tier".to_owned(), "x".to_owned());
    check(&guest, &b, &[(&half, &a)], None);
}

#[test]
fn anti_affinity_of_either_pod_keeps_pods_apart() {
    let (a, b, c) = (node("a", "1"), node("b", "1"), node("c", "2"));
    let loner = pod("web", term("podAntiAffinity", "web", "zone"));
    let other = pod("web", json!({}));
    check(
        &loner,
        &b,
        &[(&other, &a)],
        Some("node(s) didn't match pod anti-affinity rules"),
    );
    check(
        &other,
        &b,
        &[(&loner, &a)],
        Some("node(s) didn't satisfy existing pods anti-affinity rules"),
    );
    check(&loner, &c, &[(&other, &a)], None);
    check(&pod("db", json!({})), &b, &[(&loner, &a)], None);
    assert!(has_constraints(&loner) && !has_constraints(&other));
}

#[test]
fn affinity_needs_a_matching_pod_in_the_domain() {
    let (a, b) = (node("a", "1"), node("b", "2"));
    let db = pod("db", json!({}));
    let web = pod("web", term("podAffinity", "db", "zone"));
    check(&web, &a, &[(&db, &a)], None);
    check(
        &web,
        &b,
        &[(&db, &a)],
        Some("node(s) didn't match pod affinity rules"),
    );
    // The first pod of a group goes anywhere, the second to the first; a pod that is not of the
    // group that it follows waits for it.
    const AFFINITY: Option<&str> = Some("node(s) didn't match pod affinity rules");
    let follower = pod("web", term("podAffinity", "web", "zone"));
    check(&follower, &b, &[(&db, &a)], None);
    check(&follower, &b, &[(&follower, &a)], AFFINITY);
    check(&web, &a, &[], AFFINITY);
}

#[test]
fn topology_spread_limits_the_skew() {
    let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let (a, b) = (node("a", "1"), node("b", "2"));
    let (web, bystander) = (pod("web", spread), pod("db", json!({})));
    check(
        &web,
        &a,
        &[(&web, &a), (&bystander, &b)],
        Some("node(s) didn't match pod topology spread constraints"),
    );
    check(&web, &b, &[(&web, &a), (&bystander, &b)], None);
}
#[test]
fn topology_spread_counts_a_drained_node_unless_it_honours_taints() {
    let web = |policy: &str| {
        let constraint = json!({"maxSkew": 1, "topologyKey": "host",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}, "nodeTaintsPolicy": policy});
        pod("web", json!({"topologySpreadConstraints": [constraint]}))
    };
    let (a, b, c) = (node("a", "1"), node("b", "1"), node("c", "1"));
    let agrees = |policy: &str, cordoned: bool| {
        let (new, old) = (web(policy), web(policy));
        let nodes = [
            spread_node(&a, cordoned),
            spread_node(&b, false),
            spread_node(&c, false),
        ];
        // The pod that leaves its node no longer counts there.
        let on = |node, leaving| PlacedPod {
            pod: &old,
            node,
            leaving,
        };
        allows(
            &new,
            &b,
            &nodes,
            &[on(&a, true), on(&b, false), on(&c, false)],
        )
        .is_ok()
    };
    assert!(!agrees("Ignore", true) && agrees("Honor", true) && !agrees("Honor", false));
}

#[test]
fn topology_spread_that_honours_taints_leaves_out_nodes_that_the_pod_does_not_tolerate() {
    let tolerating = |key: &str| {
        changed(&spreading(json!({"nodeTaintsPolicy": "Honor"})), |pod| {
            pod["spec"]["tolerations"] = json!([{"key": key, "operator": "Exists"}]);
        })
    };
    let a = node("a", "1");
    let tainted = |effect: &str| {
        let mut node = node("b", "2");
        let taint = json!({"key": "k", "effect": effect});
        node.spec = serde_json::from_value(json!({"taints": [taint]})).expect("a spec");
        node
    };
    // The empty zone 2 counts, so that zone 1 is too full, unless its node is left out.
    let bystander = pod("db", json!({}));
    for (effect, tolerated, refusal) in [
        ("NoSchedule", "other", None),
        ("NoExecute", "other", None),
        ("NoSchedule", "k", Some(SPREAD)),
        ("PreferNoSchedule", "other", Some(SPREAD)),
    ] {
        let (web, b) = (tolerating(tolerated), tainted(effect));
        check(&web, &a, &[(&web, &a), (&bystander, &b)], refusal);
    }
    let (web, b) = (
        tolerating("node.kubernetes.io/unschedulable"),
        node("b", "2"),
    );
    let nodes = [spread_node(&a, false), spread_node(&b, true)];
    let placed = [PlacedPod {
        pod: &web,
        node: &a,
        leaving: false,
    }];
    assert!(
        allows(&web, &a, &nodes, &placed).is_err(),
        "a cordon is tolerated"
    );
}

const ANTI: &str = "node(s) didn't match pod anti-affinity rules";
const SPREAD: &str = "node(s) didn't match pod topology spread constraints";

fn changed(pod: &Pod, change: impl FnOnce(&mut Value)) -> Pod {
    let mut value = serde_json::to_value(pod).expect("a value");
    change(&mut value);
    serde_json::from_value(value).expect("a pod")
}

#[test]
fn a_term_selects_in_its_own_namespace_unless_it_names_others() {
    let (a, b) = (node("a", "1"), node("b", "1"));
    let loner = pod("web", term("podAntiAffinity", "web", "zone"));
    let elsewhere = changed(&pod("web", json!({})), |pod| {
        pod["metadata"]["namespace"] = json!("m");
    });
    let naming = |key: &str, value: Value| {
        changed(&loner, |pod| {
            let anti = &mut pod["spec"]["affinity"]["podAntiAffinity"];
            anti["requiredDuringSchedulingIgnoredDuringExecution"][0][key] = value;
        })
    };
    check(&loner, &b, &[(&elsewhere, &a)], None);
    check(
        &naming("namespaces", json!(["m"])),
        &b,
        &[(&elsewhere, &a)],
        Some(ANTI),
    );
    check(
        &naming("namespaces", json!(["x"])),
        &b,
        &[(&elsewhere, &a)],
        None,
    );
    check(
        &naming("namespaceSelector", json!({})),
        &b,
        &[(&elsewhere, &a)],
        Some(ANTI),
    );
    let labelled = json!({"matchLabels": {"team": "t"}});
    check(
        &naming("namespaceSelector", labelled),
        &b,
        &[(&elsewhere, &a)],
        None,
    );
    // Naming other namespaces leaves the own one out.
    check(
        &naming("namespaces", json!(["m"])),
        &b,
        &[(&pod("web", json!({})), &a)],
        None,
    );
}

#[test]
fn finished_pods_keep_nobody_away_and_nodes_without_the_label_share_no_domain() {
    let (a, b) = (node("a", "1"), node("b", "1"));
    let loner = pod("web", term("podAntiAffinity", "web", "zone"));
    let finished = changed(&loner, |pod| pod["status"]["phase"] = json!("Succeeded"));
    check(&loner, &b, &[(&finished, &a)], None);
    let bare = Node::default();
    check(&loner, &bare, &[(&loner, &bare)], None);
    let follower = pod("web", term("podAffinity", "web", "zone"));
    check(
        &follower,
        &bare,
        &[],
        Some("node(s) didn't match pod affinity rules"),
    );
}

fn spreading(extra: Value) -> Pod {
    let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
    constraint
        .as_object_mut()
        .expect("an object")
        .extend(extra.as_object().expect("an object").clone());
    pod("web", json!({"topologySpreadConstraints": [constraint]}))
}

#[test]
fn topology_spread_counts_only_living_pods_of_its_namespace() {
    let (a, b) = (node("a", "1"), node("b", "2"));
    let web = spreading(json!({}));
    let ignored = [
        changed(&web, |pod| pod["metadata"]["namespace"] = json!("m")),
        changed(&web, |pod| pod["status"]["phase"] = json!("Failed")),
        changed(&web, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }),
    ];
    let bystander = pod("db", json!({}));
    check(&web, &a, &[(&web, &a), (&bystander, &b)], Some(SPREAD));
    for other in &ignored {
        check(&web, &a, &[(other, &a), (&bystander, &b)], None);
    }
    let missing = "node(s) didn't match pod topology spread constraints (missing required label)";
    check(&web, &Node::default(), &[(&bystander, &a)], Some(missing));
    let soft = spreading(json!({"whenUnsatisfiable": "ScheduleAnyway"}));
    check(&soft, &a, &[(&web, &a), (&bystander, &b)], None);
    assert!(has_constraints(&web) && !has_constraints(&soft));
    assert!(has_constraints(&pod(
        "web",
        term("podAffinity", "web", "zone")
    )));
}

#[test]
fn too_few_domains_count_as_an_empty_one() {
    let (a, b) = (node("a", "1"), node("b", "2"));
    let three = spreading(json!({"minDomains": 3}));
    let two = spreading(json!({"minDomains": 2}));
    check(&two, &a, &[(&two, &a), (&two, &b)], None);
    check(&three, &a, &[(&two, &a), (&two, &b)], Some(SPREAD));
}

#[test]
fn a_larger_skew_and_a_pod_outside_of_its_own_selector_have_room() {
    let (a, b) = (node("a", "1"), node("b", "2"));
    let bystander = pod("db", json!({}));
    let wide = spreading(json!({"maxSkew": 2}));
    check(&wide, &a, &[(&wide, &a), (&bystander, &b)], None);
    check(
        &wide,
        &a,
        &[(&wide, &a), (&wide, &a), (&bystander, &b)],
        Some(SPREAD),
    );
    let outside = spreading(json!({"labelSelector": {"matchLabels": {"app": "db"}}}));
    check(&outside, &a, &[(&bystander, &a), (&wide, &b)], None);
}

#[test]
fn topology_spread_leaves_out_nodes_that_node_affinity_excludes() {
    let (a, b) = (node("a", "1"), node("b", "2"));
    let bystander = pod("db", json!({}));
    let pinned = |policy: &str| {
        changed(&spreading(json!({"nodeAffinityPolicy": policy})), |pod| {
            pod["spec"]["nodeSelector"] = json!({"zone": "1"});
        })
    };
    for (policy, refusal) in [("Honor", None), ("Ignore", Some(SPREAD))] {
        let web = pinned(policy);
        check(&web, &a, &[(&web, &a), (&bystander, &b)], refusal);
    }
}

#[test]
fn a_namespace_selector_selects_by_the_labels_of_namespaces() {
    let (a, b) = (node("a", "1"), node("b", "1"));
    let loner = changed(&pod("web", term("podAntiAffinity", "web", "zone")), |pod| {
        let anti = &mut pod["spec"]["affinity"]["podAntiAffinity"];
        let term = &mut anti["requiredDuringSchedulingIgnoredDuringExecution"][0];
        term["namespaceSelector"] = json!({"matchLabels": {"team": "t"}});
    });
    let labels = |name: &str| {
        let team = if name == "m" { "t" } else { "other" };
        Some([("team".to_owned(), team.to_owned())].into())
    };
    for (namespace, allowed) in [("m", false), ("n", true)] {
        let other = changed(&pod("web", json!({})), |pod| {
            pod["metadata"]["namespace"] = json!(namespace);
        });
        let placed = [PlacedPod {
            pod: &other,
            node: &a,
            leaving: false,
        }];
        let state = AffinityState::new(&loner, &[], &placed, &labels);
        assert_eq!(state.allows(&b).is_ok(), allowed, "{namespace}");
    }
}

#[test]
fn label_keys_narrow_what_a_term_and_a_constraint_select() {
    let (a, b) = (node("a", "1"), node("b", "2"));
    let versioned = |pod: &Pod, version: &str| {
        changed(pod, |pod| {
            pod["metadata"]["labels"]["version"] = json!(version)
        })
    };
    let of = |field: &str| {
        changed(&pod("web", term("podAntiAffinity", "web", "zone")), |pod| {
            let anti = &mut pod["spec"]["affinity"]["podAntiAffinity"];
            anti["requiredDuringSchedulingIgnoredDuringExecution"][0][field] = json!(["version"]);
        })
    };
    let other = versioned(&pod("web", json!({})), "1");
    let cases = [
        ("matchLabelKeys", "1", Some(ANTI)),
        ("matchLabelKeys", "2", None),
        ("mismatchLabelKeys", "1", None),
        ("mismatchLabelKeys", "2", Some(ANTI)),
    ];
    for (field, version, refusal) in cases {
        check(
            &versioned(&of(field), version),
            &a,
            &[(&other, &a)],
            refusal,
        );
    }
    let bystander = pod("db", json!({}));
    let spread = spreading(json!({"matchLabelKeys": ["version"]}));
    for (version, refusal) in [("1", Some(SPREAD)), ("2", None)] {
        let placed = [(&other, &a), (&bystander, &b)];
        check(&versioned(&spread, version), &a, &placed, refusal);
    }
}

#[test]
fn pods_that_enter_and_leave_are_counted() {
    let (a, b) = (node("a", "1"), node("b", "2"));
    let nodes = [spread_node(&a, false), spread_node(&b, false)];
    let mut web = spreading(json!({}));
    web.spec.as_mut().expect("a spec").affinity = pod("web", term("podAntiAffinity", "db", "host"))
        .spec
        .and_then(|spec| spec.affinity);
    let (db, follower) = (pod("db", json!({})), spreading(json!({})));
    let on = |pod| PlacedPod {
        pod,
        node: &a,
        leaving: false,
    };
    let mut state = AffinityState::new(&web, &nodes, &[], &|_| None);
    let reason = |state: &AffinityState<'_>| {
        let refusal = state.allows(&a).err();
        refusal.map(|refusal| refusal.reasons[0].clone())
    };
    assert_eq!(reason(&state), None);
    state.enter(&on(&db));
    assert_eq!(reason(&state).as_deref(), Some(ANTI));
    state.enter(&on(&follower));
    assert_eq!(
        reason(&state).as_deref(),
        Some(SPREAD),
        "spread comes first"
    );
    state.leave(&on(&db));
    state.leave(&on(&follower));
    assert_eq!(reason(&state), None);
}

#[test]
fn preferences_add_up_their_weights() {
    let (a, b) = (node("a", "1"), node("b", "2"));
    let preferred = |side: &str, app: &str, weight: i32| {
        let term = json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "zone"});
        let preferred = json!({"weight": weight, "podAffinityTerm": term});
        json!({"affinity": {side: {"preferredDuringSchedulingIgnoredDuringExecution":
            [preferred]}}})
    };
    let db = pod("db", json!({}));
    let placed = [PlacedPod {
        pod: &db,
        node: &a,
        leaving: false,
    }];
    let soft = spreading(json!({"whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "db"}}}));
    let cases = [
        (pod("web", preferred("podAffinity", "db", 7)), 7, 0, 0),
        (pod("web", preferred("podAntiAffinity", "db", 7)), -7, 0, 0),
        (pod("web", preferred("podAffinity", "web", 7)), 0, 0, 0),
        (soft, 0, 0, 1),
        (pod("web", json!({})), 0, 0, 0),
    ];
    for (pod, at_a, at_b, crowd) in cases {
        let state = PreferenceState::new(&pod, &placed, &|_| None);
        assert_eq!((state.weight(&a), state.weight(&b)), (at_a, at_b));
        assert_eq!((state.crowd(&a), state.crowd(&b)), (crowd, 0));
    }
}
