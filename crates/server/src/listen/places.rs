//! Places for open connections: a limit for all of them, and one for each client address, so that
//! one client cannot keep the others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections that are open at the same time.
const MAX_CONNECTIONS: usize = 16_384;
/// An address can have one of so many places. Load balancers and machines with many clients share
/// one address, so this is a generous part.
const SHARE_OF_ADDRESS: usize = 4;
/// Files that the process needs for other things than connections: the store, its log, timers.
const RESERVED_FILES: usize = 256;

/// The places of a listener.
#[derive(Clone, Debug)]
pub(super) struct Places {
    taken: Arc<Mutex<TakenPlaces>>,
    max: usize,
    max_of_address: usize,
}

#[derive(Debug, Default)]
struct TakenPlaces {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// All places are taken.
    Full,
    /// The client has all places of its address.
    AddressFull,
}

impl Places {
    /// Returns the places that a process with so many files can have.
    pub(super) fn with_files(max_files: Option<u64>) -> Self {
        let files = max_files.map_or(usize::MAX, |files| {
            usize::try_from(files).unwrap_or(usize::MAX)
        });
        // With few files, half of them are for connections.
        let max = files
            .saturating_sub(RESERVED_FILES)
            .max(files / 2)
            .clamp(1, MAX_CONNECTIONS);
        Self {
            taken: Arc::default(),
            max,
            max_of_address: max.div_ceil(SHARE_OF_ADDRESS),
        }
    }

    /// Takes a place until it is dropped.
    pub(super) fn take(&self, address: IpAddr) -> Result<ConnectionPlace, NoPlace> {
        let address = network(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.count >= self.max {
            return Err(NoPlace::Full);
        }
        let of_address = taken.by_address.entry(address).or_default();
        if *of_address >= self.max_of_address {
            return Err(NoPlace::AddressFull);
        }
        *of_address += 1;
        taken.count += 1;
        Ok(ConnectionPlace {
            taken: self.taken.clone(),
            address,
        })
    }
}

/// Returns what stands for a client: its IPv4 address or its IPv6 network, of whose addresses a
/// client can use as many as it wants.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    taken: Arc<Mutex<TakenPlaces>>,
    address: IpAddr,
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.count -= 1;
        if let Some(of_address) = taken.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Places, address: &str, count: usize) -> Vec<ConnectionPlace> {
        let address = address.parse().expect("an address");
        (0..count)
            .map_while(|_| places.take(address).ok())
            .collect()
    }

    #[test]
    fn an_address_gets_a_quarter_of_the_places() {
        let places = Places::with_files(Some(1_024));
        assert_eq!(places.max, 768);
        let first = take(&places, "10.0.0.1", 1_000);
        assert_eq!(first.len(), 192);
        let address = "10.0.0.1".parse().expect("an address");
        assert_eq!(places.take(address).err(), Some(NoPlace::AddressFull));
        let others: Vec<_> = (2..6)
            .flat_map(|host| take(&places, &format!("10.0.0.{host}"), 1_000))
            .collect();
        assert_eq!(others.len(), 576);
        let other = "10.0.0.9".parse().expect("an address");
        assert_eq!(places.take(other).err(), Some(NoPlace::Full));
        drop((first, others));
        assert!(
            places
                .taken
                .lock()
                .expect("not poisoned")
                .by_address
                .is_empty()
        );
        assert_eq!(take(&places, "10.0.0.1", 1_000).len(), 192);
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_are_one_client() {
        let places = Places::with_files(Some(512));
        let mut held = take(&places, "2001:db8::1", 40);
        held.extend(take(&places, "2001:db8::2", 40));
        assert_eq!(held.len(), 64);
        assert_eq!(take(&places, "2001:db8:0:1::1", 1).len(), 1);
        let mapped = take(&places, "::ffff:10.0.0.1", 70).len();
        assert_eq!(mapped, 64, "an IPv4 client of a socket for both");
    }

    #[test]
    fn the_number_of_files_limits_the_places() {
        let max = |files| Places::with_files(files).max;
        assert_eq!((max(Some(100)), max(Some(0))), (50, 1));
        assert_eq!((max(Some(1_000_000)), max(None)), (16_384, 16_384));
    }
}
