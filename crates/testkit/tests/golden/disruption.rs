//! The disruption controller and the statuses that it writes.

#[tokio::test(start_paused = true)]
async fn disruption_status_shows_as_recorded() {
    crate::check("disruption", 0).await;
}
