//! Static bearer tokens: a file in Kubernetes' CSV form, `token,user,uid,"group1,group2"`.

use std::collections::HashMap;
use std::sync::Arc;

use registry::request::User;
use sha2::{Digest as _, Sha256};

/// What is wrong with a token file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} of the token file {fault}")]
pub struct TokenFileError {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: &'static str,
}

/// The tokens of a file with the users they stand for. Tokens are only kept as digests, so that
/// comparing them tells nothing by its duration.
#[derive(Clone, Default)]
pub struct TokenFile {
    users: HashMap<[u8; 32], Arc<User>>,
}

impl TokenFile {
    /// Reads the text of a token file. Empty lines and lines that start with `#` are left out.
    ///
    /// # Errors
    /// The first line that is not `token,user,uid[,groups]`.
    pub fn parse(text: &str) -> Result<Self, TokenFileError> {
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let fail = |fault| TokenFileError {
                line: at + 1,
                fault,
            };
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let mut columns = columns(line)
                .ok_or_else(|| fail("has a quote that does not end"))?
                .into_iter();
            let (Some(token), Some(name), Some(uid)) =
                (columns.next(), columns.next(), columns.next())
            else {
                return Err(fail("has fewer than the three columns token, user and uid"));
            };
            if token.is_empty() {
                return Err(fail("has an empty token"));
            }
            let groups = columns.next().unwrap_or_default();
            let groups = groups
                .split(',')
                .map(str::trim)
                .filter(|group| !group.is_empty())
                .map(str::to_owned);
            let groups = groups.chain([super::AUTHENTICATED.to_owned()]).collect();
            users.insert(digest(&token), Arc::new(User { name, uid, groups }));
        }
        Ok(Self { users })
    }

    /// Adds one token.
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

    /// The user whose token this is.
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

/// The columns of a line of CSV; none when a quote does not end.
fn columns(line: &str) -> Option<Vec<String>> {
    let mut columns = vec![String::new()];
    let mut letters = line.trim_end_matches('\r').chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let column = columns.last_mut()?;
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                column.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if column.is_empty() => quoted = true,
            ',' if !quoted => columns.push(String::new()),
            // A space after a comma is layout, not content.
            ' ' if !quoted && column.is_empty() => {}
            other => column.push(other),
        }
    }
    (!quoted).then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_for_users_with_groups() {
        let file =
            TokenFile::parse("# people\nt0k,alice,u1,\"system:masters,dev\"\n\nother, bob , u2\n")
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
        assert!(file.user("t0").is_none());
    }

    #[test]
    fn a_broken_line_is_named() {
        for (text, line) in [("a,b", 1), ("a,b,c\n,b,c", 2), ("a,b,c,\"d", 1)] {
            assert_eq!(
                TokenFile::parse(text).expect_err("must be refused").line,
                line,
                "{text}"
            );
        }
    }
}
