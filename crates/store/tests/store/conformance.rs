//! The behaviour of every store, whatever engine it is on.

mod commits;
mod lifecycle;
mod snapshots;
mod watches;

macro_rules! on_every_engine {
    ($($module:ident: $($name:ident)*;)*) => {
        on_every_engine! { memory TestEngine::Memory => $($module: $($name)*;)* }
        on_every_engine! { inline TestEngine::inline() => $($module: $($name)*;)* }
        on_every_engine! { disk TestEngine::disk() => $($module: $($name)*;)* }
        on_every_engine! { threaded TestEngine::threaded() => $($module: $($name)*;)* }
    };
    ($engine:ident $new:expr => $($module:ident: $($name:ident)*;)*) => {
        mod $engine {
            use crate::engines::TestEngine;

            $($(#[tokio::test]
            async fn $name() {
                super::$module::$name($new).await;
            })*)*
        }
    };
}

on_every_engine! {
    commits:
        a_committed_write_can_be_read
        every_write_takes_a_revision_of_its_own
        a_refused_commit_changes_nothing
        a_commit_reads_its_own_writes
        a_removal_leaves_its_final_bytes_in_the_event_only
        removing_a_missing_key_takes_no_revision
        concurrent_commits_are_serialized
        writes_over_the_limits_are_refused
        a_memo_stays_with_its_bytes
        a_panic_in_a_commit_changes_nothing;
    snapshots:
        ranges_are_ordered_and_stay_in_their_prefix
        a_snapshot_does_not_change
        every_revision_in_the_history_has_a_snapshot
        compaction_drops_only_the_past;
    watches:
        a_watch_delivers_every_event_after_its_revision_once
        a_watch_sees_only_its_prefix
        many_watches_wait_for_the_same_events
        a_watch_that_falls_behind_the_history_is_compacted
        a_quiet_watch_survives_the_history_of_others
        progress_advances_without_events
        a_watch_ends_after_the_last_event_of_a_dropped_store
        a_reader_can_wait_for_a_revision;
    lifecycle:
        a_closed_store_refuses_commits_and_ends_watches
        records_and_revisions_survive_a_restart;
}
