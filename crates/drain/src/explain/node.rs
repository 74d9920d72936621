//! Explains a node: which of its pods could be evicted now, which are held, and what would keep a
//! drain from finishing.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::views::ExplainViews;
use super::{
    EvictionVerdict, Evidence, ExplainSubject, Explanation, Problem, Remedy, Risk, SubjectKind,
    contention, pod, remedies, scaledown,
};
use crate::cluster::ClusterSnapshot;
use crate::format::{for_how_long, listed, plural};
use crate::tier::Tiers;
use crate::{order, pods};

/// The maximum number of pods that a line names, and of lines in a group.
const MAX_NAMED: usize = 10;

/// The pods of the node that leave in a drain, by their verdict.
struct Groups<'a> {
    allowed: Vec<&'a Explanation>,
    held: Vec<&'a Explanation>,
    leaving: Vec<&'a Explanation>,
    stuck: Vec<&'a Explanation>,
}

impl<'a> Groups<'a> {
    fn of(explanations: &'a [Explanation]) -> Self {
        let with = |wanted: &[EvictionVerdict]| {
            explanations
                .iter()
                .filter(|one| wanted.contains(&one.verdict))
                .collect()
        };
        Self {
            allowed: with(&[EvictionVerdict::Allowed]),
            held: with(&[
                EvictionVerdict::Refused,
                EvictionVerdict::Blocked,
                EvictionVerdict::Unknown,
            ]),
            leaving: with(&[EvictionVerdict::Leaving]),
            stuck: with(&[EvictionVerdict::Stuck]),
        }
    }

    /// The worst verdict decides.
    fn verdict(&self) -> EvictionVerdict {
        let holds = |verdict| self.held.iter().any(|one| one.verdict == verdict);
        match () {
            () if !self.stuck.is_empty() => EvictionVerdict::Stuck,
            () if holds(EvictionVerdict::Blocked) => EvictionVerdict::Blocked,
            () if holds(EvictionVerdict::Refused) => EvictionVerdict::Refused,
            () if !self.held.is_empty() => EvictionVerdict::Unknown,
            () => EvictionVerdict::Allowed,
        }
    }

    fn headline(&self, node: &str, staying: usize) -> String {
        let counts = [
            (self.allowed.len(), "can be evicted now"),
            (self.held.len(), "cannot be evicted now"),
            (self.leaving.len(), "terminating"),
            (self.stuck.len(), "stuck"),
            (staying, "staying"),
        ];
        let pods: usize = counts.iter().map(|(count, _)| count).sum();
        let parts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        match pods {
            0 => format!("{node} has no pods: it is drained"),
            _ => format!("{node} has {}: {}", plural(pods, "pod"), parts.join(", ")),
        }
    }

    fn evidence(&self) -> Vec<Evidence> {
        let mut evidence = Vec::new();
        for (title, group) in [
            ("cannot be evicted now", &self.held),
            ("stuck", &self.stuck),
            ("terminating", &self.leaving),
        ] {
            if !group.is_empty() {
                evidence.push(Evidence {
                    text: format!("{title}:"),
                    parts: headlines(group),
                });
            }
        }
        if !self.allowed.is_empty() {
            let names = self.allowed.iter().map(|one| one.subject.name.as_str());
            evidence.push(Evidence {
                text: "can be evicted now, each judged alone:".to_owned(),
                parts: vec![listed(names, MAX_NAMED)],
            });
        }
        evidence
    }
}

pub(super) fn explain<'a>(snapshot: &'a ClusterSnapshot, node: &'a Node) -> Explanation {
    let name = rules::nodes::name(node);
    let (staying, leaving): (Vec<&Pod>, Vec<&Pod>) = snapshot
        .pods_on(name)
        .partition(|pod| pods::stays_on_node(pod));
    let views = ExplainViews::new(snapshot);
    let explanations: Vec<Explanation> = leaving
        .iter()
        .map(|found| pod::explain(snapshot, found, &views))
        .collect();
    let groups = Groups::of(&explanations);
    let mut explanation = Explanation::new(
        ExplainSubject::of_node(node),
        groups.verdict(),
        groups.headline(name, staying.len()),
    );
    explanation.evidence.push(state(snapshot, node));
    explanation.evidence.extend(groups.evidence());
    if !staying.is_empty() {
        let names = listed(staying.iter().map(|pod| pods::name(pod)), MAX_NAMED);
        explanation.evidence.push(Evidence::line(format!(
            "skipped by a drain (DaemonSets, static pods): {names}"
        )));
    }
    explanation.problems = problems(snapshot, node, &explanations, &views);
    explanation.remedies = own_remedies(&groups);
    let uncordon = remedies::uncordon(snapshot);
    if let Some(nodes) = snapshot.all_cordoned().filter(|_| !leaving.is_empty()) {
        let text = format!(
            "{} cordoned: no replacement of its pods finds a node",
            match nodes.as_slice() {
                [one] => format!("{one} is the only node and is"),
                _ => "all nodes are".to_owned(),
            }
        );
        explanation
            .problems
            .insert(0, Problem::blocking("all-cordoned", text));
        let rest = std::mem::take(&mut explanation.remedies);
        explanation.remedies.extend(uncordon.clone());
        let is_other = |remedy: &Remedy| Some(remedy) != uncordon.as_ref();
        explanation
            .remedies
            .extend(rest.into_iter().filter(is_other));
    }
    let alone = contention::judged_alone(snapshot, &leaving, &explanations);
    if !alone.is_empty() || !groups.held.is_empty() {
        explanation.remedies.push(simulate(name));
    }
    explanation.remedies.extend(in_order(snapshot, name));
    explanation.problems.extend(alone);
    explanation
        .problems
        .extend(scaledown::problems(snapshot, node));
    explanation
}

fn simulate(node: &str) -> Remedy {
    Remedy::new(
        Risk::Safe,
        "Simulate the whole drain on a copy of the cluster (a dry run judges each pod alone)",
        [format!("exeunt plan {node}")],
    )
}

/// The `--last` flags with which a drain evicts pods that others depend on after the others.
fn in_order(snapshot: &ClusterSnapshot, node: &str) -> Option<Remedy> {
    let leaving = snapshot.pods_leaving(node);
    let last = order::last(
        &order::dependencies(snapshot, &leaving),
        &leaving,
        &Tiers::default(),
    );
    let flags: String = last
        .iter()
        .map(|selector| format!(" --last {selector}"))
        .collect();
    (!last.is_empty()).then(|| {
        Remedy::new(
            Risk::Safe,
            "Drain it in an order that evicts pods after the pods that depend on them",
            [format!("exeunt drain {node}{flags}")],
        )
    })
}

fn state(snapshot: &ClusterSnapshot, node: &Node) -> Evidence {
    let cordon = if rules::nodes::is_cordoned(node) {
        "cordoned"
    } else {
        "not cordoned"
    };
    let ready = match pods::node_condition(node, "Ready") {
        Some(("True", _)) => "Ready".to_owned(),
        Some((status, since)) => {
            let since = for_how_long(snapshot.now, since);
            format!("not Ready{since} (Ready is {status})")
        }
        None => "has never reported Ready".to_owned(),
    };
    Evidence::line(format!("{}: {ready}, {cordon}", rules::nodes::name(node)))
}

fn headlines(group: &[&Explanation]) -> Vec<String> {
    let mut lines: Vec<String> = group
        .iter()
        .take(MAX_NAMED)
        .map(|one| format!("{}/{}", one.subject.namespace, one.headline))
        .collect();
    if group.len() > MAX_NAMED {
        lines.push(format!("{} more", group.len() - MAX_NAMED));
    }
    lines
}

/// Returns the problems of the node, then those of its pods: each category once, with the names of
/// all pods that have it.
fn problems<'a>(
    snapshot: &'a ClusterSnapshot,
    node: &'a Node,
    pods: &[Explanation],
    views: &ExplainViews<'a>,
) -> Vec<Problem> {
    let name = rules::nodes::name(node);
    let mut problems = Vec::new();
    if !pods::node_is_ready(node) {
        let text = format!(
            "{name} does not report: evictions may be granted, but nothing confirms that the pods have terminated"
        );
        problems.push(Problem::blocking("node-unreachable", text));
    }
    problems.extend(idle_volumes(snapshot, name, views));
    let mut categories: Vec<(&Problem, Vec<&str>)> = Vec::new();
    for one in pods {
        for problem in one
            .problems
            .iter()
            .filter(|problem| problem.id != "node-unreachable")
        {
            match categories
                .iter_mut()
                .find(|(first, _)| (first.id, first.blocks) == (problem.id, problem.blocks))
            {
                Some((_, pods)) if pods.last() == Some(&one.subject.name.as_str()) => {}
                Some((_, pods)) => pods.push(&one.subject.name),
                None => categories.push((problem, vec![&one.subject.name])),
            }
        }
    }
    problems.extend(categories.into_iter().map(|(first, pods)| {
        let more = if pods.len() > 1 {
            format!(" (also: {})", listed(pods[1..].iter().copied(), 5))
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

/// Volumes that are still attached although no pod of the node uses them.
fn idle_volumes<'a>(
    snapshot: &'a ClusterSnapshot,
    node: &'a str,
    views: &ExplainViews<'a>,
) -> Option<Problem> {
    let used = views.used_on(node);
    let idle: Vec<&str> = snapshot
        .attachments
        .iter()
        .filter(|attachment| {
            attachment.spec.node_name == node
                && attachment
                    .status
                    .as_ref()
                    .is_some_and(|status| status.attached)
        })
        .filter_map(|attachment| attachment.spec.source.persistent_volume_name.as_deref())
        .filter(|volume| !used.contains(volume))
        .collect();
    let text = |idle| {
        format!(
            "volumes that no pod of the node uses are still attached (wait before you shut the machine down): {}",
            listed(idle, 5)
        )
    };
    (!idle.is_empty()).then(|| Problem::new("volume-attached", text(idle)))
}

/// Returns the remedies of the pods that are held, each once. Remedies that stop pods are left to
/// the explanation of the single pod.
fn own_remedies(groups: &Groups<'_>) -> Vec<Remedy> {
    let mut remedies: Vec<Remedy> = Vec::new();
    let mut seen = HashSet::new();
    for one in groups.stuck.iter().chain(&groups.held) {
        for remedy in one
            .remedies
            .iter()
            .filter(|remedy| remedy.risk != Risk::Downtime)
        {
            if seen.insert((&remedy.text, &remedy.commands)) {
                remedies.push(remedy.clone());
            }
        }
    }
    if let Some(first) = groups.held.first().or(groups.stuck.first()) {
        debug_assert_eq!(first.subject.kind, SubjectKind::Pod);
        remedies.push(Remedy::new(
            Risk::Safe,
            "Explain one pod in full",
            [format!("exeunt explain {}", first.subject)],
        ));
    }
    remedies
}
