//! Default tolerations of pods for unready and unreachable nodes (DefaultTolerationSeconds).

use std::sync::LazyLock;

use kinds::Tree;
use kinds::tree::json;

use super::service_account::push;
use crate::tree;

const KEYS: &[&str] = &[
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
];
/// How long a pod stays on such a node, in seconds.
const SECONDS: i64 = 300;

/// One toleration for each key. Clones share their contents.
static TOLERATIONS: LazyLock<Vec<Tree>> = LazyLock::new(|| {
    let toleration = |key| {
        json!({"key": key, "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": SECONDS})
    };
    KEYS.iter().map(toleration).collect()
});

/// Adds a toleration for each key that the pod does not tolerate yet.
pub(super) fn mutate(pod: &mut Tree) {
    for (key, toleration) in KEYS.iter().zip(&*TOLERATIONS) {
        let tolerated = tree::list(pod, &["spec", "tolerations"])
            .iter()
            .any(|toleration| tolerates(toleration, key));
        if !tolerated && let Some(spec) = tree::at_mut(pod, &["spec"]) {
            push(spec, "tolerations", toleration.clone());
        }
    }
}

fn tolerates(toleration: &Tree, key: &str) -> bool {
    let (its_key, effect) = (
        tree::text(toleration, &["key"]),
        tree::text(toleration, &["effect"]),
    );
    (its_key.is_empty() || its_key == key) && (effect.is_empty() || effect == "NoExecute")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_tolerations_are_not_duplicated() {
        let mut pod = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        mutate(&mut pod);
        assert_eq!(pod["spec"]["tolerations"], json!([{"operator": "Exists"}]));
        let mut pod = json!({"spec": {"tolerations": [{"key": KEYS[0], "effect": "NoExecute",
            "operator": "Exists"}]}});
        mutate(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
        assert_eq!(pod["spec"]["tolerations"][1]["key"], KEYS[1]);
    }
}
