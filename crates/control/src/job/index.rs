//! The indexes of an indexed job's pods, and sets of them as the status holds them. Pure.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;

use crate::meta::annotation;

pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The index of a pod; none when it has none or a negative one.
pub(super) fn of(pod: &Pod) -> Option<i32> {
    let index = annotation(&pod.metadata, INDEX)?.parse().ok()?;
    (index >= 0).then_some(index)
}

/// A set of indexes, as ascending intervals that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IndexSet(Vec<(i32, i32)>);

impl IndexSet {
    /// Parses text such as `1,3-5,7`. Parts that do not parse, and indexes from `limit` on, are
    /// skipped.
    pub(super) fn parse(text: &str, limit: i32) -> Self {
        let mut set = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>())
                && first >= 0
            {
                set.insert_interval(first, last.min(limit.saturating_sub(1)));
            }
        }
        set
    }

    pub(super) fn insert(&mut self, index: i32) {
        self.insert_interval(index, index);
    }

    fn insert_interval(&mut self, mut first: i32, mut last: i32) {
        if first > last {
            return;
        }
        let from = self
            .0
            .partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self
            .0
            .partition_point(|(start, _)| *start <= last.saturating_add(1));
        if let Some(known) = self.0.get(from..to).filter(|known| !known.is_empty()) {
            first = first.min(known[0].0);
            last = last.max(known[known.len() - 1].1);
        }
        drop(self.0.splice(from..to, [(first, last)]));
    }

    pub(super) fn contains(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of indexes.
    pub(super) fn total(&self) -> i32 {
        let sum: i64 = self
            .0
            .iter()
            .map(|(first, last)| i64::from(*last) - i64::from(*first) + 1)
            .sum();
        i32::try_from(sum).unwrap_or(i32::MAX)
    }

    /// The number of indexes that both sets contain.
    pub(super) fn common(&self, other: &Self) -> i32 {
        let overlap = |(first, last): &(i32, i32)| {
            let from = other.0.partition_point(|(_, end)| end < first);
            let meeting = other.0[from..]
                .iter()
                .take_while(|(start, _)| start <= last);
            meeting
                .map(|(start, end)| i64::from(*end.min(last)) - i64::from(*start.max(first)) + 1)
                .sum::<i64>()
        };
        i32::try_from(self.0.iter().map(overlap).sum::<i64>()).unwrap_or(i32::MAX)
    }

    /// The first `count` indexes below `limit` that the set lacks.
    pub(super) fn missing(&self, limit: i32, count: usize) -> Vec<i32> {
        let mut found = Vec::new();
        let mut next = 0;
        let end = [(limit, limit)];
        for (first, last) in self.0.iter().chain(&end) {
            let room = count.saturating_sub(found.len());
            found.extend((next..(*first).min(limit)).take(room));
            next = last.saturating_add(1);
        }
        found
    }
}

impl Extend<i32> for IndexSet {
    fn extend<T: IntoIterator<Item = i32>>(&mut self, indexes: T) {
        for index in indexes {
            self.insert(index);
        }
    }
}

/// Renders a set, for example `1,3-5,7`. Upstream joins two neighbours by a comma.
impl std::fmt::Display for IndexSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            if at > 0 {
                out.write_char(',')?;
            }
            match i64::from(*last) - i64::from(*first) {
                0 => write!(out, "{first}")?,
                1 => write!(out, "{first},{last}")?,
                _ => write!(out, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sets_of_indexes_are_rendered_as_ranges() {
        for text in ["", "0", "0,1", "0-2", "1,3-5,7", "0-2147483646"] {
            assert_eq!(IndexSet::parse(text, i32::MAX).to_string(), text);
        }
        assert_eq!(IndexSet::parse("0-5,9", 3).to_string(), "0-2");
        assert_eq!(IndexSet::parse("x,2-1,-4,1-", 9), IndexSet::default());
    }

    proptest! {
        #[test]
        fn a_set_behaves_as_a_set(
            some in proptest::collection::vec(0..40_i32, 0..30),
            others in proptest::collection::vec(0..40_i32, 0..30),
        ) {
            let (mut set, mut other) = (IndexSet::default(), IndexSet::default());
            set.extend(some.clone());
            other.extend(others.clone());
            let model: BTreeSet<i32> = some.into_iter().collect();
            let other_model: BTreeSet<i32> = others.into_iter().collect();
            prop_assert_eq!(set.total(), i32::try_from(model.len()).expect("small"));
            prop_assert_eq!(&IndexSet::parse(&set.to_string(), 40), &set);
            for index in 0..40 {
                prop_assert_eq!(set.contains(index), model.contains(&index));
            }
            let common = model.intersection(&other_model).count();
            prop_assert_eq!(set.common(&other), i32::try_from(common).expect("small"));
            let missing = (0..30).filter(|index| !model.contains(index));
            let missing: Vec<i32> = missing.take(7).collect();
            prop_assert_eq!(set.missing(30, 7), missing);
        }
    }
}
