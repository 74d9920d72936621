//! The graph of a crate's files: every path that its code names, followed to a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::modules::{Module, read};
use crate::tidy::shown;

/// How many re-exports a path is followed through before it is given up as endless.
const MOST_REEXPORTS: usize = 16;

/// One file uses another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The line of `from` on which the path stands.
    pub(super) line: usize,
    /// The path as it is written.
    pub(super) path: String,
}

/// The files of a crate and the edges that count, one at most for each pair of files.
#[derive(Debug, Default)]
pub(super) struct CrateGraph {
    /// Names of the files as they are shown.
    pub(super) files: Vec<String>,
    /// The path of the module that each file is, from the crate's root.
    pub(super) paths: Vec<Vec<String>>,
    pub(super) edges: Vec<Edge>,
}

impl CrateGraph {
    /// Reads the crate whose sources lie in `sources`: its library, or else its program.
    pub(super) fn read(root: &Path, sources: &Path) -> Result<CrateGraph> {
        let mut tree = ModuleTree::default();
        let library = sources.join("lib.rs");
        let program = sources.join("main.rs");
        let first = if library.is_file() { library } else { program };
        tree.add_file(root, &first, sources, &[])?;
        Ok(tree.graph())
    }

    /// The graph of a crate that is given as file names and their text.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> CrateGraph {
        let mut tree = ModuleTree::default();
        for (name, text) in files {
            let path: Vec<String> = name
                .trim_end_matches(".rs")
                .split('/')
                .filter(|segment| *segment != "lib")
                .map(str::to_owned)
                .collect();
            tree.add(name, text, &path);
        }
        tree.graph()
    }
}

/// All modules of a crate by their paths, each with the file that it stands in.
#[derive(Debug, Default)]
struct ModuleTree {
    files: Vec<String>,
    /// The path of the module that each file is.
    paths: Vec<Vec<String>>,
    modules: BTreeMap<Vec<String>, (usize, Module)>,
}

impl ModuleTree {
    fn add_file(
        &mut self,
        root: &Path,
        file: &Path,
        directory: &Path,
        path: &[String],
    ) -> Result<()> {
        let name = shown(root, file);
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        for child in self.add(&name, &text, path) {
            let mut below = directory.to_path_buf();
            below.extend(&child[path.len()..child.len() - 1]);
            let last = &child[child.len() - 1];
            let file = below.join(format!("{last}.rs"));
            if !file.is_file() {
                bail!("{name}: the file of module {} not found", child.join("::"));
            }
            self.add_file(root, &file, &below.join(last), &child)?;
        }
        Ok(())
    }

    /// Adds a file and returns the paths of the modules that it declares in other files.
    fn add(&mut self, name: &str, text: &str, path: &[String]) -> Vec<Vec<String>> {
        let file = self.files.len();
        self.files.push(name.to_owned());
        self.paths.push(path.to_vec());
        let mut declared = Vec::new();
        for module in read(text, path) {
            for child in &module.children {
                declared.push(joined(&module.path, child));
            }
            self.modules.insert(module.path.clone(), (file, module));
        }
        declared
    }

    fn graph(self) -> CrateGraph {
        let mut edges: BTreeMap<(usize, usize), Edge> = BTreeMap::new();
        for (from, module) in self.modules.values() {
            let imports = module
                .imports
                .iter()
                .map(|import| (&import.path, import.line));
            let mentions = module.mentions.iter().map(|m| (&m.path, m.line));
            for (path, line) in imports.chain(mentions) {
                let Some(to) = self.target(module, path) else {
                    continue;
                };
                if self.related(*from, to) {
                    continue;
                }
                edges.entry((*from, to)).or_insert_with(|| Edge {
                    from: *from,
                    to,
                    line,
                    path: path.join("::"),
                });
            }
        }
        CrateGraph {
            files: self.files,
            paths: self.paths,
            edges: edges.into_values().collect(),
        }
    }

    /// Whether one of two files is the other, or an ancestor of it.
    fn related(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.paths[one], &self.paths[other]);
        one.starts_with(other) || other.starts_with(one)
    }

    /// The file to which a path leads that is written in `module`; `None` for other crates.
    fn target(&self, module: &Module, path: &[String]) -> Option<usize> {
        let absolute = self.absolute(module, path, 0)?;
        self.file(&absolute, 0)
    }

    /// The path from the crate's root that a written path means; `None` for other crates.
    fn absolute(&self, module: &Module, path: &[String], depth: usize) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let mut absolute = match first.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => {
                let mut base = module.path.clone();
                if first == "super" {
                    base.pop()?;
                }
                base
            }
            name if self.modules.contains_key(&joined(&module.path, name)) => {
                joined(&module.path, name)
            }
            name => self.imported(module, name, depth)?,
        };
        for segment in rest {
            if segment == "super" {
                absolute.pop()?;
            } else {
                absolute.push(segment.clone());
            }
        }
        Some(absolute)
    }

    /// What a name means that a `use` of the module brings in.
    fn imported(&self, module: &Module, name: &str, depth: usize) -> Option<Vec<String>> {
        if depth > MOST_REEXPORTS {
            return None;
        }
        let named = |import: &&super::modules::Import| import.name.as_deref() == Some(name);
        module
            .imports
            .iter()
            .filter(named)
            // `use a::{self}` may name a crate like the module itself: that leads nowhere.
            .filter(|import| import.path.first().map(String::as_str) != Some(name))
            .find_map(|import| self.absolute(module, &import.path, depth + 1))
    }

    /// The file in which the thing at an absolute path is defined.
    fn file(&self, path: &[String], depth: usize) -> Option<usize> {
        let length = (0..=path.len())
            .rev()
            .find(|&length| self.modules.contains_key(&path[..length]))?;
        let (file, module) = &self.modules[&path[..length]];
        let Some(name) = path.get(length) else {
            return Some(*file);
        };
        if depth > MOST_REEXPORTS || module.items.contains(name) {
            return Some(*file);
        }
        let reexported = module
            .imports
            .iter()
            .filter(|import| import.name.as_deref() == Some(name.as_str()))
            .find_map(|import| self.absolute(module, &import.path, 0))
            .or_else(|| self.through_globs(module, name, &mut BTreeSet::new()));
        match reexported {
            Some(mut target) => {
                target.extend_from_slice(&path[length + 1..]);
                self.file(&target, depth + 1)
            }
            None => Some(*file),
        }
    }

    /// The absolute path of a name that comes into a module by one of its `use …::*`.
    fn through_globs(
        &self,
        module: &Module,
        name: &str,
        seen: &mut BTreeSet<Vec<String>>,
    ) -> Option<Vec<String>> {
        if !seen.insert(module.path.clone()) {
            return None;
        }
        for import in module.imports.iter().filter(|import| import.glob) {
            let Some(base) = self.absolute(module, &import.path, 0) else {
                continue;
            };
            let Some((_, source)) = self.modules.get(&base) else {
                continue;
            };
            let own = source.items.contains(name)
                || source.children.iter().any(|child| child == name)
                || source
                    .imports
                    .iter()
                    .any(|import| import.name.as_deref() == Some(name));
            if own {
                return Some(joined(&base, name));
            }
            if let Some(found) = self.through_globs(source, name, seen) {
                return Some(found);
            }
        }
        None
    }
}

fn joined(path: &[String], name: &str) -> Vec<String> {
    let mut joined = path.to_vec();
    joined.push(name.to_owned());
    joined
}
