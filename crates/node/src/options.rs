//! The options of an agent.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::addresses::MAX_NODES;

/// The options of an agent.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The names of the nodes that the agent serves.
    pub names: Vec<String>,
    /// The number of the first node among all agents of the cluster. The addresses of nodes and
    /// pods follow from it, so agents need disjoint ranges.
    pub first_index: usize,
    /// The CPU of each node, as a quantity.
    pub cpu: String,
    /// The memory of each node, as a quantity.
    pub memory: String,
    /// The maximum number of pods of each node.
    pub pods: u32,
    /// Labels of the nodes, beside those that every node has.
    pub labels: BTreeMap<String, String>,
    /// The interval between two renewals of a node's lease.
    pub lease_interval: Duration,
    /// The interval between two reports of a node's status without a change.
    pub status_interval: Duration,
    /// The maximum rate of events that the agent writes, on average; 0 disables events.
    pub events_per_second: u32,
}

/// The errors of [`NodeOptions::check`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionsError {
    /// There is no node.
    #[error("an agent needs at least one node")]
    NoNodes,
    /// There are more nodes than address ranges.
    #[error(
        "cannot assign addresses to {count} nodes from number {first}: the limit is {MAX_NODES}"
    )]
    TooManyNodes {
        /// The number of the first node.
        first: usize,
        /// The number of nodes.
        count: usize,
    },
    /// Two nodes have the same name.
    #[error("duplicate node name {0:?}")]
    DuplicateName(String),
    /// An interval is zero.
    #[error("the interval between {0} must be greater than zero")]
    ZeroInterval(&'static str),
}

impl NodeOptions {
    /// Returns options for nodes with these names and the default size: 8 CPU, 32Gi, 110 pods.
    #[must_use]
    pub fn named(names: Vec<String>) -> Self {
        Self {
            names,
            first_index: 0,
            cpu: "8".to_owned(),
            memory: "32Gi".to_owned(),
            pods: 110,
            labels: BTreeMap::new(),
            lease_interval: Duration::from_secs(10),
            status_interval: Duration::from_secs(300),
            events_per_second: 100,
        }
    }

    /// Returns options for `count` nodes with the names `PREFIX-1`, `PREFIX-2`, …
    #[must_use]
    pub fn numbered(prefix: &str, count: usize) -> Self {
        Self::named(
            (1..=count)
                .map(|number| format!("{prefix}-{number}"))
                .collect(),
        )
    }

    /// Checks that an agent can start with these options.
    ///
    /// # Errors
    ///
    /// The first violation that is found.
    pub fn check(&self) -> Result<(), OptionsError> {
        let count = self.names.len();
        if count == 0 {
            return Err(OptionsError::NoNodes);
        }
        if self.first_index.saturating_add(count) > MAX_NODES {
            return Err(OptionsError::TooManyNodes {
                first: self.first_index,
                count,
            });
        }
        let mut seen = HashSet::new();
        if let Some(duplicate) = self.names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(OptionsError::DuplicateName(duplicate.clone()));
        }
        if self.lease_interval.is_zero() {
            return Err(OptionsError::ZeroInterval("lease renewals"));
        }
        if self.status_interval.is_zero() {
            return Err(OptionsError::ZeroInterval("status reports"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_options_are_refused() {
        assert_eq!(NodeOptions::numbered("node", 3).check(), Ok(()));
        assert_eq!(
            NodeOptions::numbered("node", 0).check(),
            Err(OptionsError::NoNodes)
        );
        let twice = NodeOptions::named(vec!["a".into(), "a".into()]);
        assert_eq!(twice.check(), Err(OptionsError::DuplicateName("a".into())));
        let many = NodeOptions {
            first_index: MAX_NODES,
            ..NodeOptions::numbered("node", 1)
        };
        assert!(matches!(
            many.check(),
            Err(OptionsError::TooManyNodes { .. })
        ));
        let zero = NodeOptions {
            lease_interval: Duration::ZERO,
            ..NodeOptions::numbered("node", 1)
        };
        assert_eq!(
            zero.check(),
            Err(OptionsError::ZeroInterval("lease renewals"))
        );
    }
}
