//! Workload controllers, scheduler, endpoints, namespaces.

#[tokio::test(start_paused = true)]
async fn workloads_answer_as_recorded() {
    crate::check("workloads", 0).await;
}
