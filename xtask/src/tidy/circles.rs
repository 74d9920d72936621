//! Import circles between the modules of a crate.
//!
//! A node of the graph is a source file. File A points to file B when code of A, outside of
//! `#[cfg(test)]`, names something that is defined in B: in a `use`, in a path that begins with
//! `crate`, `super` or `self`, or in a path that begins with an imported name. A path leads to the
//! deepest module file on it, and through re-exports to the file that defines the item
//! ([`modules`] finds the paths, [`resolve`] follows them).
//!
//! The rule: the modules below one parent, each taken together with everything below it, can be put
//! into an order in which each uses only those before it. So an edge between a module and its own
//! ancestor or descendant does not count (a parent declares its children, and children may use what
//! the parent defines), and any other edge is one between two siblings: the ancestors of its ends
//! directly below the deepest module that both have in common. A circle of siblings is a fault: of
//! two modules on one, neither can be read, tested or moved without the other.
//!
//! What a file reaches without a path (methods, implementations of traits) is not seen.

mod components;
mod modules;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use self::resolve::{CrateGraph, Edge};
use super::transition::{TidyCheck, is_exempt};

/// Modules with one parent that use each other in a circle.
#[derive(Debug)]
struct Circle {
    /// Paths of the modules, sorted.
    modules: Vec<String>,
    /// A shortest circle among them, as one line for each edge.
    example: Vec<String>,
    /// All edges between them, sorted by file and line.
    edges: Vec<String>,
    /// Number of files at the ends of these edges.
    files: usize,
}

/// One fault per circle of a crate that is past the transition.
pub(super) fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (name, circles) in all(root)? {
        if !is_exempt(&name, TidyCheck::Circles) {
            let described = circles
                .iter()
                .map(|circle| describe(&name, circle, &circle.example));
            faults.extend(described);
        }
    }
    Ok(faults)
}

/// A description of every circle of the workspace, for `cargo xtask tidy --circles`.
pub(super) fn report(root: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let (mut count, mut largest, mut files) = (0, 0, 0);
    for (name, circles) in all(root)? {
        for circle in circles {
            count += 1;
            files += circle.files;
            largest = largest.max(circle.modules.len());
            lines.push(describe(&name, &circle, &circle.edges));
        }
    }
    lines.push(format!(
        "{count} import circles between {files} files, the largest of {largest} modules"
    ));
    Ok(lines)
}

/// Crates with their circles, in the order of their names.
fn all(root: &Path) -> Result<Vec<(String, Vec<Circle>)>> {
    let mut crates = vec![("xtask".to_owned(), root.join("xtask"))];
    for entry in std::fs::read_dir(root.join("crates"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        crates.push((name.to_string_lossy().into_owned(), path.clone()));
    }
    crates.sort();
    let mut found = Vec::new();
    for (name, directory) in crates {
        let graph = CrateGraph::read(root, &directory.join("src"))?;
        found.push((name, circles(&graph)));
    }
    Ok(found)
}

/// An edge between two siblings, and the edge between files that it stands for.
struct SiblingEdge<'a> {
    from: &'a [String],
    to: &'a [String],
    edge: &'a Edge,
}

fn circles(graph: &CrateGraph) -> Vec<Circle> {
    let mut below: BTreeMap<&[String], Vec<SiblingEdge<'_>>> = BTreeMap::new();
    for edge in &graph.edges {
        let (from, to) = (&graph.paths[edge.from], &graph.paths[edge.to]);
        let common = from
            .iter()
            .zip(to)
            .take_while(|(one, other)| one == other)
            .count();
        below.entry(&from[..common]).or_default().push(SiblingEdge {
            from: &from[..=common],
            to: &to[..=common],
            edge,
        });
    }
    below
        .values()
        .flat_map(|edges| circles_of_siblings(graph, edges))
        .collect()
}

fn circles_of_siblings(graph: &CrateGraph, edges: &[SiblingEdge<'_>]) -> Vec<Circle> {
    let modules: BTreeSet<&[String]> = edges.iter().flat_map(|edge| [edge.from, edge.to]).collect();
    let modules: Vec<&[String]> = modules.into_iter().collect();
    let successors: Vec<Vec<usize>> = modules
        .iter()
        .map(|from| {
            let to = |to: &&[String]| {
                edges
                    .iter()
                    .any(|edge| edge.from == *from && edge.to == *to)
            };
            (0..modules.len()).filter(|&at| to(&modules[at])).collect()
        })
        .collect();
    let mut found = Vec::new();
    for members in components::strongly_connected(&successors) {
        let shortest = components::shortest_circle(&successors, &members);
        let members: Vec<&[String]> = members.into_iter().map(|at| modules[at]).collect();
        let inside: Vec<&SiblingEdge<'_>> = edges
            .iter()
            .filter(|edge| members.contains(&edge.from) && members.contains(&edge.to))
            .collect();
        let step = |(&from, &to): (&usize, &usize)| {
            let is_step =
                |edge: &&&SiblingEdge<'_>| edge.from == modules[from] && edge.to == modules[to];
            inside
                .iter()
                .find(is_step)
                .map(|edge| describe_edge(graph, edge.edge))
        };
        let next = shortest.iter().cycle().skip(1);
        let ends: BTreeSet<usize> = inside
            .iter()
            .flat_map(|edge| [edge.edge.from, edge.edge.to])
            .collect();
        found.push(Circle {
            modules: members.iter().map(|path| path.join("::")).collect(),
            example: shortest.iter().zip(next).filter_map(step).collect(),
            edges: inside
                .iter()
                .map(|edge| describe_edge(graph, edge.edge))
                .collect(),
            files: ends.len(),
        });
    }
    found
}

fn describe_edge(graph: &CrateGraph, edge: &Edge) -> String {
    format!(
        "{}:{} uses {} ({})",
        graph.files[edge.from], edge.line, edge.path, graph.files[edge.to]
    )
}

fn describe(name: &str, circle: &Circle, edges: &[String]) -> String {
    format!(
        "crate {name}: {} modules use each other in a circle, by {} edges between {} files: {}\n    {}",
        circle.modules.len(),
        circle.edges.len(),
        circle.files,
        circle.modules.join(", "),
        edges.join("\n    ")
    )
}

#[cfg(test)]
mod tests;
