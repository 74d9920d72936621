//! The observer: follows pods and budgets write by write, and notes down what must not be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::sight::{BudgetSight, PodSight};

/// How many moments of the past a status may have been made from.
const MOMENTS: usize = 512;
/// An eviction writes budget, condition and deletion: so many revisions.
const EVICTION_WRITES: u64 = 2;
/// How long a note stands.
const NOTE_LIFETIME: SignedDuration = SignedDuration::from_secs(120);
/// Times on the wire are whole seconds, and the observer's clock is not the writer's.
const BLUR: SignedDuration = SignedDuration::from_secs(2);

type Pods = BTreeMap<String, PodSight>;

/// Follows all writes of pods and budgets of one namespace.
///
/// # Assumptions
///
/// Every write is told, in the order of the revisions; several of one key inside one commit may be
/// told as the last of them. Budgets select by `matchLabels`.
#[derive(Debug)]
pub struct Ledger {
    revision: u64,
    now: Timestamp,
    pods: Pods,
    /// All pods as they were after each of their newest writes, the oldest first.
    moments: VecDeque<(u64, Arc<Pods>)>,
    budgets: BTreeMap<String, Account>,
    /// Uids of all pods for which a budget has paid.
    paid: BTreeSet<String>,
    /// Uids of pods that became unready, or went, without an eviction.
    lost: BTreeSet<String>,
    /// Charges whose pods have still to be deleted: name, uid, revision, budget.
    open: Vec<(String, String, u64, String)>,
    violations: Vec<String>,
    charges: u64,
    statuses: u64,
}

#[derive(Debug)]
struct Account {
    sight: BudgetSight,
    /// The moment from which its newest status was made, at the earliest.
    seen: u64,
    /// Uids of the pods that its newest status counts as healthy.
    counted: BTreeSet<String>,
    /// How many more it counts, which were lost before anything was told.
    missing: usize,
    /// Uids of the pods that its notes are about, as far as it was seen to pay for them.
    noted: BTreeMap<String, String>,
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
    /// What must not have been, with the revision at which it was.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// How many disruptions budgets have paid for, and how many other statuses were looked at.
    #[must_use]
    pub fn figures(&self) -> (u64, u64) {
        (self.charges, self.statuses)
    }

    /// Tells the time, by which notes expire.
    pub fn at(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// A pod was written, or removed.
    pub fn pod(&mut self, revision: u64, name: &str, pod: Option<&Value>) {
        self.come_to(revision);
        let new = pod.map(PodSight::of);
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

    /// A budget was written, or removed.
    pub fn budget(&mut self, revision: u64, name: &str, budget: Option<&Value>) {
        self.come_to(revision);
        let Some(new) = budget.map(BudgetSight::of) else {
            self.budgets.remove(name);
            return;
        };
        self.check_figures(name, &new);
        let Some(mut account) = self
            .budgets
            .remove(name)
            .filter(|account| account.sight.uid == new.uid)
        else {
            let account = self.open_account(new);
            self.budgets.insert(name.to_owned(), account);
            return;
        };
        let added: Vec<&String> = new
            .notes
            .keys()
            .filter(|pod| account.sight.notes.get(*pod) != new.notes.get(*pod))
            .collect();
        match added.as_slice() {
            [] if same_status(&account.sight, &new) => {}
            [] => self.follow_status(name, &mut account, &new),
            [pod] => self.follow_charge(name, &mut account, &new, pod),
            _ => self.violation(name, "two disruptions were paid for at once"),
        }
        account.sight = new;
        self.budgets.insert(name.to_owned(), account);
    }

    /// A budget of which nothing was known. Its status may have been made before anything was told.
    fn open_account(&self, budget: BudgetSight) -> Account {
        let healthy = self
            .pods
            .values()
            .filter(|pod| budget.selects(pod) && pod.is_healthy());
        let counted: BTreeSet<String> = healthy.map(|pod| pod.uid.clone()).collect();
        let missing = usize::try_from(budget.healthy)
            .unwrap_or(0)
            .saturating_sub(counted.len());
        Account {
            sight: budget,
            seen: 0,
            counted,
            missing,
            noted: BTreeMap::new(),
        }
    }

    /// Everything up to now has been told: looks for charges without their deletions.
    pub fn settle(&mut self) {
        self.come_to(self.revision + EVICTION_WRITES + 1);
        self.revision -= EVICTION_WRITES + 1;
    }

    /// Looks for notes that should have been gone, when controllers work since `since`.
    pub fn check_notes(&mut self, since: Timestamp, patience: SignedDuration) {
        let mut overdue = Vec::new();
        for (budget, account) in &self.budgets {
            for (pod, at) in &account.sight.notes {
                let ends = (*at + NOTE_LIFETIME).max(since) + patience;
                if ends < self.now {
                    overdue.push((
                        budget.clone(),
                        format!("the note about {pod} of {at} stands at {}", self.now),
                    ));
                }
            }
        }
        overdue
            .iter()
            .for_each(|(budget, text)| self.violation(budget, text));
    }

    /// Compares the statuses with what is true, when controllers have had the time to see it all.
    /// `replicas` says how many pods the controllers of those that a budget selects want.
    pub fn check_truth(&mut self, replicas: impl Fn(&str) -> Option<i64>) {
        let mut wrong = Vec::new();
        for (name, account) in &self.budgets {
            let budget = &account.sight;
            let selected: Vec<(&String, &PodSight)> = self
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
            let noted = |pod: &String| {
                budget
                    .notes
                    .get(pod)
                    .is_some_and(|at| *at + NOTE_LIFETIME + BLUR > self.now)
            };
            let healthy = selected
                .iter()
                .filter(|(pod, sight)| sight.is_healthy() && !noted(pod))
                .count();
            let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
            let told = (budget.observed, budget.healthy, budget.expected);
            let truth = (
                budget.generation,
                healthy,
                expected.unwrap_or(budget.expected),
            );
            if !budget.failed && told != truth {
                wrong.push((
                    name.clone(),
                    format!("it says generation, healthy and expected {told:?}, and they are {truth:?}: {selected:?}"),
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
                    &format!("it has paid for {pod}, which is not being deleted"),
                );
            }
        }
    }

    /// A pod that was there has changed, or is gone or replaced (`new` is none).
    fn follow_pod(&mut self, name: &str, old: &PodSight, new: Option<&PodSight>) {
        let leaves = old.is_healthy() && new.is_none_or(|new| !new.is_healthy());
        if new.is_some_and(PodSight::is_healthy) {
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

    /// A healthy pod begins to go because of an eviction.
    fn follow_eviction(&mut self, name: &str, pod: &PodSight) {
        let mut wrong = Vec::new();
        for (budget, account) in self
            .budgets
            .iter()
            .filter(|(_, account)| account.sight.selects(pod))
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
                .filter(|other| account.sight.selects(other) && other.is_healthy())
                .count();
            // What was lost otherwise, and is still counted, is not the eviction's doing.
            let unnoticed = account.counted.intersection(&self.lost).count() + account.missing;
            let desired = account.sight.demand(account.sight.expected);
            if i64::try_from(healthy + unnoticed).unwrap_or(i64::MAX) < desired {
                let text = format!(
                    "the eviction of {name} leaves {healthy} healthy pods ({unnoticed} lost otherwise) of {desired}"
                );
                let (seen, counted) = (account.seen, account.counted.len());
                let text = format!(
                    "{text}; {counted} are counted as of {seen} by {:?}",
                    account.sight
                );
                wrong.push((budget.clone(), text));
            }
        }
        wrong
            .iter()
            .for_each(|(budget, text)| self.violation(budget, text));
    }

    fn check_figures(&mut self, name: &str, budget: &BudgetSight) {
        let room = (budget.healthy - budget.desired).max(0);
        if budget.allowed < 0 || budget.healthy < 0 || budget.allowed > room {
            let text = format!(
                "{} healthy of {} and {} allowed",
                budget.healthy, budget.desired, budget.allowed
            );
            self.violation(name, &text);
        }
    }

    fn follow_charge(&mut self, name: &str, account: &mut Account, new: &BudgetSight, pod: &str) {
        self.charges += 1;
        let old = &account.sight;
        let others_stay = old
            .notes
            .iter()
            .all(|(other, at)| other == pod || new.notes.get(other) == Some(at));
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
                account.noted.insert(pod.to_owned(), uid.clone());
                self.open
                    .push((pod.to_owned(), uid, self.revision, name.to_owned()));
            }
            found => self.violation(name, &format!("a charge for {pod}, which is {found:?}")),
        }
    }

    /// The controller has written a status: there must be a moment at which it was true, not before
    /// the one that it had seen already, and no pod for which a budget has paid may be counted.
    fn follow_status(&mut self, name: &str, account: &mut Account, new: &BudgetSight) {
        self.statuses += 1;
        let old = &account.sight;
        if new.failed {
            if new.allowed != 0 {
                self.violation(
                    name,
                    "a budget that could not be worked out allows something",
                );
            }
            return;
        }
        if new.allowed == old.allowed && new.observed == old.observed {
            // What may be disrupted stays as it was, so that this may have been counted before the
            // newest charges.
            self.follow_figures(account, new);
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
            .rposition(|(revision, _)| *revision <= account.seen)
            .unwrap_or(0);
        let moments = self.moments.iter().skip(last_known);
        let counts: Vec<(u64, BTreeSet<String>)> = moments
            .filter_map(|(revision, pods)| Some((*revision, self.counted(account, new, pods)?)))
            .collect();
        let honest = counts
            .iter()
            .rev()
            .find(|(_, counted)| counted.is_disjoint(&self.paid));
        match (counts.first(), honest) {
            (Some((first, _)), Some((_, counted))) => {
                account.seen = *first;
                account.counted = counted.clone();
                account.missing = 0;
            }
            (None, _) => self.violation(
                name,
                &format!(
                    "no moment explains {new:?} after {old:?} and {:?}",
                    self.moments.back()
                ),
            ),
            (_, None) => self.violation(name, &format!("{new:?} counts pods that were evicted")),
        }
    }

    /// The controller has changed the figures beside an allowance that stays. It cannot be told
    /// which notes it knew, so that what it may have counted, at any moment that explains the
    /// figures, is added to what is counted.
    fn follow_figures(&self, account: &mut Account, new: &BudgetSight) {
        let last_known = self
            .moments
            .iter()
            .rposition(|(revision, _)| *revision <= account.seen)
            .unwrap_or(0);
        for (_, pods) in self.moments.iter().skip(last_known) {
            let healthy = pods
                .iter()
                .filter(|(_, pod)| new.selects(pod) && pod.is_healthy());
            let (noted, rest): (Vec<_>, Vec<_>) =
                healthy.partition(|(name, _)| new.notes.contains_key(*name));
            let explained = rest.len()..=rest.len() + noted.len();
            if usize::try_from(new.healthy).is_ok_and(|healthy| explained.contains(&healthy)) {
                account.counted.extend(
                    noted
                        .into_iter()
                        .chain(rest)
                        .map(|(_, pod)| pod.uid.clone()),
                );
            }
        }
    }

    /// The uids that a status counts if it was made from these pods; none if it was not.
    fn counted(
        &self,
        account: &Account,
        new: &BudgetSight,
        pods: &Pods,
    ) -> Option<BTreeSet<String>> {
        let selected: Vec<(&String, &PodSight)> =
            pods.iter().filter(|(_, pod)| new.selects(pod)).collect();
        if new.counts_pods() && i64::try_from(selected.len()) != Ok(new.expected) {
            return None;
        }
        // A successor is not the pod that the note is about.
        let is_meant = |pod: &String, found: &PodSight| {
            account.noted.get(pod).is_none_or(|uid| *uid == found.uid)
        };
        let stays = |pod: &String| {
            pods.get(pod)
                .is_some_and(|found| !found.terminating && is_meant(pod, found))
        };
        let expired = |at: &Timestamp| *at + NOTE_LIFETIME < self.now + BLUR;
        // A note may stand for longer than it must, see `check_notes`, but not go while its pod
        // stays.
        let explained = |(pod, at): (&String, &Timestamp)| {
            new.notes.contains_key(pod) || !stays(pod) || expired(at)
        };
        if !account.sight.notes.iter().all(explained) {
            return None;
        }
        let healthy: Vec<_> = selected
            .iter()
            .filter(|(_, pod)| pod.is_healthy())
            .collect();
        let noted = |pod: &String| new.notes.get(pod).is_some_and(|at| !expired(at));
        let all: BTreeSet<String> = healthy.iter().map(|(_, pod)| pod.uid.clone()).collect();
        let rest: BTreeSet<String> = healthy
            .iter()
            .filter(|(name, _)| !noted(name))
            .map(|(_, pod)| pod.uid.clone())
            .collect();
        // A note about to expire may stand while its pod counts again.
        let about_to = new
            .notes
            .values()
            .any(|at| *at + NOTE_LIFETIME - BLUR < self.now);
        [Some(rest), about_to.then_some(all)]
            .into_iter()
            .flatten()
            .find(|counted| i64::try_from(counted.len()) == Ok(new.healthy))
    }
}

/// Whether only the spec, or the metadata, has changed.
fn same_status(old: &BudgetSight, new: &BudgetSight) -> bool {
    let figures = |budget: &BudgetSight| {
        (
            budget.observed,
            budget.healthy,
            budget.desired,
            budget.expected,
            budget.allowed,
            budget.failed,
        )
    };
    figures(old) == figures(new) && old.notes == new.notes
}

#[cfg(test)]
mod tests;
