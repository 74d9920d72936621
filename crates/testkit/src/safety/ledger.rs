//! Follows pods and budgets write by write and records violations of the rules of evictions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::observed::{ObservedBudget, ObservedPod};

/// Number of past states from which a status may have been computed.
const MOMENTS: usize = 512;
/// Revisions between the first and the last write of an eviction: budget, condition, deletion.
const EVICTION_WRITES: u64 = 2;
/// The time after which the controller removes a `disruptedPods` entry.
const ENTRY_LIFETIME: SignedDuration = SignedDuration::from_secs(120);
/// Times on the wire are whole seconds, and the clocks of observer and writer may differ.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

type Pods = BTreeMap<String, ObservedPod>;

/// Follows all writes of pods and budgets of one namespace.
///
/// # Assumptions
///
/// The ledger receives every write in the order of the revisions. Of several writes of one key in
/// one commit it may receive only the last. Budgets select by `matchLabels`.
#[derive(Debug)]
pub struct Ledger {
    revision: u64,
    now: Timestamp,
    pods: Pods,
    /// The state of all pods after each of the newest writes, oldest first.
    moments: VecDeque<(u64, Arc<Pods>)>,
    budgets: BTreeMap<String, BudgetRecord>,
    /// Uids of pods whose eviction was charged to a budget.
    paid: BTreeSet<String>,
    /// Uids of pods that became unready or were deleted without an eviction.
    lost: BTreeSet<String>,
    /// Charges whose pods are not deleted yet: name, uid, revision, budget.
    open: Vec<(String, String, u64, String)>,
    violations: Vec<String>,
    charges: u64,
    statuses: u64,
}

#[derive(Debug)]
struct BudgetRecord {
    budget: ObservedBudget,
    /// The earliest revision from which its newest status may have been computed.
    seen: u64,
    /// Uids of the pods that its newest status counts as healthy.
    counted: BTreeSet<String>,
    /// Number of further pods that it counts, which became unhealthy before the first write that
    /// the ledger received.
    missing: usize,
    /// Uids of the pods of its `disruptedPods` entries whose charges the ledger received.
    disrupted: BTreeMap<String, String>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            revision: 0,
            now: Timestamp::UNIX_EPOCH,
            pods: Pods::new(),
            moments: VecDeque::from([(0, Arc::default())]),
            budgets: BTreeMap::new(),
            paid: BTreeSet::new(),
            lost: BTreeSet::new(),
            open: Vec::new(),
            violations: Vec::new(),
            charges: 0,
            statuses: 0,
        }
    }
}

impl Ledger {
    /// Returns the violations with their revisions.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Returns the number of charges and of other status updates that were checked.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.charges, self.statuses)
    }

    /// Sets the time, at which `disruptedPods` entries expire.
    pub fn at(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Records a write or, without `pod`, the removal of a pod.
    pub fn pod(&mut self, revision: u64, name: &str, pod: Option<&Value>) {
        self.come_to(revision);
        let new = pod.map(ObservedPod::of);
        let old = match new.clone() {
            Some(new) => self.pods.insert(name.to_owned(), new),
            None => self.pods.remove(name),
        };
        let same = new
            .as_ref()
            .filter(|new| old.as_ref().is_some_and(|old| old.uid == new.uid));
        if let Some(old) = &old {
            self.follow_pod(name, old, same);
        }
        if self
            .moments
            .back()
            .is_none_or(|(_, pods)| **pods != self.pods)
        {
            self.moments
                .push_back((revision, Arc::new(self.pods.clone())));
        }
        if self.moments.len() > MOMENTS {
            self.moments.pop_front();
        }
    }

    /// Records a write or, without `budget`, the removal of a budget.
    pub fn budget(&mut self, revision: u64, name: &str, budget: Option<&Value>) {
        self.come_to(revision);
        let Some(new) = budget.map(ObservedBudget::of) else {
            self.budgets.remove(name);
            return;
        };
        self.check_numbers(name, &new);
        let Some(mut record) = self
            .budgets
            .remove(name)
            .filter(|record| record.budget.uid == new.uid)
        else {
            let record = self.new_record(new);
            self.budgets.insert(name.to_owned(), record);
            return;
        };
        let added: Vec<&String> = new
            .disrupted_pods
            .keys()
            .filter(|pod| record.budget.disrupted_pods.get(*pod) != new.disrupted_pods.get(*pod))
            .collect();
        match added.as_slice() {
            [] if same_status(&record.budget, &new) => {}
            [] => self.follow_status(name, &mut record, &new),
            [pod] => self.follow_charge(name, &mut record, &new, pod),
            _ => self.violation(name, "two disruptions were charged in one write"),
        }
        record.budget = new;
        self.budgets.insert(name.to_owned(), record);
    }

    /// Creates the record of a new budget. Its status may be older than the first write that the
    /// ledger received.
    fn new_record(&self, budget: ObservedBudget) -> BudgetRecord {
        let healthy = self
            .pods
            .values()
            .filter(|pod| budget.selects(pod) && pod.is_healthy());
        let counted: BTreeSet<String> = healthy.map(|pod| pod.uid.clone()).collect();
        let missing = usize::try_from(budget.healthy)
            .unwrap_or(0)
            .saturating_sub(counted.len());
        BudgetRecord {
            budget,
            seen: 0,
            counted,
            missing,
            disrupted: BTreeMap::new(),
        }
    }

    /// Checks that every charge was followed by a deletion. Call it when all writes of a commit are
    /// recorded.
    pub fn settle(&mut self) {
        self.come_to(self.revision + EVICTION_WRITES + 1);
        self.revision -= EVICTION_WRITES + 1;
    }

    /// Checks that no expired `disruptedPods` entry remains, if controllers run since `since`.
    pub fn check_disrupted_pods(&mut self, since: Timestamp, patience: SignedDuration) {
        let mut overdue = Vec::new();
        for (budget, record) in &self.budgets {
            for (pod, at) in &record.budget.disrupted_pods {
                let ends = (*at + ENTRY_LIFETIME).max(since) + patience;
                if ends < self.now {
                    overdue.push((
                        budget.clone(),
                        format!("the entry of {pod} from {at} remains at {}", self.now),
                    ));
                }
            }
        }
        overdue
            .iter()
            .for_each(|(budget, text)| self.violation(budget, text));
    }

    /// Checks that the statuses agree with the pods, once controllers have processed all changes.
    /// `replicas` returns the desired number of pods for the name of a budget.
    pub fn check_status(&mut self, replicas: impl Fn(&str) -> Option<i64>) {
        let mut wrong = Vec::new();
        for (name, record) in &self.budgets {
            let budget = &record.budget;
            let selected: Vec<(&String, &ObservedPod)> = self
                .pods
                .iter()
                .filter(|(_, pod)| budget.selects(pod))
                .collect();
            let present = i64::try_from(selected.len()).unwrap_or(i64::MAX);
            let expected = if budget.counts_pods() {
                Some(present)
            } else {
                replicas(name)
            };
            let disrupted = |pod: &String| {
                budget
                    .disrupted_pods
                    .get(pod)
                    .is_some_and(|at| *at + ENTRY_LIFETIME + TOLERANCE > self.now)
            };
            let healthy = selected
                .iter()
                .filter(|(pod, budget)| budget.is_healthy() && !disrupted(pod))
                .count();
            let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
            let reported = (budget.observed, budget.healthy, budget.expected);
            let truth = (
                budget.generation,
                healthy,
                expected.unwrap_or(budget.expected),
            );
            if !budget.failed && reported != truth {
                wrong.push((
                    name.clone(),
                    format!(
                        "generation, healthy and expected are {reported:?}, should be {truth:?}: \
                         {selected:?}"
                    ),
                ));
            }
        }
        wrong
            .iter()
            .for_each(|(budget, text)| self.violation(budget, text));
    }

    fn violation(&mut self, budget: &str, text: &str) {
        self.violations.push(format!(
            "revision {}, budget {budget:?}: {text}",
            self.revision
        ));
    }

    fn come_to(&mut self, revision: u64) {
        if revision < self.revision {
            self.violations
                .push(format!("revision {revision} came after {}", self.revision));
        }
        self.revision = revision;
        let due: Vec<_> = self
            .open
            .iter()
            .filter(|(_, _, paid, _)| revision > paid + EVICTION_WRITES)
            .cloned()
            .collect();
        self.open
            .retain(|(_, _, paid, _)| revision <= paid + EVICTION_WRITES);
        for (pod, uid, _, budget) in due {
            if self
                .pods
                .get(&pod)
                .is_some_and(|found| found.uid == uid && !found.terminating)
            {
                self.violation(
                    &budget,
                    &format!("{pod} was charged and is not being deleted"),
                );
            }
        }
    }

    /// Checks a change of a pod. `new` is `None` if it was deleted or replaced.
    fn follow_pod(&mut self, name: &str, old: &ObservedPod, new: Option<&ObservedPod>) {
        let leaves = old.is_healthy() && new.is_none_or(|new| !new.is_healthy());
        if new.is_some_and(ObservedPod::is_healthy) {
            self.lost.remove(&old.uid);
        }
        if !leaves {
            return;
        }
        let evicted = self.paid.contains(&old.uid)
            || new.is_some_and(|new| new.terminating && new.evicted && !old.evicted);
        if evicted && new.is_none_or(|new| new.terminating) {
            self.follow_eviction(name, old);
        } else {
            self.lost.insert(old.uid.clone());
        }
    }

    /// Checks the eviction of a healthy pod.
    fn follow_eviction(&mut self, name: &str, pod: &ObservedPod) {
        let mut wrong = Vec::new();
        for (budget, record) in self
            .budgets
            .iter()
            .filter(|(_, record)| record.budget.selects(pod))
        {
            if !self.paid.contains(&pod.uid) {
                wrong.push((
                    budget.clone(),
                    format!("{name} was healthy and is evicted without a charge"),
                ));
                continue;
            }
            let healthy = self
                .pods
                .values()
                .filter(|other| record.budget.selects(other) && other.is_healthy())
                .count();
            // Pods that were lost otherwise, and are still counted, are not lost by the eviction.
            let unnoticed = record.counted.intersection(&self.lost).count() + record.missing;
            let desired = record.budget.demand(record.budget.expected);
            if i64::try_from(healthy + unnoticed).unwrap_or(i64::MAX) < desired {
                let text = format!(
                    "the eviction of {name} leaves {healthy} healthy pods \
                     ({unnoticed} lost otherwise) of {desired}"
                );
                let (seen, counted) = (record.seen, record.counted.len());
                let text = format!(
                    "{text}; {counted} are counted as of {seen} by {:?}",
                    record.budget
                );
                wrong.push((budget.clone(), text));
            }
        }
        wrong
            .iter()
            .for_each(|(budget, text)| self.violation(budget, text));
    }

    fn check_numbers(&mut self, name: &str, budget: &ObservedBudget) {
        let room = (budget.healthy - budget.desired).max(0);
        if budget.allowed < 0 || budget.healthy < 0 || budget.allowed > room {
            let text = format!(
                "{} healthy of {} and {} allowed",
                budget.healthy, budget.desired, budget.allowed
            );
            self.violation(name, &text);
        }
    }

    fn follow_charge(
        &mut self,
        name: &str,
        record: &mut BudgetRecord,
        new: &ObservedBudget,
        pod: &str,
    ) {
        self.charges += 1;
        let old = &record.budget;
        let others_stay = old
            .disrupted_pods
            .iter()
            .all(|(other, at)| other == pod || new.disrupted_pods.get(other) == Some(at));
        let figures_stay = (old.healthy, old.desired, old.expected, old.observed)
            == (new.healthy, new.desired, new.expected, new.observed);
        if new.allowed != old.allowed - 1 || !others_stay || !figures_stay {
            self.violation(
                name,
                &format!("a charge for {pod} changed {old:?} to {new:?}"),
            );
        }
        if old.observed != old.generation || new.generation != old.generation {
            self.violation(
                name,
                &format!("a charge for {pod} under a status that does not know the spec"),
            );
        }
        let found = self
            .pods
            .get(pod)
            .filter(|found| old.selects(found))
            .map(|found| (found.uid.clone(), found.terminating));
        match found {
            Some((uid, false)) => {
                self.paid.insert(uid.clone());
                record.disrupted.insert(pod.to_owned(), uid.clone());
                self.open
                    .push((pod.to_owned(), uid, self.revision, name.to_owned()));
            }
            found => self.violation(name, &format!("a charge for {pod}, which is {found:?}")),
        }
    }

    /// Checks a status of the controller: it must agree with a past state that is not older than
    /// that of the status before, and it must not count a pod whose eviction was charged.
    fn follow_status(&mut self, name: &str, record: &mut BudgetRecord, new: &ObservedBudget) {
        self.statuses += 1;
        let old = &record.budget;
        if new.failed {
            if new.allowed != 0 {
                self.violation(
                    name,
                    "a budget whose status could not be computed allows disruptions",
                );
            }
            return;
        }
        if new.allowed == old.allowed && new.observed == old.observed {
            // The allowance is unchanged, so the status may be older than the newest charges.
            self.follow_numbers(record, new);
            return;
        }
        if new.desired != new.demand(new.expected) {
            self.violation(
                name,
                &format!("{} desired of {} expected", new.desired, new.expected),
            );
        }
        let allowed = if new.expected > 0 {
            (new.healthy - new.desired).max(0)
        } else {
            0
        };
        if new.allowed != allowed {
            self.violation(
                name,
                &format!(
                    "{} allowed with {} healthy of {}",
                    new.allowed, new.healthy, new.desired
                ),
            );
        }
        let last_known = self
            .moments
            .iter()
            .rposition(|(revision, _)| *revision <= record.seen)
            .unwrap_or(0);
        let moments = self.moments.iter().skip(last_known);
        let counts: Vec<(u64, BTreeSet<String>)> = moments
            .filter_map(|(revision, pods)| Some((*revision, self.counted(record, new, pods)?)))
            .collect();
        let honest = counts
            .iter()
            .rev()
            .find(|(_, counted)| counted.is_disjoint(&self.paid));
        match (counts.first(), honest) {
            (Some((first, _)), Some((_, counted))) => {
                record.seen = *first;
                record.counted = counted.clone();
                record.missing = 0;
            }
            (None, _) => self.violation(
                name,
                &format!(
                    "no past state agrees with {new:?} after {old:?} and {:?}",
                    self.moments.back()
                ),
            ),
            (_, None) => self.violation(name, &format!("{new:?} counts pods that were evicted")),
        }
    }

    /// Follows a status with an unchanged allowance. The entries that the controller knew are
    /// unknown, so every pod that it may have counted, in any past state that agrees with the
    /// numbers, is added to the counted ones.
    fn follow_numbers(&self, record: &mut BudgetRecord, new: &ObservedBudget) {
        let last_known = self
            .moments
            .iter()
            .rposition(|(revision, _)| *revision <= record.seen)
            .unwrap_or(0);
        for (_, pods) in self.moments.iter().skip(last_known) {
            let healthy = pods
                .iter()
                .filter(|(_, pod)| new.selects(pod) && pod.is_healthy());
            let (disrupted, rest): (Vec<_>, Vec<_>) =
                healthy.partition(|(name, _)| new.disrupted_pods.contains_key(*name));
            let explained = rest.len()..=rest.len() + disrupted.len();
            if usize::try_from(new.healthy).is_ok_and(|healthy| explained.contains(&healthy)) {
                record.counted.extend(
                    disrupted
                        .into_iter()
                        .chain(rest)
                        .map(|(_, pod)| pod.uid.clone()),
                );
            }
        }
    }

    /// Returns the uids that a status counts if it was computed from these pods; `None` if it was
    /// not.
    fn counted(
        &self,
        record: &BudgetRecord,
        new: &ObservedBudget,
        pods: &Pods,
    ) -> Option<BTreeSet<String>> {
        let selected: Vec<(&String, &ObservedPod)> =
            pods.iter().filter(|(_, pod)| new.selects(pod)).collect();
        if new.counts_pods() && i64::try_from(selected.len()) != Ok(new.expected) {
            return None;
        }
        // A new pod of the same name is not the disrupted one.
        let is_meant = |pod: &String, found: &ObservedPod| {
            record
                .disrupted
                .get(pod)
                .is_none_or(|uid| *uid == found.uid)
        };
        let stays = |pod: &String| {
            pods.get(pod)
                .is_some_and(|found| !found.terminating && is_meant(pod, found))
        };
        let expired = |at: &Timestamp| *at + ENTRY_LIFETIME < self.now + TOLERANCE;
        // An entry may remain too long, which `check_disrupted_pods` checks, but it must not be
        // removed while its pod exists.
        let explained = |(pod, at): (&String, &Timestamp)| {
            new.disrupted_pods.contains_key(pod) || !stays(pod) || expired(at)
        };
        if !record.budget.disrupted_pods.iter().all(explained) {
            return None;
        }
        let healthy: Vec<_> = selected
            .iter()
            .filter(|(_, pod)| pod.is_healthy())
            .collect();
        let disrupted = |pod: &String| new.disrupted_pods.get(pod).is_some_and(|at| !expired(at));
        let all: BTreeSet<String> = healthy.iter().map(|(_, pod)| pod.uid.clone()).collect();
        let rest: BTreeSet<String> = healthy
            .iter()
            .filter(|(name, _)| !disrupted(name))
            .map(|(_, pod)| pod.uid.clone())
            .collect();
        // The pod of an entry that is about to expire may be counted again.
        let about_to = new
            .disrupted_pods
            .values()
            .any(|at| *at + ENTRY_LIFETIME - TOLERANCE < self.now);
        [Some(rest), about_to.then_some(all)]
            .into_iter()
            .flatten()
            .find(|counted| i64::try_from(counted.len()) == Ok(new.healthy))
    }
}

/// Returns whether the status is unchanged.
fn same_status(old: &ObservedBudget, new: &ObservedBudget) -> bool {
    let numbers = |budget: &ObservedBudget| {
        (
            budget.observed,
            budget.healthy,
            budget.desired,
            budget.expected,
            budget.allowed,
            budget.failed,
        )
    };
    numbers(old) == numbers(new) && old.disrupted_pods == new.disrupted_pods
}

#[cfg(test)]
mod tests;
