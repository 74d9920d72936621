//! Parses a snapshot from YAML or JSON: the output of `kubectl get`, manifests, or several of them
//! in one file.

use jiff::Timestamp;
use serde_json::Value;

use super::ClusterSnapshot;

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
    /// Parses the contents of a file. Lists are flattened; objects of unknown kinds are skipped.
    ///
    /// # Errors
    /// The first document that is not YAML, or the first object that does not match its kind.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, ParseError> {
        let mut snapshot = Self::empty(now);
        for (index, (_, document)) in documents(text).iter().enumerate() {
            let number = index + 1;
            let (json, _) = kinds::yaml::to_json(document.as_bytes()).map_err(|error| {
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
            snapshot.take_all(value, number)?;
        }
        snapshot.mark_absent();
        Ok(snapshot)
    }

    fn take_all(&mut self, mut value: Value, number: usize) -> Result<(), ParseError> {
        let is_list = value["kind"]
            .as_str()
            .is_some_and(|kind| kind.ends_with("List"));
        if is_list && let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) {
            return items
                .into_iter()
                .try_for_each(|item| self.take_all(item, number));
        }
        let name = format!(
            "{}/{}",
            text_of(&value["kind"]),
            text_of(&value["metadata"]["name"])
        );
        match self.take(value) {
            Ok(_) => Ok(()),
            Err(why) => Err(ParseError::Object { number, name, why }),
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
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata: {name: n1}\n- {apiVersion: example.com/v1, kind: Other}\n";
        let snapshot = ClusterSnapshot::parse(
            &format!("# mine\n---\n{POD}---\n{list}"),
            Timestamp::UNIX_EPOCH,
        )
        .expect("a snapshot");
        assert_eq!(snapshot.pods[0].metadata.name.as_deref(), Some("a"));
        assert_eq!(snapshot.nodes.len(), 1);
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
}
