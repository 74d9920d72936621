//! PodDisruptionBudgets: validation, writes, and tables.

#[tokio::test(start_paused = true)]
async fn budgets_answer_as_recorded() {
    crate::check("budgets", 0).await;
}
