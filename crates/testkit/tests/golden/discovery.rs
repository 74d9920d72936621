//! Discovery, content negotiation and health.

#[tokio::test(start_paused = true)]
async fn discovery_answers_as_recorded() {
    crate::check("discovery", 0).await;
}
