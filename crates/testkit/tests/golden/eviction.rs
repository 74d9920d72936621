//! The eviction subresource.

#[tokio::test(start_paused = true)]
async fn eviction_answer_as_recorded() {
    crate::check("eviction", 0.0).await;
}
