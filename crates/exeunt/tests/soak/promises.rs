//! Records what the server acknowledged and checks it after the next start.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, Client, ResourceExt as _};

/// Acknowledged writes and granted evictions.
#[derive(Debug, Default)]
pub(crate) struct Promises(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The newest acknowledged number and the newest sent number of each counter.
    counters: BTreeMap<String, (u64, u64)>,
    /// Pods whose eviction was granted, by name and uid.
    evicted: Vec<(String, String)>,
    granted: u64,
    refused: u64,
    written: u64,
}

impl Promises {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    /// Returns the next number of a counter, which the caller sends.
    pub(crate) fn next(&self, counter: &str) -> u64 {
        let mut kept = self.kept();
        let numbers = kept.counters.entry(counter.to_owned()).or_default();
        numbers.1 += 1;
        numbers.1
    }

    pub(crate) fn written(&self, counter: &str, number: u64) {
        let mut kept = self.kept();
        kept.written += 1;
        kept.counters.entry(counter.to_owned()).or_default().0 = number;
    }

    pub(crate) fn granted(&self, pod: &str, uid: &str) {
        let mut kept = self.kept();
        kept.granted += 1;
        kept.evicted.push((pod.to_owned(), uid.to_owned()));
    }

    pub(crate) fn refused(&self) {
        self.kept().refused += 1;
    }

    pub(crate) fn counts(&self) -> String {
        let kept = self.kept();
        format!(
            "{} evictions granted, {} refused, {} other writes acknowledged",
            kept.granted, kept.refused, kept.written
        )
    }

    /// Checks that the server still has everything that it acknowledged.
    pub(crate) async fn check(&self, client: &Client) {
        let (counters, evicted) = {
            let mut kept = self.kept();
            (kept.counters.clone(), std::mem::take(&mut kept.evicted))
        };
        let maps = Api::<ConfigMap>::default_namespaced(client.clone());
        for (name, (acknowledged, sent)) in counters {
            let map = maps
                .get(&name)
                .await
                .unwrap_or_else(|error| panic!("{name} had {acknowledged}: {error}"));
            let found: u64 = map
                .data
                .unwrap_or_default()
                .get("number")
                .and_then(|number| number.parse().ok())
                .unwrap_or(0);
            assert!(
                (acknowledged..=sent).contains(&found),
                "{name} is {found}; {acknowledged} was acknowledged and {sent} sent"
            );
            // The write without a response may or may not be durable; now it is known.
            self.kept().counters.insert(name, (found, sent));
        }
        let pods = Api::<Pod>::default_namespaced(client.clone());
        for (name, uid) in evicted {
            let found = pods
                .get_opt(&name)
                .await
                .unwrap()
                .filter(|pod| pod.uid().as_ref() == Some(&uid));
            let lives = found.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none());
            assert!(
                !lives,
                "the eviction of {name} ({uid}) was granted and is lost"
            );
        }
    }
}
