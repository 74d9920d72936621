//! Unit tests of the modules that hold locks. They live outside those modules, because the crate
//! root `schedules.rs` compiles the modules with primitives that only work under its scheduler.

use crate::feed::Feed;
use crate::history::History;
use crate::keyspace::Keyspace;
use crate::record::Revision;
use crate::txn::Txn;

#[test]
fn the_feed_is_empty_when_history_and_watches_are_gone() {
    let mut feed = Feed::new(History::starting_at(Revision(0), 10, usize::MAX));
    let mut txn = Txn::new(Keyspace::empty());
    txn.put("pods/shop/a", "1", None);
    txn.put("nodes/a", "1", None);
    let (keyspace, events) = txn.finish().expect("within the limits");
    for prefix in ["pods/shop/", "pods/shop/", "pods/", "leases/"] {
        feed.subscribe(prefix, Revision(0))
            .expect("within the history");
    }
    let concerned = feed.append(events, &keyspace);
    let prefixes: Vec<_> = concerned.iter().map(|group| &*group.prefix).collect();
    assert_eq!(prefixes, ["pods/", "pods/shop/"]);
    feed.trim(keyspace.revision);
    for prefix in ["pods/shop/", "leases/", "pods/", "pods/shop/"] {
        assert!(!feed.is_empty());
        feed.unsubscribe(prefix);
    }
    assert!(feed.is_empty(), "{feed:?}");
}

#[test]
fn a_group_is_filled_from_where_each_of_its_watches_starts() {
    let mut feed = Feed::new(History::starting_at(Revision(0), 100, usize::MAX));
    let mut txn = Txn::new(Keyspace::empty());
    (0..10).for_each(|number| drop(txn.put(&format!("pods/{number}"), "", None)));
    let (keyspace, events) = txn.finish().expect("within the limits");
    feed.append(events, &keyspace);
    for (after, revisions) in [(8, 9..=10), (3, 4..=10), (5, 4..=10), (0, 1..=10)] {
        let group = feed
            .subscribe("pods/", Revision(after))
            .expect("within the history");
        let queue = group.queue();
        let queued = queue.events.iter().map(|event| event.revision.0);
        assert!(queued.eq(revisions));
    }
}
