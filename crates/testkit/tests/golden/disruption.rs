//! The disruption controller, and what it makes of budgets.

#[tokio::test(start_paused = true)]
async fn disruption_status_shows_as_recorded() {
    crate::check("disruption", 0).await;
}
