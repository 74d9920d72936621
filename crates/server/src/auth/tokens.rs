//! Static bearer tokens: a file in Kubernetes' CSV form, `token,user,uid,"group1,group2"`.

use std::collections::HashMap;
use std::sync::Arc;

use registry::request::User;
use sha2::{Digest as _, Sha256};

/// An invalid line of a token file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} {fault}")]
pub struct TokenFileError {
    /// Line number; the first line is 1.
    pub line: usize,
    /// What the line lacks or has too much of.
    pub fault: &'static str,
}

/// The users of static bearer tokens. Only digests of the tokens are kept, so the time of a
/// comparison reveals nothing about a token.
#[derive(Clone, Default)]
pub struct TokenFile {
    users: HashMap<[u8; 32], Arc<User>>,
}

impl TokenFile {
    /// Parses a token file. Blank lines and lines that begin with `#` are skipped, and so are
    /// spaces around a column.
    ///
    /// # Errors
    /// The first line that is not `token,user,uid[,"group1,group2"]`.
    pub fn parse(text: &str) -> Result<Self, TokenFileError> {
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (token, user) = row(line).map_err(|fault| TokenFileError {
                line: at + 1,
                fault,
            })?;
            users.insert(digest(&token), Arc::new(user));
        }
        Ok(Self { users })
    }

    /// Adds a token. Its user joins `system:authenticated`.
    #[must_use]
    pub fn with(mut self, token: &str, mut user: User) -> Self {
        if !user
            .groups
            .iter()
            .any(|group| group == super::AUTHENTICATED)
        {
            user.groups.push(super::AUTHENTICATED.to_owned());
        }
        self.users.insert(digest(token), Arc::new(user));
        self
    }

    /// Returns the user of a token.
    pub(crate) fn user(&self, token: &str) -> Option<Arc<User>> {
        if self.users.is_empty() {
            None
        } else {
            self.users.get(&digest(token)).cloned()
        }
    }
}

impl std::fmt::Debug for TokenFile {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "TokenFile({} tokens)", self.users.len())
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Parses one line into the token and its user, or returns what is wrong with the line.
fn row(line: &str) -> Result<(String, User), &'static str> {
    // The CSV reader takes the end of the input for a missing quote.
    if line.matches('"').count() % 2 == 1 {
        return Err("has a quote that does not end");
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .buffer_capacity(line.len())
        .from_reader(line.as_bytes());
    let mut row = csv::StringRecord::new();
    reader
        .read_record(&mut row)
        .map_err(|_| "is not a line of CSV")?;
    // Quotes count only directly after a comma. Elsewhere they would become part of the value.
    if row.iter().any(|column| column.starts_with('"')) {
        return Err("has a space before a quote");
    }
    let (Some(token), Some(name), Some(uid)) = (row.get(0), row.get(1), row.get(2)) else {
        return Err("has fewer than the three columns token, user and uid");
    };
    if token.is_empty() {
        return Err("has an empty token");
    }
    let groups = row.get(3).unwrap_or_default();
    let groups = groups
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty())
        .map(str::to_owned);
    let user = User {
        name: name.to_owned(),
        uid: uid.to_owned(),
        groups: groups.chain([super::AUTHENTICATED.to_owned()]).collect(),
        ..User::default()
    };
    Ok((token.to_owned(), user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_a_user_with_groups() {
        let file = TokenFile::parse(
            "# people\nt0k,alice,u1,\"system:masters, dev\"\r\n\nother, bob , u2\nx,\"c\"\"d\",u3",
        )
        .expect("valid");
        let alice = file.user("t0k").expect("known");
        assert_eq!((alice.name.as_str(), alice.uid.as_str()), ("alice", "u1"));
        assert_eq!(
            alice.groups,
            ["system:masters", "dev", "system:authenticated"]
        );
        assert_eq!(
            file.user("other").expect("known").groups,
            ["system:authenticated"]
        );
        assert_eq!(file.user("x").expect("known").name, "c\"d");
        assert!(file.user("t0").is_none());
    }

    #[test]
    fn the_error_names_the_first_invalid_line() {
        for (text, line, fault) in [
            (
                "a,b",
                1,
                "has fewer than the three columns token, user and uid",
            ),
            ("a,b,c\n\n,b,c", 3, "has an empty token"),
            ("a,b,c,\"d\ne,f,g", 1, "has a quote that does not end"),
            ("a,b,c, \"d,e\"", 1, "has a space before a quote"),
        ] {
            assert_eq!(
                TokenFile::parse(text).expect_err("must be refused"),
                TokenFileError { line, fault },
                "{text}"
            );
        }
    }
}
