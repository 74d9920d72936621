//! Objects in general: create, update, patch, apply, list, watch, tables.

#[tokio::test(start_paused = true)]
async fn objects_answer_as_recorded() {
    crate::check("objects", 0).await;
}
