//! A node: which of its pods could go now, which are held, and what would keep a drain from ending.

use k8s_openapi::api::core::v1::{Node, Pod};

use super::{
    Evidence, Explanation, Kind, Problem, Risk, Subject, Verdict, Way, contention, pod, scaledown,
};
use crate::cluster::Snapshot;
use crate::tier::Tiers;
use crate::words::{between, listed, plural};
use crate::{health, order};

/// Pods of one sort that are named.
const MOST_NAMED: usize = 10;

pub(super) fn explain(snapshot: &Snapshot, node: &Node) -> Explanation {
    let name = rules::nodes::name(node);
    let here: Vec<&Pod> = snapshot
        .pods
        .iter()
        .filter(|pod| health::node_of(pod) == Some(name))
        .collect();
    let (staying, going): (Vec<&Pod>, Vec<&Pod>) = here.iter().partition(|pod| stays(pod));
    let told: Vec<Explanation> = going
        .iter()
        .map(|found| pod::explain(snapshot, found))
        .collect();
    let with = |wanted: &[Verdict]| -> Vec<&Explanation> {
        told.iter()
            .filter(|one| wanted.contains(&one.verdict))
            .collect()
    };
    let held = with(&[Verdict::Refused, Verdict::Blocked, Verdict::Unknown]);
    let (free, leaving, stuck) = (
        with(&[Verdict::Allowed]),
        with(&[Verdict::Leaving]),
        with(&[Verdict::Stuck]),
    );
    let verdict = match () {
        () if !stuck.is_empty() => Verdict::Stuck,
        () if held.iter().any(|one| one.verdict == Verdict::Blocked) => Verdict::Blocked,
        () if held.iter().any(|one| one.verdict == Verdict::Refused) => Verdict::Refused,
        () if !held.is_empty() => Verdict::Unknown,
        () => Verdict::Allowed,
    };
    let mut explanation = Explanation::new(
        Subject::of_node(node),
        verdict,
        headline(name, [&free, &held, &leaving, &stuck], staying.len()),
    );
    explanation.evidence.push(state(snapshot, node));
    let groups = [
        ("cannot be evicted now", &held),
        ("stuck", &stuck),
        ("leaving", &leaving),
        ("can be evicted now, each for itself", &free),
    ];
    explanation.evidence.extend(
        groups
            .into_iter()
            .filter(|(_, group)| !group.is_empty())
            .map(|(title, group)| {
                let brief = *title == *"can be evicted now, each for itself";
                Evidence {
                    text: format!("{title}:"),
                    parts: lines(group, brief),
                }
            }),
    );
    if !staying.is_empty() {
        let names = listed(staying.iter().map(|pod| health::name(pod)), MOST_NAMED);
        explanation.evidence.push(Evidence::line(format!(
            "a drain leaves them where they are (DaemonSets, static pods): {names}"
        )));
    }
    explanation.problems = problems(snapshot, node, &here, &told);
    explanation.ways = ways(&held, &stuck);
    let alone = contention::judged_alone(snapshot, &going, &told);
    if !alone.is_empty() || !held.is_empty() {
        explanation.ways.push(play_through(name));
    }
    explanation.ways.extend(in_order(snapshot, name));
    explanation.problems.extend(alone);
    explanation
        .problems
        .extend(scaledown::problems(snapshot, node));
    explanation
}

/// The honest dry run.
fn play_through(node: &str) -> Way {
    let text = "See what the whole drain would meet, played through on a copy of the cluster (a dry run judges each pod alone)";
    Way {
        risk: Risk::Safe,
        text: text.into(),
        commands: vec![format!("exeunt plan {node}")],
    }
}

/// The flags with which pods that others need go after them.
fn in_order(snapshot: &Snapshot, node: &str) -> Option<Way> {
    let leaving = leaving(snapshot, node);
    let last = order::last(
        &order::needs(snapshot, &leaving),
        &leaving,
        &Tiers::default(),
    );
    let flags: String = last
        .iter()
        .map(|selector| format!(" --last {selector}"))
        .collect();
    let text = "Drain it in an order in which pods that others need go after them";
    (!last.is_empty()).then(|| Way {
        risk: Risk::Safe,
        text: text.into(),
        commands: vec![format!("exeunt drain {node}{flags}")],
    })
}

/// The pods that a drain of this node makes leave.
pub(super) fn leaving<'a>(snapshot: &'a Snapshot, node: &str) -> Vec<&'a Pod> {
    let here = snapshot
        .pods
        .iter()
        .filter(|pod| health::node_of(pod) == Some(node));
    here.filter(|pod| !stays(pod) && !health::is_finished(pod))
        .collect()
}

/// DaemonSets and static pods would be back at once.
pub(super) fn stays(pod: &Pod) -> bool {
    let mirror = pod
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|notes| notes.contains_key("kubernetes.io/config.mirror"));
    mirror || health::controller_of(pod).is_some_and(|owner| owner.kind == "DaemonSet")
}

fn headline(
    name: &str,
    [free, held, leaving, stuck]: [&Vec<&Explanation>; 4],
    staying: usize,
) -> String {
    let parts = [
        (free.len(), "can be evicted now"),
        (held.len(), "cannot"),
        (leaving.len(), "leaving"),
        (stuck.len(), "stuck"),
        (staying, "staying"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let pods = free.len() + held.len() + leaving.len() + stuck.len() + staying;
    match parts.is_empty() {
        true => format!("{name} has no pods: it is drained"),
        false => format!("{name} has {}: {}", plural(pods, "pod"), parts.join(", ")),
    }
}

fn state(snapshot: &Snapshot, node: &Node) -> Evidence {
    let cordon = if rules::nodes::is_cordoned(node) {
        "cordoned"
    } else {
        "not cordoned"
    };
    let ready = match health::node_condition(node, "Ready") {
        Some(("True", _)) => "Ready".to_owned(),
        Some((status, since)) => {
            let since = since
                .map(|since| format!(" for {}", between(snapshot.now, since)))
                .unwrap_or_default();
            format!("not Ready{since} (Ready is {status})")
        }
        None => "has never said that it is Ready".to_owned(),
    };
    Evidence::line(format!("{}: {ready}, {cordon}", rules::nodes::name(node)))
}

fn lines(group: &[&Explanation], brief: bool) -> Vec<String> {
    if brief {
        return vec![listed(
            group.iter().map(|one| one.subject.name.as_str()),
            MOST_NAMED,
        )];
    }
    let mut lines: Vec<String> = group
        .iter()
        .take(MOST_NAMED)
        .map(|one| format!("{}/{}", one.subject.namespace, one.headline))
        .collect();
    if group.len() > MOST_NAMED {
        lines.push(format!("{} more", group.len() - MOST_NAMED));
    }
    lines
}

/// What is in the way on this node: the problems of its pods, each sort once with the pods that
/// have it.
fn problems(snapshot: &Snapshot, node: &Node, here: &[&Pod], told: &[Explanation]) -> Vec<Problem> {
    let name = rules::nodes::name(node);
    let mut problems = Vec::new();
    if !health::node_is_ready(node) {
        let text = format!(
            "{name} does not report: evictions may be granted, and nobody confirms that the pods are gone"
        );
        problems.push(Problem::blocking("node-unreachable", text));
    }
    let idle: Vec<&str> = snapshot
        .attachments
        .iter()
        .filter(|attachment| {
            attachment.spec.node_name == name
                && attachment
                    .status
                    .as_ref()
                    .is_some_and(|status| status.attached)
        })
        .filter_map(|attachment| attachment.spec.source.persistent_volume_name.as_deref())
        .filter(|volume| {
            !here.iter().any(|pod| {
                super::after::volumes(snapshot, pod)
                    .iter()
                    .any(|(_, known)| known.metadata.name.as_deref() == Some(volume))
            })
        })
        .collect();
    if !idle.is_empty() {
        problems.push(Problem::new(
            "volume-attached",
            format!("volumes that none of its pods uses are still attached (wait before the machine is taken away): {}", listed(idle, 5)),
        ));
    }
    let mut sorts: Vec<(&Problem, Vec<&str>)> = Vec::new();
    for one in told {
        for problem in one
            .problems
            .iter()
            .filter(|problem| problem.id != "node-unreachable")
        {
            match sorts
                .iter_mut()
                .find(|(first, _)| (first.id, first.blocks) == (problem.id, problem.blocks))
            {
                Some((_, pods)) if pods.last() == Some(&one.subject.name.as_str()) => {}
                Some((_, pods)) => pods.push(&one.subject.name),
                None => sorts.push((problem, vec![&one.subject.name])),
            }
        }
    }
    problems.extend(sorts.into_iter().map(|(first, pods)| {
        let more = if pods.len() > 1 {
            format!(" (and likewise {})", listed(pods[1..].iter().copied(), 5))
        } else {
            String::new()
        };
        Problem {
            text: format!("{}: {}{more}", pods[0], first.text),
            ..first.clone()
        }
    }));
    problems
}

/// The ways out of the pods that are held, each once; ending pods is explained pod by pod.
fn ways(held: &[&Explanation], stuck: &[&Explanation]) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for one in stuck.iter().chain(held) {
        for way in one.ways.iter().filter(|way| way.risk != Risk::Downtime) {
            if !ways.contains(way) {
                ways.push(way.clone());
            }
        }
    }
    if let Some(first) = held.first().or(stuck.first()) {
        debug_assert_eq!(first.subject.kind, Kind::Pod);
        let subject = &first.subject;
        ways.push(Way {
            risk: Risk::Safe,
            text: "See one pod in full".into(),
            commands: vec![format!("exeunt explain {subject}")],
        });
    }
    ways
}
