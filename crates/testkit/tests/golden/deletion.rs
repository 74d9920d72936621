//! Deleting pods and other objects: grace, preconditions, propagation.

#[tokio::test(start_paused = true)]
async fn deletions_answer_as_recorded() {
    crate::check("deletion", 0).await;
}
