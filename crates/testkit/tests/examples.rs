//! Runs the examples, which assert what they show.

#[expect(dead_code, reason = "`main` runs the example by itself")]
#[path = "../examples/drain.rs"]
mod drain_example;
#[expect(dead_code, reason = "`main` runs the example by itself")]
#[path = "../examples/recycler.rs"]
mod recycler;

#[tokio::test(start_paused = true)]
async fn the_recycler_replaces_old_pods_within_their_budget() -> anyhow::Result<()> {
    recycler::run().await
}

#[tokio::test(start_paused = true)]
async fn the_drain_example_evicts_the_pod_and_reports_it() -> anyhow::Result<()> {
    let events = drain_example::run().await?;
    let names: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(names.first(), Some(&"cordoned"), "{events:?}");
    assert_eq!(names.last(), Some(&"drained"), "{events:?}");
    Ok(())
}
