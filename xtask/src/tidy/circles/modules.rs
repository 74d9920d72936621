//! The modules of a crate and the paths that their code names, as they are written.

use std::collections::BTreeSet;

use crate::tidy::lexer::{RustToken, TokenKind, tokens};

/// What one `use` declares: the path that it names, and the local name, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// The segments as they are written, `crate`, `super` and `self` included.
    pub(super) path: Vec<String>,
    /// The name that the path gets in this module; `None` for `*` and `_`.
    pub(super) name: Option<String>,
    /// Whether the path ends with `*`.
    pub(super) glob: bool,
    pub(super) line: usize,
}

/// A path within code, as it is written, with at least two segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// What a module holds, without what is compiled for tests only.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Its path from the crate's root, which is empty for the root itself.
    pub(super) path: Vec<String>,
    /// Names of the modules that lie in files of their own.
    pub(super) children: Vec<String>,
    pub(super) imports: Vec<Import>,
    pub(super) mentions: Vec<Mention>,
    /// Names of the items that it defines.
    pub(super) items: BTreeSet<String>,
}

/// Reads one file: the module at `path` and the modules that stand inline in it.
pub(super) fn read(source: &str, path: &[String]) -> Vec<Module> {
    let tokens: Vec<RustToken<'_>> = tokens(source)
        .into_iter()
        .filter(|token| token.kind != TokenKind::Comment)
        .collect();
    let mut found = Vec::new();
    Scan { tokens: &tokens }.module(path, &mut found);
    found
}

struct Scan<'a> {
    tokens: &'a [RustToken<'a>],
}

impl<'a> Scan<'a> {
    /// Reads a whole module, whose tokens these are, and appends it and its inline modules.
    fn module(&self, path: &[String], found: &mut Vec<Module>) {
        let mut module = Module {
            path: path.to_vec(),
            ..Module::default()
        };
        let mut inline = Vec::new();
        let mut at = 0;
        let mut depth = 0_usize;
        while at < self.tokens.len() {
            let token = &self.tokens[at];
            if self.is(at, "#") && (self.is(at + 1, "[") || self.is(at + 2, "[")) {
                at = self.after_attribute(at);
            } else if token.is("pub") && self.is(at + 1, "(") {
                // A visibility (`pub(in crate::a)`) uses nothing of what it names.
                at = self.after_group(at + 1);
            } else if token.is("use") {
                at = self.import(at + 1, &mut module.imports);
            } else if depth == 0 && token.is("mod") && self.is(at + 2, ";") {
                module.children.push(self.tokens[at + 1].text.to_owned());
                at += 3;
            } else if depth == 0 && token.is("mod") && self.is(at + 2, "{") {
                let end = self.after_group(at + 2);
                inline.push((self.tokens[at + 1].text, &self.tokens[at + 3..end - 1]));
                at = end;
            } else if self.starts_path(at) {
                at = self.mention(at, &mut module.mentions);
            } else {
                if token.kind == TokenKind::Punctuation {
                    match token.text {
                        "{" | "(" | "[" => depth += 1,
                        "}" | ")" | "]" => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                }
                if depth == 0
                    && let Some(name) = self.item(at)
                {
                    module.items.insert(name.to_owned());
                }
                at += 1;
            }
        }
        found.push(module);
        for (name, tokens) in inline {
            let mut path = path.to_vec();
            path.push(name.to_owned());
            Scan { tokens }.module(&path, found);
        }
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(text))
    }

    /// The name of the item whose keyword stands here.
    fn item(&self, at: usize) -> Option<&'a str> {
        const KEYWORDS: &[&str] = &[
            "fn",
            "struct",
            "enum",
            "trait",
            "type",
            "const",
            "static",
            "union",
            "macro_rules",
        ];
        if !KEYWORDS.iter().any(|keyword| self.is(at, keyword)) {
            return None;
        }
        let name = self.tokens[at + 1..]
            .iter()
            .find(|token| !token.is("!") && !token.is("mut"))?;
        (name.kind == TokenKind::Identifier).then_some(name.text)
    }

    /// Where the group that opens here is closed, and one further.
    fn after_group(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for at in open..self.tokens.len() {
            let token = &self.tokens[at];
            if token.kind == TokenKind::Punctuation {
                match token.text {
                    "{" | "(" | "[" => depth += 1,
                    "}" | ")" | "]" => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            if depth == 0 {
                return at + 1;
            }
        }
        self.tokens.len()
    }

    /// Where reading goes on after the attribute here: behind its item, if that is for tests.
    fn after_attribute(&self, at: usize) -> usize {
        let inner = self.is(at + 1, "!");
        let open = if inner { at + 2 } else { at + 1 };
        let end = self.after_group(open);
        if !self.for_tests(open + 1, end - 1) {
            return end;
        }
        if inner {
            return self.tokens.len();
        }
        self.after_item(end)
    }

    /// Whether a `cfg` between these tokens needs `test`: alone, or as a part of one `all(…)`.
    fn for_tests(&self, from: usize, to: usize) -> bool {
        let words: Vec<&str> = self.tokens[from..to].iter().map(|t| t.text).collect();
        if words.starts_with(&["cfg", "(", "test", ")"]) {
            return true;
        }
        let test = words.iter().position(|word| *word == "test");
        words.starts_with(&["cfg", "(", "all", "("])
            && test.is_some_and(|at| words[at - 1] == "," || words[at - 2] == "all")
    }

    /// Where the item that begins here ends, and one further.
    fn after_item(&self, mut at: usize) -> usize {
        while self.is(at, "#") {
            at = self.after_group(at + 1);
        }
        if self.is(at, "pub") {
            at += 1;
            if self.is(at, "(") {
                at = self.after_group(at);
            }
        }
        let until_semicolon = ["use", "const", "static", "type", "let"]
            .iter()
            .any(|word| self.is(at, word))
            && !self.is(at + 1, "fn");
        let block = [
            "fn",
            "mod",
            "struct",
            "enum",
            "trait",
            "impl",
            "async",
            "const",
            "extern",
            "macro_rules",
        ]
        .iter()
        .any(|word| self.is(at, word));
        while at < self.tokens.len() {
            if self.is(at, ";") || (!block && !until_semicolon && self.is(at, ",")) {
                return at + 1;
            }
            // The end of what surrounds a last field, arm or statement.
            if self.is(at, "}") || self.is(at, ")") || self.is(at, "]") {
                return at;
            }
            let opens_block = self.is(at, "{");
            if opens_block || self.is(at, "(") || self.is(at, "[") {
                at = self.after_group(at);
                if opens_block && !until_semicolon {
                    return at;
                }
            } else {
                at += 1;
            }
        }
        at
    }

    /// Whether two colons stand here.
    fn colons(&self, at: usize) -> bool {
        self.is(at, ":") && self.is(at + 1, ":")
    }

    fn starts_path(&self, at: usize) -> bool {
        self.tokens[at].kind == TokenKind::Identifier
            && self.colons(at + 1)
            && !(at >= 2 && self.colons(at - 2))
            && !(at >= 1 && self.is(at - 1, "."))
    }

    fn mention(&self, mut at: usize, mentions: &mut Vec<Mention>) -> usize {
        let line = self.tokens[at].line;
        let mut path = vec![self.tokens[at].text.to_owned()];
        at += 1;
        while self.colons(at)
            && let Some(token) = self.tokens.get(at + 2)
            && token.kind == TokenKind::Identifier
        {
            path.push(token.text.to_owned());
            at += 3;
        }
        if path.len() > 1 {
            mentions.push(Mention { path, line });
        }
        at
    }

    /// Reads the tree of a `use` from here and returns where its semicolon is, and one further.
    fn import(&self, at: usize, imports: &mut Vec<Import>) -> usize {
        // `use<'a>` in a bound captures lifetimes; it imports nothing.
        if self.is(at, "<") {
            return at;
        }
        let mut end = self.tree(at, &[], imports);
        while end < self.tokens.len() && !self.is(end, ";") {
            end += 1;
        }
        end + 1
    }

    fn tree(&self, mut at: usize, prefix: &[String], imports: &mut Vec<Import>) -> usize {
        let line = self.tokens.get(at).map_or(0, |token| token.line);
        let mut path = prefix.to_vec();
        if self.colons(at) {
            at += 2;
        }
        loop {
            if self.is(at, "{") {
                let end = self.after_group(at);
                at += 1;
                while at < end - 1 {
                    at = self.tree(at, &path, imports);
                    if self.is(at, ",") {
                        at += 1;
                    }
                }
                return end;
            }
            if self.is(at, "*") {
                let (name, glob) = (None, true);
                imports.push(Import {
                    path,
                    name,
                    glob,
                    line,
                });
                return at + 1;
            }
            let Some(token) = self.tokens.get(at) else {
                return at;
            };
            // `a::{self}` names `a` itself.
            if !token.is("self") || path.is_empty() {
                path.push(token.text.to_owned());
            }
            at += 1;
            if self.colons(at) {
                at += 2;
                continue;
            }
            let mut name = path.last().cloned();
            if self.is(at, "as") {
                let given = self.tokens.get(at + 1).map(|token| token.text.to_owned());
                name = given.filter(|name| name != "_");
                at += 2;
            }
            let glob = false;
            imports.push(Import {
                path,
                name,
                glob,
                line,
            });
            return at;
        }
    }
}
