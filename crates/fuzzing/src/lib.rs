//! What fuzzers do with input: one function for each target, and a generator of input for ordinary
//! tests. Dev only.
//!
//! A function takes any bytes and returns, or panics when a law of the codecs does not hold. It is
//! called by `cargo fuzz` (the targets in `fuzz/` are one line each) and by this crate's test,
//! which feeds it the committed seeds of `fuzz/seeds` and changed copies of them: the same bodies,
//! with and without a fuzzer. Nothing here knows where input comes from.

mod apply;
mod codecs;
mod mutate;
mod patch;
mod texts;

use kinds::facts::Type;

pub use apply::apply;
pub use codecs::{json, protobuf, yaml};
pub use mutate::Mutator;
pub use patch::patch;
pub use texts::{quantity, selector};

/// A target: its name, which is that of its seeds, and its function.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[FuzzTarget] = &[
    ("apply", apply),
    ("json", json),
    ("patch", patch),
    ("protobuf", protobuf),
    ("quantity", quantity),
    ("selector", selector),
    ("yaml", yaml),
];

/// Types whose fields have, together, every shape that there is.
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

/// The first byte of an input chooses a type (`0` the first); the rest is for the target.
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
