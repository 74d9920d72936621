//! The addresses of simulated nodes and their pods.
//!
//! Every node has a number, from which its address and the subnet of its pods follow. Nobody can
//! connect to these addresses; they only have to be plausible and unique.

use std::net::Ipv4Addr;

/// The number of nodes that have a subnet of their own.
pub(crate) const MAX_NODES: usize = SECOND_OCTETS.len() * 256;

/// The second octets of the pod subnets. They begin with the customary 10.244 and leave out the
/// customary range of services, 10.96 to 10.111.
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

/// The address of one node, and the subnet of its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeSubnet {
    high: u8,
    low: u8,
}

impl NodeSubnet {
    /// Returns the subnet of the node with this number.
    pub(crate) fn of(index: usize) -> Self {
        Self {
            high: SECOND_OCTETS[(index / 256) % SECOND_OCTETS.len()],
            low: u8::try_from(index % 256).unwrap_or_default(),
        }
    }

    /// Returns the address of the node.
    pub(crate) fn node_ip(self) -> Ipv4Addr {
        // 172.16.0.0/12 is a sixteenth of 10.0.0.0/8, so the upper four bits move to the last
        // octet.
        Ipv4Addr::new(172, 16 + (self.high & 15), self.low, 2 + (self.high >> 4))
    }

    /// Returns the address of a pod, by its last octet.
    fn pod_ip(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.high, self.low, host)
    }

    /// Returns the subnet in CIDR notation.
    pub(crate) fn cidr(self) -> String {
        format!("10.{}.{}.0/24", self.high, self.low)
    }
}

/// The addresses of a subnet, with those that are in use.
#[derive(Clone, Debug)]
pub(crate) struct PodIpPool {
    subnet: NodeSubnet,
    /// One bit for each last octet.
    used: [u64; 4],
    next: u8,
}

impl PodIpPool {
    pub(crate) fn new(subnet: NodeSubnet) -> Self {
        Self {
            subnet,
            used: [0; 4],
            next: FIRST_HOST,
        }
    }

    pub(crate) fn subnet(&self) -> NodeSubnet {
        self.subnet
    }

    /// Allocates the address that has been free for longest; `None` when all are in use.
    pub(crate) fn allocate(&mut self) -> Option<Ipv4Addr> {
        for _ in FIRST_HOST..=LAST_HOST {
            let host = self.next;
            self.next = if host == LAST_HOST {
                FIRST_HOST
            } else {
                host + 1
            };
            if self.mark(host) {
                return Some(self.subnet.pod_ip(host));
            }
        }
        None
    }

    /// Reserves the published address of a pod. Addresses of other subnets are ignored.
    pub(crate) fn reserve(&mut self, address: Ipv4Addr) {
        if self.subnet.pod_ip(address.octets()[3]) == address {
            self.mark(address.octets()[3]);
        }
    }

    /// Frees an address. Addresses of other subnets are ignored.
    pub(crate) fn release(&mut self, address: Ipv4Addr) {
        let host = address.octets()[3];
        if self.subnet.pod_ip(host) == address {
            self.used[usize::from(host / 64)] &= !(1 << (host % 64));
        }
    }

    /// Marks an address as used. Returns true when it was free.
    fn mark(&mut self, host: u8) -> bool {
        let (word, bit) = (&mut self.used[usize::from(host / 64)], 1 << (host % 64));
        let free = *word & bit == 0;
        *word |= bit;
        free
    }
}

/// The first octet of a pod: `.0` is the network and `.1` the gateway.
const FIRST_HOST: u8 = 2;
const LAST_HOST: u8 = 254;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nodes_have_different_addresses() {
        let subnets: Vec<NodeSubnet> = (0..MAX_NODES).map(NodeSubnet::of).collect();
        let nodes: HashSet<Ipv4Addr> = subnets.iter().map(|subnet| subnet.node_ip()).collect();
        let pods: HashSet<Ipv4Addr> = subnets.iter().map(|subnet| subnet.pod_ip(9)).collect();
        assert_eq!((nodes.len(), pods.len()), (MAX_NODES, MAX_NODES));
        assert_eq!(NodeSubnet::of(3).cidr(), "10.244.3.0/24");
    }

    #[test]
    fn an_address_is_not_allocated_twice_until_it_is_released() {
        let mut pool = PodIpPool::new(NodeSubnet::of(0));
        pool.reserve(Ipv4Addr::new(10, 244, 0, 3));
        let all: HashSet<Ipv4Addr> = std::iter::from_fn(|| pool.allocate()).collect();
        assert_eq!(all.len(), 252);
        assert!(!all.contains(&Ipv4Addr::new(10, 244, 0, 3)));
        pool.release(Ipv4Addr::new(10, 244, 0, 77));
        pool.release(Ipv4Addr::new(10, 9, 0, 78));
        assert_eq!(pool.allocate(), Some(Ipv4Addr::new(10, 244, 0, 77)));
        assert_eq!(pool.allocate(), None);
    }
}
