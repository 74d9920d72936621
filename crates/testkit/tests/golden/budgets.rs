//! What a PodDisruptionBudget may say, and how it is written and shown.

#[tokio::test(start_paused = true)]
async fn budgets_answer_as_recorded() {
    crate::check("budgets", 0).await;
}
