//! Renders a plan as text: the result first, then what blocks the drain, then the rest.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::{DrainPlan, Fate, NodePlan, PlanOptions, StuckPod};
use crate::cluster::NOT_IN_FILE;
use crate::format::{one_line, plural, verb_for};

impl DrainPlan {
    /// Renders the plan as text. Every line ends with a line feed.
    #[must_use]
    pub fn render(&self, options: &PlanOptions) -> String {
        let mut text = self.headline();
        self.render_refused(&mut text);
        self.render_stuck(&mut text);
        self.render_not_yet_ready(&mut text);
        self.render_unplaced(&mut text);
        self.render_order(&mut text);
        for node in &self.nodes {
            render_node(node, &mut text);
        }
        self.render_budgets(&mut text);
        self.render_forecast(options, &mut text);
        self.render_waves(&mut text);
        self.render_unread(&mut text);
        text
    }

    fn render_unread(&self, text: &mut String) {
        let mut by_reason = BTreeMap::<&str, Vec<&str>>::new();
        for unread in &self.unread {
            // Forbidden messages differ only in the resource, so they are grouped into one line.
            let why = if unread.why.contains("is forbidden") {
                "you may not list them"
            } else {
                &unread.why
            };
            by_reason.entry(why).or_default().push(unread.resource);
        }
        if !by_reason.is_empty() {
            text.push_str("\nNot read, so ignored by this plan:\n");
        }
        for (why, resources) in by_reason {
            line(text, 2, &format!("{}: {why}", resources.join(", ")));
        }
    }

    fn headline(&self) -> String {
        let leaving = self
            .nodes
            .iter()
            .flat_map(|node| &node.pods)
            .filter(|pod| !matches!(pod.fate, Fate::Stays { .. }))
            .count();
        let pods = plural(leaving, "pod");
        let nodes = plural(self.nodes.len(), "node");
        match self.seconds {
            Some(seconds) => {
                let unless = if self.lacks_budgets() {
                    ", unless a budget blocks it (budgets could not be read)"
                } else {
                    ""
                };
                format!(
                    "This drain would finish in about {}{unless}: {nodes}, {pods}.\n",
                    span(seconds)
                )
            }
            None if self.refused().next().is_some() => {
                format!("This drain would be refused: {nodes}, {pods}.\n")
            }
            None => format!(
                "This drain would not finish: {} of {pods} cannot leave ({nodes}).\n",
                self.stuck.len()
            ),
        }
    }

    /// Returns true when budgets may exist and could not be read. A file without budgets may come
    /// from a cluster without any.
    fn lacks_budgets(&self) -> bool {
        self.unread.iter().any(|unread| {
            unread.resource == "poddisruptionbudgets.policy" && unread.why != NOT_IN_FILE
        })
    }

    fn refused(&self) -> impl Iterator<Item = (&str, &str)> {
        self.nodes
            .iter()
            .flat_map(|node| &node.pods)
            .filter_map(|pod| match &pod.fate {
                Fate::Refused { why } => Some((why.as_str(), pod.pod.as_str())),
                _ => None,
            })
    }

    fn render_refused(&self, text: &mut String) {
        let mut by_reason = BTreeMap::<&str, Vec<&str>>::new();
        for (why, pod) in self.refused() {
            by_reason.entry(why).or_default().push(pod);
        }
        for (why, pods) in by_reason {
            line(text, 0, "");
            line(text, 0, &format!("Cannot delete {why}:"));
            line(text, 2, &pods.join(", "));
        }
    }

    fn render_stuck(&self, text: &mut String) {
        let mut places = HashMap::<&[String], usize>::new();
        let mut groups: Vec<(&StuckPod, Vec<&str>)> = Vec::new();
        for stuck in &self.stuck {
            let place = *places.entry(&stuck.because).or_insert(groups.len());
            match groups.get_mut(place) {
                Some((_, pods)) => pods.push(&stuck.pod),
                None => groups.push((stuck, vec![&stuck.pod])),
            }
        }
        for (first, pods) in groups {
            line(text, 0, "");
            line(text, 0, &format!("Stuck: {}", pods.join(", ")));
            for because in &first.because {
                line(text, 2, because);
            }
        }
    }

    fn render_not_yet_ready(&self, text: &mut String) {
        if !self.not_yet_ready.is_empty() {
            text.push_str("\nNot yet ready, and assumed to become ready:\n");
        }
        for pod in &self.not_yet_ready {
            let when = span(pod.seconds);
            line(text, 2, &format!("{} within {when}: {}", pod.pod, pod.why));
        }
    }

    fn render_unplaced(&self, text: &mut String) {
        if self.unplaced.is_empty() {
            return;
        }
        text.push_str("\nNo node for the replacements of:\n");
        for unplaced in &self.unplaced {
            line(text, 2, &format!("{}: {}", unplaced.pod, unplaced.why));
        }
    }

    fn render_order(&self, text: &mut String) {
        for wrong in &self.order {
            let _ = writeln!(text, "\nWrong order on node {}:", wrong.node);
            wrong.because.iter().for_each(|why| line(text, 2, why));
            let flags: String = wrong
                .last
                .iter()
                .map(|selector| format!(" --last {selector}"))
                .collect();
            match flags.is_empty() {
                true => line(
                    text,
                    2,
                    "no label distinguishes it from the other pods: add one, and select it with --last",
                ),
                false => line(text, 2, &format!("exeunt drain {}{flags}", wrong.node)),
            }
        }
    }

    fn render_budgets(&self, text: &mut String) {
        if self.budgets.is_empty() {
            return;
        }
        text.push_str("\nBudgets:\n");
        for budget in &self.budgets {
            let needs = budget
                .needs
                .map_or("cannot be counted".to_owned(), |needs| {
                    format!("needs {needs} healthy")
                });
            let time = if self.finishes {
                format!(", {} in total", span(budget.waited_seconds))
            } else {
                String::new()
            };
            let waits = match budget.waiting {
                0 => "none waits for it".to_owned(),
                waiting => format!(
                    "{} {} for it{time}",
                    plural(waiting, "pod"),
                    verb_for(waiting, "waits", "wait")
                ),
            };
            let what = format!(
                "{}: {needs}, has {}, at least {} during the drain; {} of its pods {}, {waits}",
                budget.budget,
                budget.healthy,
                budget.least_healthy,
                budget.leaving,
                verb_for(budget.leaving, "leaves", "leave")
            );
            line(text, 2, &what);
        }
    }

    fn render_forecast(&self, options: &PlanOptions, text: &mut String) {
        let Some(seconds) = self.seconds else { return };
        let _ = writeln!(
            text,
            "\nForecast: {} with {} at a time",
            span(seconds),
            plural(options.parallel.max(1), "node")
        );
        if let Some(worst) = self.worst_seconds.filter(|worst| *worst > seconds) {
            line(
                text,
                2,
                &format!("{} if every pod uses its whole grace period", span(worst)),
            );
        }
        line(
            text,
            2,
            &format!(
                "assumes that pods terminate {} after their stop signal",
                span(options.stop_seconds)
            ),
        );
        line(
            text,
            2,
            &format!(
                "assumes that pods start within {} where the cluster shows no start of a sibling",
                span(options.start_seconds)
            ),
        );
    }

    fn render_waves(&self, text: &mut String) {
        if self.nodes.len() < 2 || !self.finishes {
            return;
        }
        let proven = if self.fewest_waves {
            "proven minimal"
        } else {
            "found by a greedy search"
        };
        let takes = self
            .wave_seconds
            .map(|seconds| format!(", {} in total", span(seconds)))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "\nNodes that do not wait for each other, in {} ({proven}{takes}):",
            plural(self.waves.len(), "wave")
        );
        for wave in &self.waves {
            line(
                text,
                2,
                &format!("exeunt drain --parallel {} {}", wave.len(), wave.join(" ")),
            );
        }
    }
}

fn render_node(node: &NodePlan, text: &mut String) {
    let when = node.seconds.map_or("never empty".to_owned(), |seconds| {
        format!("empty after {}", span(seconds))
    });
    let _ = writeln!(text, "\nNode {} ({when}):", node.name);
    if node.pods.is_empty() {
        line(text, 2, "no pods");
    }
    for pod in &node.pods {
        let when = pod
            .evicted
            .map(|seconds| format!(" after {}", span(seconds)))
            .unwrap_or_default();
        let fate = match &pod.fate {
            Fate::Moves { to: Some(to) } => format!("moves to {to}{when}"),
            Fate::Moves { to: None } => format!("leaves{when}, but its replacement finds no node"),
            Fate::Ends => format!("ends{when}, and nothing replaces it"),
            Fate::Stays { why } => format!("stays: {why}"),
            Fate::Refused { why } => format!("is refused: {why}"),
            Fate::Stuck => "is stuck".to_owned(),
        };
        let notes: String = pod.notes.iter().map(|note| format!("; {note}")).collect();
        line(text, 2, &format!("{} {fate}{notes}", pod.pod));
    }
}

fn line(text: &mut String, indent: usize, what: &str) {
    let _ = writeln!(text, "{:indent$}{}", "", one_line(what));
}

/// Formats a duration: `0 s`, `4.5 s`, `42 s`, `3 min 5 s`, `2 h 10 min`.
fn span(seconds: f64) -> String {
    if seconds < 10.0 && seconds.fract() > 0.05 {
        return format!("{seconds:.1} s");
    }
    let whole = std::time::Duration::try_from_secs_f64(seconds.round())
        .unwrap_or(std::time::Duration::MAX)
        .as_secs();
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}
