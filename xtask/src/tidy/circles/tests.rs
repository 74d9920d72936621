//! Crates of a few lines, and the edges and circles that are found in them.

use super::*;

/// The edges as `from -> to`, sorted.
fn edges(files: &[(&str, &str)]) -> Vec<String> {
    let graph = CrateGraph::of(files);
    let shown = |edge: &Edge| format!("{} -> {}", graph.files[edge.from], graph.files[edge.to]);
    let mut found: Vec<String> = graph.edges.iter().map(shown).collect();
    found.sort();
    found
}

fn circled(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let found = circles(&CrateGraph::of(files));
    found.into_iter().map(|circle| circle.modules).collect()
}

#[test]
fn nested_uses_and_inline_paths_lead_to_the_deepest_file() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "mod x;"),
        ("a/x.rs", "pub fn f() {}"),
        ("b.rs", "use crate::{a::{x::f, self}, c::D as E};"),
        ("c.rs", "fn g() { crate::a::x::f(); super::b::h::<u8>() }"),
    ];
    assert_eq!(
        edges(&files),
        [
            "b.rs -> a.rs",
            "b.rs -> a/x.rs",
            "b.rs -> c.rs",
            "c.rs -> a/x.rs",
            "c.rs -> b.rs"
        ]
    );
    assert_eq!(circled(&files), [["b", "c"]]);
}

#[test]
fn a_parent_and_its_descendants_may_use_each_other() {
    let files = [
        ("lib.rs", "mod a; use a::x::f;"),
        ("a.rs", "mod x; use self::x::f; fn g() { x::f() }"),
        ("a/x.rs", "use super::g; use crate::h; mod y;"),
        ("a/x/y.rs", "use super::super::g;"),
    ];
    assert_eq!(edges(&files), [""; 0]);
}

#[test]
fn code_for_tests_does_not_count() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "#[cfg(test)] use crate::b::{c, d}; #[cfg(test)] mod tests { use crate::b; }
             #[cfg(all(test, unix))] #[test] fn f() -> [u8; 1] { crate::b::c() } struct S {
             #[cfg(test)] field: crate::b::C }",
        ),
        (
            "b.rs",
            "#[cfg(not(test))] use crate::a::e; fn c() {} fn d() {}",
        ),
    ];
    assert_eq!(edges(&files), ["b.rs -> a.rs"]);
}

#[test]
fn a_reexport_leads_to_what_it_exports() {
    let files = [
        (
            "lib.rs",
            "mod a; mod b; mod c; pub use a::F; pub use b::*; pub use kube::G;",
        ),
        ("a.rs", "use crate::H; pub struct F;"),
        ("b.rs", "pub struct H;"),
        ("c.rs", "use crate::{F, G}; fn f(h: super::H) {}"),
    ];
    assert_eq!(
        edges(&files),
        ["a.rs -> b.rs", "c.rs -> a.rs", "c.rs -> b.rs"]
    );
}

#[test]
fn a_path_through_an_imported_module_is_followed() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub mod x;"),
        ("a/x.rs", "fn f() {}"),
        (
            "b.rs",
            "use crate::a as other; fn g() { other::x::f(); std::mem::drop(1) }",
        ),
    ];
    assert_eq!(edges(&files), ["b.rs -> a.rs", "b.rs -> a/x.rs"]);
}

#[test]
fn strings_comments_and_visibilities_use_nothing() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "// crate::b::f\nconst S: &str = \"crate::b::f\"; pub(in crate::b) fn g() {}
             fn h<'a>(x: &'a u8) -> impl Sized + use<'a> { x }",
        ),
        ("b.rs", "fn f() {}"),
    ];
    assert_eq!(edges(&files), [""; 0]);
}

#[test]
fn a_circle_is_reported_with_the_edges_that_close_it() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::f;"),
        ("b.rs", "use crate::c::g;"),
        ("c.rs", "\nuse crate::a::h;"),
    ];
    let found = circles(&CrateGraph::of(&files));
    assert_eq!(
        found[0].example,
        [
            "a.rs:1 uses crate::b::f (b.rs)",
            "b.rs:1 uses crate::c::g (c.rs)",
            "c.rs:2 uses crate::a::h (a.rs)"
        ]
    );
}

#[test]
fn inline_modules_belong_to_their_file() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "mod inner { use super::super::b::f; use super::g; }",
        ),
        ("b.rs", "use crate::a::inner::h;"),
    ];
    assert_eq!(circled(&files), [["a", "b"]]);
}

#[test]
fn a_module_and_what_lies_below_it_are_one_in_a_circle() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "mod x; mod y; mod z;"),
        ("a/x.rs", "use crate::b::f;"),
        ("a/y.rs", "use super::z::g; use crate::c::h;"),
        ("a/z.rs", "use super::y::i;"),
        ("b.rs", "use crate::a::y::j;"),
        ("c.rs", ""),
    ];
    assert_eq!(circled(&files), [["a", "b"], ["a::y", "a::z"]]);
}
