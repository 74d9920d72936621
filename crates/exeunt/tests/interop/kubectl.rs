//! A current kubectl against the server: what people do with it besides the drain that `tests/cli`
//! follows.

mod access;
mod deletion;
mod nodes;
mod objects;
mod printing;
mod workloads;

use crate::support::{Server, has};

const APPLICATION: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: "nginx:1"}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: web}}
"#;

/// Starts a server with two nodes; returns `None` if kubectl is not installed.
fn server(directory: &std::path::Path) -> Option<Server> {
    has("kubectl").then(|| Server::start(directory, &["--nodes", "2"]))
}
