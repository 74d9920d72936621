//! A snapshot from text: the output of `kubectl get … -o yaml` or `-o json`, manifests, or several
//! of them in one file.

use jiff::Timestamp;
use serde_json::Value;

use super::Snapshot;

/// Why a file is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// A document is neither YAML nor JSON.
    #[error("document {number} cannot be read: {why}")]
    Document {
        /// Which one, counted from 1.
        number: usize,
        /// What the reader says.
        why: String,
    },
    /// An object does not have the shape of its kind.
    #[error("{name} in document {number} is not as its kind wants it: {why}")]
    Object {
        /// Which document, counted from 1.
        number: usize,
        /// Kind and name of the object.
        name: String,
        /// What the decoder says.
        why: serde_json::Error,
    },
}

impl Snapshot {
    /// Reads a file's text. Lists are taken apart, kinds that matter to nobody here are passed
    /// over.
    ///
    /// # Errors
    /// For text that is no YAML, and for objects that are not as their kind wants them.
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

/// The documents of a stream that hold anything, each with its first line (counted from 1). A line
/// that begins with `---` is always a boundary: inside a text it would be indented.
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
    fn lists_and_documents_are_taken_apart() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata: {name: n1}\n- {apiVersion: example.com/v1, kind: Other}\n";
        let snapshot = Snapshot::parse(
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
    fn what_is_wrong_is_named() {
        let error = |text: &str| {
            Snapshot::parse(text, Timestamp::UNIX_EPOCH)
                .expect_err("no snapshot")
                .to_string()
        };
        assert!(
            error("a: [").starts_with("document 1 cannot be read"),
            "{}",
            error("a: [")
        );
        let wrong = error(&POD.replace("containers: []", "containers: 7"));
        assert!(
            wrong.starts_with("Pod/a in document 1 is not as its kind wants it"),
            "{wrong}"
        );
    }
}
