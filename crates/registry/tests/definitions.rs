//! Definitions of custom kinds come and go without a trace in memory.
//!
//! A process of its own, because it looks at the memory of the whole process.

extern crate exeunt_registry as registry;

#[path = "it/world.rs"]
#[expect(dead_code, reason = "the helpers of the other tests")]
mod world;

use registry::Options;
use registry::request::DeleteOptions;
use serde_json::{Value, json};
use store::{Store, StoreOptions};

use crate::world::World;

const DEFINITIONS: &str = "customresourcedefinitions";
/// What ten thousand definitions may leave behind: far less than a kilobyte for each.
const SLACK_BYTES: usize = 8 * 1024 * 1024;

/// A definition with a schema of about two kilobytes; `edition` makes another one of it.
fn definition(number: usize, edition: usize) -> Value {
    let property = |member: usize| {
        let name = format!("member{member}Of{number}Edition{edition}");
        (
            name,
            json!({"type": "string", "pattern": "^[a-z]+$", "maxLength": 63}),
        )
    };
    let properties: Value = (0..20)
        .map(property)
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({
        "metadata": {"name": format!("things{number}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": format!("things{number}"), "kind": format!("Thing{number}")},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": properties}}}},
            }],
        },
    })
}

/// Makes, reads, changes and deletes so many definitions, one after the other.
async fn make_and_delete(world: &World, numbers: std::ops::Range<usize>) {
    for number in numbers {
        world.create(DEFINITIONS, "", definition(number, 1)).await;
        let plural = format!("things{number}");
        let row = world.registry.resource("example.com", "v1", &plural);
        assert!(row.is_some_and(|row| row.is_custom()), "{plural} is served");
        let path = format!("/{plural}.example.com");
        let changed = json!({"spec": definition(number, 2)["spec"]});
        let patched = world.patch(DEFINITIONS, &path, changed).await;
        patched.expect("another schema is taken");
        assert!(
            world
                .registry
                .resource("example.com", "v1", &plural)
                .is_some()
        );
        let deleted = world
            .delete(DEFINITIONS, &path, DeleteOptions::default())
            .await;
        deleted.expect("a definition without objects goes at once");
        assert!(
            world
                .registry
                .resource("example.com", "v1", &plural)
                .is_none()
        );
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).expect("the resident pages");
    4096 * pages.parse::<usize>().expect("a number")
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_definitions_leave_memory_where_it_was() {
    let store = Store::open_memory_with(StoreOptions {
        history_events: 1_000,
        ..StoreOptions::default()
    });
    let world = World::on(store, Options::default()).await;
    // The history, the caches and the allocator take what they take.
    make_and_delete(&world, 0..1_000).await;
    let before = resident_bytes();
    make_and_delete(&world, 1_000..11_000).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(
        grown < SLACK_BYTES,
        "ten thousand definitions left {} KiB behind",
        grown / 1024
    );
}
