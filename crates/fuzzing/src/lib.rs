//! Fuzz targets: one function for each target, and a generator of input for ordinary tests. For
//! development only.
//!
//! A function takes any bytes. It returns, or panics if a property does not hold. `cargo fuzz`
//! calls it (the files in `fuzz/` are one line each), and so does this crate's test, with the
//! committed seeds of `fuzz/seeds` and mutations of them. So the same code runs with and without a
//! fuzzer.

mod apply;
mod codecs;
mod languages;
mod mutate;
mod patch;
mod requests;
mod texts;

use kinds::facts::Type;

pub use apply::apply;
pub use codecs::{json, protobuf, yaml};
pub use languages::{quantity, selector};
pub use mutate::Mutator;
pub use patch::patch;
pub use requests::{query, request, token, websocket};
pub use texts::{cron, kubeconfig};

/// A target: its name, which is also the directory of its seeds, and its function.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[FuzzTarget] = &[
    ("apply", apply),
    ("cron", cron),
    ("json", json),
    ("kubeconfig", kubeconfig),
    ("patch", patch),
    ("protobuf", protobuf),
    ("quantity", quantity),
    ("query", query),
    ("request", request),
    ("selector", selector),
    ("token", token),
    ("websocket", websocket),
    ("yaml", yaml),
];

/// Types whose fields together have every shape.
const TYPES: &[&str] = &[
    "io.k8s.api.core.v1.Pod",
    "io.k8s.api.policy.v1.PodDisruptionBudget",
    "io.k8s.api.policy.v1.Eviction",
    "io.k8s.api.core.v1.ConfigMap",
    "io.k8s.api.core.v1.Secret",
    "io.k8s.api.coordination.v1.Lease",
    "io.k8s.api.apps.v1.Deployment",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    "io.k8s.api.authorization.v1.SubjectAccessReview",
    "io.k8s.api.core.v1.Service",
];

/// Chooses a type by the first byte of the input (`0` is the first type) and returns the rest.
fn typed(input: &[u8]) -> Option<(&'static Type, &[u8])> {
    let (&choice, rest) = input.split_first()?;
    let name = TYPES[usize::from(choice.wrapping_sub(b'0')) % TYPES.len()];
    Some((kinds::type_named(name)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_known() {
        for (place, name) in TYPES.iter().enumerate() {
            let choice = u8::try_from(place).expect("few types") + b'0';
            assert_eq!(typed(&[choice]).map(|(ty, _)| ty.name), Some(*name));
        }
    }
}
