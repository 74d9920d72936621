//! The eviction subresource.

#[tokio::test(start_paused = true)]
async fn evictions_answer_as_recorded() {
    crate::check("eviction", 3).await;
}
