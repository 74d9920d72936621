//! kubectl from `apply` to `uncordon`, and a watch that checks the budget all the time.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};

use crate::support::{PATIENCE, Server, has, shown};

const APPLICATION: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: nginx}}
  template:
    metadata:
      labels: {app: nginx}
      annotations: {sim.exeunt.dev/ready-after-seconds: "0.3", sim.exeunt.dev/stop-seconds: "0.1"}
    spec:
      containers:
        - {name: c, image: nginx, volumeMounts: [{name: tmp, mountPath: /tmp}]}
      volumes: [{name: tmp, emptyDir: {}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: nginx-pdb}
spec:
  selector: {matchLabels: {app: nginx}}
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
"#;

/// Watches the pods and returns the smallest number of ready ones after `settled` were ready.
async fn fewest_ready(
    client: Client,
    settled: usize,
    mut stop: tokio::sync::oneshot::Receiver<()>,
) -> usize {
    let mut events = watcher::watcher(
        Api::<Pod>::default_namespaced(client),
        watcher::Config::default(),
    )
    .boxed();
    let mut ready = BTreeMap::new();
    let mut fewest = usize::MAX;
    loop {
        let event = tokio::select! {
            event = events.next() => event.expect("a watch has no end").expect("the watch goes on"),
            _ = &mut stop => return fewest,
        };
        match event {
            Event::Apply(pod) | Event::InitApply(pod) => {
                ready.insert(pod.name_any(), is_ready(&pod));
            }
            Event::Delete(pod) => {
                ready.remove(&pod.name_any());
            }
            Event::Init | Event::InitDone => continue,
        }
        let count = ready.values().filter(|ready| **ready).count();
        if fewest != usize::MAX || count == settled {
            fewest = fewest.min(count);
        }
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_drains_a_node_and_the_budget_holds() {
    if !has("kubectl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--nodes", "3"]);
    assert_eq!(
        server.feed(&["apply", "-f", "-"], APPLICATION),
        "deployment.apps/web created\npoddisruptionbudget.policy/nginx-pdb created\n"
    );
    assert!(
        server
            .run(&["rollout", "status", "deployment/web", "--timeout=60s"])
            .contains("successfully rolled out")
    );
    assert!(
        server
            .feed(&["apply", "-f", "-"], APPLICATION)
            .contains("unchanged")
    );

    assert_eq!(
        server
            .run(&["get", "nodes", "--no-headers"])
            .matches(" Ready ")
            .count(),
        3
    );
    let wide = server.run(&["get", "pods", "-o", "wide"]);
    assert!(
        wide.contains("NOMINATED NODE") && wide.matches("1/1").count() == 3,
        "{wide}"
    );
    assert!(
        server
            .run(&["get", "deployment", "web", "-o", "yaml"])
            .contains("progressDeadlineSeconds: 600")
    );
    let budget = server.until(&["get", "pdb"], |text| text.contains("N/A"));
    assert!(budget.contains("ALLOWED DISRUPTIONS"), "{budget}");
    server.until(
        &[
            "get",
            "pdb",
            "nginx-pdb",
            "-o",
            "jsonpath={.status.disruptionsAllowed}",
        ],
        |text| text == "1",
    );

    // Scale, label, patch, wait.
    assert_eq!(
        server.run(&["scale", "deployment/web", "--replicas=6"]),
        "deployment.apps/web scaled\n"
    );
    server.run(&[
        "wait",
        "--for=condition=Available",
        "deployment/web",
        "--timeout=60s",
    ]);
    server.until(
        &[
            "get",
            "deployment",
            "web",
            "-o",
            "jsonpath={.status.readyReplicas}",
        ],
        |text| text == "6",
    );
    server.run(&["label", "deployment/web", "tier=front"]);
    server.run(&[
        "patch",
        "deployment/web",
        "-p",
        r#"{"metadata":{"annotations":{"a":"b"}}}"#,
    ]);
    let marks = server.run(&[
        "get",
        "deployment",
        "web",
        "-o",
        "jsonpath={.metadata.labels.tier} {.metadata.annotations.a}",
    ]);
    assert_eq!(marks, "front b");
    let pod = server.run(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]);
    server.run(&[
        "wait",
        "--for=condition=Ready",
        &format!("pod/{pod}"),
        "--timeout=60s",
    ]);

    // Describe, explain, events.
    let node = server.run(&["get", "pod", &pod, "-o", "jsonpath={.spec.nodeName}"]);
    assert!(
        server
            .run(&["describe", "pod", &pod])
            .contains("Controlled By:  ReplicaSet/web-")
    );
    let text = server.run(&["describe", "pdb", "nginx-pdb"]);
    assert!(
        text.contains("Allowed disruptions:") && text.contains("Max unavailable:  1"),
        "{text}"
    );
    assert!(
        server
            .run(&["describe", "node", &node])
            .contains("Non-terminated Pods:")
    );
    assert!(
        server
            .run(&["explain", "pdb"])
            .contains("KIND:       PodDisruptionBudget")
    );
    assert!(
        server
            .run(&["explain", "pdb.spec.unhealthyPodEvictionPolicy"])
            .contains("FIELD: unhealthyPodEvictionPolicy")
    );
    assert!(server.run(&["get", "events"]).contains("Started"));

    // `kubectl get --watch` prints the drain.
    let mut watch = server
        .kubectl(&["get", "pods", "-w", "--no-headers"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    let lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();

    server.until(
        &[
            "get",
            "pdb",
            "nginx-pdb",
            "-o",
            "jsonpath={.status.disruptionsAllowed}",
        ],
        |text| text == "1",
    );
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let count = tokio::spawn(fewest_ready(server.client().await, 6, stopped));
    assert_eq!(
        server.run(&["cordon", &node]),
        format!("node/{node} cordoned\n")
    );
    let drained = server
        .kubectl(&[
            "drain",
            &node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=60s",
        ])
        .output()
        .unwrap();
    assert!(drained.status.success(), "{}", shown(&drained));
    let text = String::from_utf8_lossy(&drained.stdout).into_owned();
    assert!(
        text.contains(&format!("pod/{pod} evicted"))
            && text.ends_with(&format!("node/{node} drained\n")),
        "{text}"
    );
    stop.send(()).unwrap();
    let fewest = tokio::time::timeout(PATIENCE, count)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(fewest, 5, "one pod at a time was unavailable, never more");

    let left = server.run(&[
        "get",
        "pods",
        "--field-selector",
        &format!("spec.nodeName={node}"),
        "-o",
        "name",
    ]);
    assert_eq!(left, "");
    assert_eq!(
        server.run(&["uncordon", &node]),
        format!("node/{node} uncordoned\n")
    );
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|line| line.contains(&pod) && line.contains("Terminating")),
        "kubectl's watch saw the pod go"
    );

    server.run(&["delete", "deployment", "web"]);
    server.until(&["get", "pods", "-o", "name"], str::is_empty);
}

const BROKEN: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: broken}
spec:
  replicas: 3
  selector: {matchLabels: {app: broken}}
  template:
    metadata:
      labels: {app: broken}
      annotations: {sim.exeunt.dev/never-ready: "true"}
    spec:
      containers: [{name: c, image: nginx}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: broken}
spec:
  selector: {matchLabels: {app: broken}}
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: IfHealthyBudget
"#;

#[test]
fn pods_that_never_become_ready_block_the_drain_until_the_policy_allows_them() {
    if !has("kubectl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--nodes", "1"]);
    server.feed(&["apply", "-f", "-"], BROKEN);
    server.until(
        &["get", "pods", "-o", "jsonpath={.items[*].status.phase}"],
        |text| text == "Running Running Running",
    );
    server.until(
        &[
            "get",
            "pdb",
            "broken",
            "-o",
            "jsonpath={.status.desiredHealthy} {.status.observedGeneration}",
        ],
        |text| text == "2 1",
    );
    let node = server.run(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);

    let refused = server
        .kubectl(&["drain", &node, "--ignore-daemonsets", "--timeout=3s"])
        .output()
        .unwrap();
    assert!(!refused.status.success(), "{}", shown(&refused));
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(
        stderr.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{stderr}"
    );

    // A deletion bypasses the budget.
    let pod = server.run(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]);
    server.run(&["delete", "pod", &pod]);

    server.run(&[
        "patch",
        "pdb",
        "broken",
        "--type=merge",
        "-p",
        r#"{"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}}"#,
    ]);
    let drained = server.run(&["drain", &node, "--ignore-daemonsets", "--timeout=60s"]);
    assert!(
        drained.ends_with(&format!("node/{node} drained\n")),
        "{drained}"
    );
}
