//! What an agent is told at its start, and the addresses that follow from it.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

/// More nodes than this have no address range of their own.
const MOST_NODES: usize = SECOND_OCTETS.len() * 256;

/// Second octets of the pod ranges, the usual 10.244 first. The usual range of services (10.96 to
/// 10.111) is not among them.
const SECOND_OCTETS: [u8; 128] = {
    let mut octets = [0; 128];
    let (mut index, mut octet) = (0, 244_u8);
    while index < octets.len() {
        octets[index] = octet;
        octet = if octet == 255 { 128 } else { octet + 1 };
        index += 1;
    }
    octets
};

/// What an agent is told at its start.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Names of the nodes that it serves.
    pub names: Vec<String>,
    /// Number of the first node among all agents of the cluster; the addresses follow from it.
    pub first_index: usize,
    /// Processors of each node, as a quantity.
    pub cpu: String,
    /// Memory of each node, as a quantity.
    pub memory: String,
    /// Pods that each node takes.
    pub pods: u32,
    /// Labels besides the usual ones.
    pub labels: BTreeMap<String, String>,
    /// Pause between two renewals of a node's lease.
    pub lease_interval: Duration,
    /// Pause between two reports of a node's status that say nothing new.
    pub status_interval: Duration,
    /// Events that the agent writes per second in the long run; 0 writes none.
    pub events_per_second: u32,
}

/// Why an agent cannot start with these options.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionsError {
    /// No node at all.
    #[error("an agent needs at least one node")]
    NoNodes,
    /// More than the address ranges allow.
    #[error(
        "{count} nodes from number {first} on are too many: at most {MOST_NODES} have an address range"
    )]
    TooManyNodes {
        /// Number of the first.
        first: usize,
        /// How many.
        count: usize,
    },
    /// A name that occurs twice.
    #[error("node name {0:?} occurs twice")]
    DuplicateName(String),
    /// A pause of zero.
    #[error("the pause between {0} must not be zero")]
    NoPause(&'static str),
}

impl NodeOptions {
    /// Nodes with these names and the usual size: 8 CPU, 32Gi, 110 pods.
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

    /// `count` nodes called `PREFIX-1`, `PREFIX-2`, …
    #[must_use]
    pub fn numbered(prefix: &str, count: usize) -> Self {
        Self::named(
            (1..=count)
                .map(|number| format!("{prefix}-{number}"))
                .collect(),
        )
    }

    /// Whether an agent can start with these options.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), OptionsError> {
        let count = self.names.len();
        if count == 0 {
            return Err(OptionsError::NoNodes);
        }
        if self.first_index.saturating_add(count) > MOST_NODES {
            return Err(OptionsError::TooManyNodes {
                first: self.first_index,
                count,
            });
        }
        let mut seen = HashSet::new();
        if let Some(twice) = self.names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(OptionsError::DuplicateName(twice.clone()));
        }
        if self.lease_interval.is_zero() {
            return Err(OptionsError::NoPause("renewals of a lease"));
        }
        if self.status_interval.is_zero() {
            return Err(OptionsError::NoPause("reports of a status"));
        }
        Ok(())
    }
}

/// The addresses of one node and its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    high: u8,
    low: u8,
}

impl Range {
    /// The range of the node with this number.
    pub(crate) fn of(index: usize) -> Self {
        Self {
            high: SECOND_OCTETS[(index / 256) % SECOND_OCTETS.len()],
            low: u8::try_from(index % 256).unwrap_or_default(),
        }
    }

    /// The node's own address.
    pub(crate) fn node(self) -> Ipv4Addr {
        // 172.16.0.0/12 holds a sixteenth of what 10.0.0.0/8 does; the other half of the ranges
        // takes the second half of the last octet.
        Ipv4Addr::new(172, 16 + (self.high & 15), self.low, 2 + (self.high >> 4))
    }

    /// The address of a pod.
    pub(crate) fn pod(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.high, self.low, host)
    }

    /// The range as nodes show it.
    pub(crate) fn cidr(self) -> String {
        format!("10.{}.{}.0/24", self.high, self.low)
    }
}

/// Which addresses of a range are taken.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    range: Range,
    taken: [u64; 4],
    next: u8,
}

impl Addresses {
    pub(crate) fn new(range: Range) -> Self {
        Self {
            range,
            taken: [0; 4],
            next: FIRST_HOST,
        }
    }

    pub(crate) fn range(&self) -> Range {
        self.range
    }

    /// An address that no pod has, the one longest unused first; none when all are taken.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        for _ in FIRST_HOST..=LAST_HOST {
            let host = self.next;
            self.next = if host == LAST_HOST {
                FIRST_HOST
            } else {
                host + 1
            };
            if self.mark(host) {
                return Some(self.range.pod(host));
            }
        }
        None
    }

    /// Marks an address that a pod has already.
    pub(crate) fn adopt(&mut self, address: Ipv4Addr) {
        if self.range.pod(address.octets()[3]) == address {
            self.mark(address.octets()[3]);
        }
    }

    /// Gives an address back.
    pub(crate) fn release(&mut self, address: Ipv4Addr) {
        let host = address.octets()[3];
        if self.range.pod(host) == address {
            self.taken[usize::from(host / 64)] &= !(1 << (host % 64));
        }
    }

    fn mark(&mut self, host: u8) -> bool {
        let (word, bit) = (&mut self.taken[usize::from(host / 64)], 1 << (host % 64));
        let free = *word & bit == 0;
        *word |= bit;
        free
    }
}

/// `.0` is the network and `.1` the gateway.
const FIRST_HOST: u8 = 2;
const LAST_HOST: u8 = 254;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_different_addresses() {
        let ranges: Vec<Range> = (0..MOST_NODES).map(Range::of).collect();
        let nodes: HashSet<Ipv4Addr> = ranges.iter().map(|range| range.node()).collect();
        let pods: HashSet<Ipv4Addr> = ranges.iter().map(|range| range.pod(9)).collect();
        assert_eq!((nodes.len(), pods.len()), (MOST_NODES, MOST_NODES));
        assert_eq!(Range::of(3).cidr(), "10.244.3.0/24");
    }

    #[test]
    fn an_address_is_not_given_twice_until_it_is_released() {
        let mut addresses = Addresses::new(Range::of(0));
        addresses.adopt(Ipv4Addr::new(10, 244, 0, 3));
        let all: HashSet<Ipv4Addr> = std::iter::from_fn(|| addresses.take()).collect();
        assert_eq!(all.len(), 252);
        assert!(!all.contains(&Ipv4Addr::new(10, 244, 0, 3)));
        addresses.release(Ipv4Addr::new(10, 244, 0, 77));
        addresses.release(Ipv4Addr::new(10, 9, 0, 78));
        assert_eq!(addresses.take(), Some(Ipv4Addr::new(10, 244, 0, 77)));
        assert_eq!(addresses.take(), None);
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        assert_eq!(NodeOptions::numbered("node", 3).check(), Ok(()));
        assert_eq!(
            NodeOptions::numbered("node", 0).check(),
            Err(OptionsError::NoNodes)
        );
        let twice = NodeOptions::named(vec!["a".into(), "a".into()]);
        assert_eq!(twice.check(), Err(OptionsError::DuplicateName("a".into())));
        let many = NodeOptions {
            first_index: MOST_NODES,
            ..NodeOptions::numbered("node", 1)
        };
        assert!(matches!(
            many.check(),
            Err(OptionsError::TooManyNodes { .. })
        ));
        let restless = NodeOptions {
            lease_interval: Duration::ZERO,
            ..NodeOptions::numbered("node", 1)
        };
        assert_eq!(
            restless.check(),
            Err(OptionsError::NoPause("renewals of a lease"))
        );
    }
}
