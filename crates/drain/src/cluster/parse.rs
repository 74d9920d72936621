//! Parses a snapshot from YAML or JSON: the output of `kubectl get`, manifests, or several of them
//! in one file.

use jiff::Timestamp;
use serde_json::Value;

use super::manifest::{self, CustomObject};
use super::{ClusterSnapshot, SnapshotOrigin, removed};

/// Why a file cannot be parsed.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// A document is neither YAML nor JSON.
    #[error("cannot parse document {number}: {why}")]
    Document {
        /// The number of the document, from 1.
        number: usize,
        /// The parser's message.
        why: String,
    },
    /// An object does not match the schema of its kind.
    #[error("cannot decode {name} in document {number}: {why}")]
    Object {
        /// The number of the document, from 1.
        number: usize,
        /// `KIND/NAME` of the object.
        name: String,
        /// The decoder's message.
        why: serde_json::Error,
    },
}

impl ClusterSnapshot {
    /// Parses the contents of a file. Lists are flattened. Objects of custom kinds go to
    /// [`ClusterSnapshot::custom`], objects that a server would refuse also to
    /// [`ClusterSnapshot::refused`]; those of other kinds are skipped.
    ///
    /// # Errors
    /// The first document that is not YAML, or the first object that does not match its kind.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, ParseError> {
        let mut snapshot = Self::empty(now);
        snapshot.origin = SnapshotOrigin::Manifests;
        for (index, (_, document)) in documents(text).iter().enumerate() {
            let number = index + 1;
            let (json, warnings) = kinds::yaml::to_json(document.as_bytes()).map_err(|error| {
                ParseError::Document {
                    number,
                    why: error.to_string(),
                }
            })?;
            let value: Value =
                serde_json::from_slice(&json).map_err(|error| ParseError::Document {
                    number,
                    why: error.to_string(),
                })?;
            for object in items(value) {
                snapshot.take_one(object, &warnings, number)?;
            }
        }
        snapshot.mark_absent();
        Ok(snapshot)
    }

    fn take_one(
        &mut self,
        mut object: Value,
        warnings: &[String],
        number: usize,
    ) -> Result<(), ParseError> {
        if object["metadata"]["uid"].is_string() {
            self.origin = SnapshotOrigin::Dump;
        }
        let refusal = manifest::refusal(&object, warnings);
        let is_refused = refusal.is_some();
        self.refused.extend(refusal);
        if let Some(custom) = CustomObject::of(&object) {
            self.custom.push(custom);
            return Ok(());
        }
        modernize(&mut object);
        let name = format!(
            "{}/{}",
            text_of(&object["kind"]),
            text_of(&object["metadata"]["name"])
        );
        match self.take(object) {
            // What is wrong with a refused object is known already.
            Err(why) if !is_refused => Err(ParseError::Object { number, name, why }),
            _ => Ok(()),
        }
    }
}

/// Returns the objects of a document: itself, or the items of a list, which need not repeat their
/// kind.
pub(crate) fn items(mut document: Value) -> Vec<Value> {
    let kind = document["kind"]
        .as_str()
        .and_then(|kind| kind.strip_suffix("List"));
    let Some(kind) = kind.map(str::to_owned) else {
        return vec![document];
    };
    let Some(Value::Array(list)) = document.get_mut("items").map(Value::take) else {
        return vec![document];
    };
    let complete = |mut item: Value| {
        if !kind.is_empty() && item["kind"].is_null() && item.is_object() {
            item["kind"] = kind.clone().into();
            item["apiVersion"] = document["apiVersion"].clone();
        }
        item
    };
    list.into_iter().map(complete).flat_map(items).collect()
}

/// Makes an object of an older version one of the version that the snapshot decodes. What differs
/// between them and the tools do not read is removed.
fn modernize(object: &mut Value) {
    let (version, kind) = (text_of(&object["apiVersion"]), text_of(&object["kind"]));
    let scaler = kind == "HorizontalPodAutoscaler" && version.starts_with("autoscaling/");
    let current = if scaler {
        Some("autoscaling/v2").filter(|current| *current != version)
    } else {
        removed::successor(version, kind)
    };
    let Some(current) = current else { return };
    object["apiVersion"] = current.into();
    if scaler {
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.retain(|name, _| {
                matches!(&**name, "minReplicas" | "maxReplicas" | "scaleTargetRef")
            });
        }
        if let Some(members) = object.as_object_mut() {
            members.remove("status");
        }
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// Splits a YAML stream into its non-empty documents, each with the number of its first line (from
/// 1). A line that begins with `---` is always a boundary, since block scalars are indented.
pub(crate) fn documents(text: &str) -> Vec<(usize, String)> {
    let mut found = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        match (line.starts_with("---"), found.last_mut()) {
            (false, Some((_, document))) => {
                document.push_str(line);
                document.push('\n');
            }
            _ => found.push((index + 2, String::new())),
        }
    }
    found.retain(|(_, document)| {
        document
            .lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nspec: {containers: []}\n";

    #[test]
    fn lists_and_documents_are_flattened() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata: {name: n1}\n- {apiVersion: example.com/v1, kind: Other, metadata: {name: o}}\n";
        let snapshot = ClusterSnapshot::parse(
            &format!("# mine\n---\n{POD}---\n{list}"),
            Timestamp::UNIX_EPOCH,
        )
        .expect("a snapshot");
        assert_eq!(snapshot.pods[0].metadata.name.as_deref(), Some("a"));
        assert_eq!(snapshot.nodes.len(), 1);
        assert_eq!(snapshot.custom[0].kind, "Other");
        assert!(
            snapshot
                .unread
                .iter()
                .any(|unread| unread.resource == "services")
        );
        assert!(
            !snapshot
                .unread
                .iter()
                .any(|unread| unread.resource == "pods")
        );
    }

    #[test]
    fn errors_name_the_document_and_the_object() {
        let error = |text: &str| {
            ClusterSnapshot::parse(text, Timestamp::UNIX_EPOCH)
                .expect_err("no snapshot")
                .to_string()
        };
        assert!(
            error("a: [").starts_with("cannot parse document 1: "),
            "{}",
            error("a: [")
        );
        let wrong = error(&POD.replace("containers: []", "containers: 7"));
        assert!(
            wrong.starts_with("cannot decode Pod/a in document 1: "),
            "{wrong}"
        );
    }

    #[test]
    fn items_of_typed_lists_and_older_versions_are_taken() {
        let texts = [
            (
                "apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a}, spec: {containers: []}}]",
                "pods",
            ),
            (
                "apiVersion: autoscaling/v2beta1\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec: {maxReplicas: 3, metrics: [{type: Resource, resource: {name: cpu, targetAverageUtilization: 50}}]}",
                "horizontalpodautoscalers.autoscaling",
            ),
            (
                "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec: {maxReplicas: 3, targetCPUUtilizationPercentage: 50}",
                "horizontalpodautoscalers.autoscaling",
            ),
            (
                "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {}}",
                "deployments.apps",
            ),
            (
                "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: a}\nspec: {minAvailable: 1}",
                "poddisruptionbudgets.policy",
            ),
        ];
        for (text, resource) in texts {
            let snapshot = ClusterSnapshot::parse(text, Timestamp::UNIX_EPOCH).expect("a snapshot");
            assert!(snapshot.unread(resource).is_none(), "{text}");
            assert_eq!(snapshot.origin, SnapshotOrigin::Manifests);
        }
    }
}
