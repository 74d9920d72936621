//! `exeunt explain` and `exeunt lint` as whole commands: exit code, standard output and error.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use crate::support::{PATIENCE, Server, exeunt};

/// A cluster as `kubectl get -o yaml` shows it: one of two pods crashes, and nothing has a time.
const FILE: &str = r#"apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata:
    name: web-0
    namespace: shop
    labels: {app: web}
    ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: web, uid: u, controller: true}]
  spec: {nodeName: n1, containers: [{name: web, image: web}]}
  status: {phase: Running, conditions: [{type: Ready, status: "True"}]}
- apiVersion: v1
  kind: Pod
  metadata:
    name: web-1
    namespace: shop
    labels: {app: web}
    ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: web, uid: u, controller: true}]
  spec: {nodeName: n2, containers: [{name: web, image: web}]}
  status:
    phase: Running
    conditions: [{type: Ready, status: "False"}]
    containerStatuses:
    - {name: web, image: web, imageID: "", ready: false, restartCount: 7, state: {waiting: {reason: CrashLoopBackOff}}}
- apiVersion: apps/v1
  kind: StatefulSet
  metadata: {name: web, namespace: shop, uid: u}
  spec:
    replicas: 2
    serviceName: web
    selector: {matchLabels: {app: web}}
    template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}
- apiVersion: policy/v1
  kind: PodDisruptionBudget
  metadata: {name: web, namespace: shop, generation: 1}
  spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
  status: {observedGeneration: 1, expectedPods: 2, desiredHealthy: 1, currentHealthy: 1, disruptionsAllowed: 0}
"#;

/// Runs the command in a directory; returns exit code, standard output and standard error.
fn run(directory: &Path, arguments: &[&str]) -> String {
    let output = exeunt()
        .current_dir(directory)
        .env("KUBECONFIG", directory.join("none"))
        .args(arguments)
        .output()
        .expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "exit code {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr)
    )
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("cluster.yaml"), FILE).unwrap();
    directory
}

#[test]
fn explain_reads_a_file_instead_of_a_cluster() {
    insta::assert_snapshot!(run(
        directory().path(),
        &["explain", "web-0", "-f", "cluster.yaml"]
    ));
}

#[test]
fn files_may_be_manifests_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let template = "template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i, lifecycle: {preStop: {sleep: {seconds: 5}}}}]}}";
    write(
        "app/web.yaml",
        &format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 3\n  selector: {{matchLabels: {{app: web}}}}\n  {template}\n"
        ),
    );
    write(
        "app/pdb.yml",
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {maxUnavailable: 1, unhealthyPodEvictionPolicy: AlwaysAllow, selector: {matchLabels: {app: web}}}\n",
    );
    write("app/notes.txt", "not: [a manifest");
    write(
        "app/deep/broken.json",
        "{\"apiVersion\": \"policy/v1\", \"kind\": \"PodDisruptionBudget\", \"metadata\": {\"name\": \"deep\"}, \"spec\": {\"maxUnavailable\": -1}}",
    );
    write("empty/notes.txt", "nothing");
    let path = directory.path();
    insta::assert_snapshot!(run(path, &["explain", "pdb/web", "-f", "app"]));
    insta::assert_snapshot!(run(path, &["lint", "-f", "app"]));
    insta::assert_snapshot!(run(path, &["lint", "-R", "-f", "app"]));
    insta::assert_snapshot!(run(path, &["lint", "-f", "empty"]));
}

#[test]
fn explain_prints_json() {
    let directory = directory();
    let output = exeunt()
        .current_dir(directory.path())
        .args(["explain", "pdb/web", "-f", "cluster.yaml", "-o", "json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report[0]["verdict"], &report[0]["subject"]["kind"]),
        (&"refused".into(), &"PodDisruptionBudget".into())
    );
    assert!(
        report[0]["problems"]
            .as_array()
            .unwrap()
            .iter()
            .any(|problem| problem["id"] == "unready-pods"),
        "{report}"
    );
}

#[test]
fn explain_errors_come_with_a_hint() {
    let directory = directory();
    insta::assert_snapshot!(run(
        directory.path(),
        &["explain", "nobody", "-f", "cluster.yaml"]
    ));
    insta::assert_snapshot!(run(
        directory.path(),
        &["explain", "service/web", "-f", "cluster.yaml"]
    ));
    insta::assert_snapshot!(run(
        directory.path(),
        &["explain", "web-0", "-f", "missing.yaml"]
    ));
    std::fs::write(directory.path().join("broken.yaml"), "a: [").unwrap();
    insta::assert_snapshot!(run(
        directory.path(),
        &["explain", "web-0", "-f", "broken.yaml"]
    ));
}

#[test]
fn lint_fails_by_severity_and_prints_file_and_line() {
    let directory = directory();
    let pod = "# A pod.\napiVersion: v1\nkind: Pod\nmetadata: {name: bare}\nspec: {containers: [{name: c, image: i}]}\n";
    std::fs::write(directory.path().join("pod.yaml"), pod).unwrap();
    insta::assert_snapshot!(run(
        directory.path(),
        &["lint", "-f", "cluster.yaml", "-f", "pod.yaml"]
    ));
    let failing = run(
        directory.path(),
        &["lint", "-f", "pod.yaml", "--fail-on", "warning"],
    );
    assert!(
        failing.starts_with("exit code 1\n") && failing.contains("pod.yaml:1"),
        "{failing}"
    );
    let sarif = exeunt()
        .current_dir(directory.path())
        .args(["lint", "-f", "pod.yaml", "-o", "sarif"])
        .output()
        .unwrap();
    let log: serde_json::Value = serde_json::from_slice(&sarif.stdout).unwrap();
    let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(
        (
            place["artifactLocation"]["uri"].as_str(),
            place["region"]["startLine"].as_u64()
        ),
        (Some("pod.yaml"), Some(1)),
        "{log}"
    );
}

#[tokio::test]
async fn explain_agrees_with_the_server_about_a_refused_eviction() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--nodes", "1"]);
    let client = server.client().await;
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let labels = json!({"app": "web"});
    let pod = json!({
        "metadata": {"name": "web", "labels": labels},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    let budget = json!({
        "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
    });
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(client);
    budgets
        .create(
            &PostParams::default(),
            &serde_json::from_value(budget).unwrap(),
        )
        .await
        .unwrap();
    // Pods need the default service account, which a controller creates after the start.
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let healthy = async {
        while pods.create(&PostParams::default(), &pod).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        loop {
            let listed = budgets.list(&ListParams::default()).await.unwrap();
            let status = listed.items[0].status.clone().unwrap_or_default();
            if status.current_healthy == Some(1) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, healthy)
        .await
        .expect("the budget counts its pod");

    let explain = |arguments: &[&str]| {
        let output = exeunt()
            .env("KUBECONFIG", &server.kubeconfig)
            .arg("explain")
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, report, stderr) = explain(&["web"]);
    assert_eq!(code, Some(0), "{report}{stderr}");
    assert!(
        report.starts_with(
            "web cannot be evicted: budget web allows 0 disruptions (needs 1 healthy of 1, has 1)"
        ),
        "{report}"
    );
    assert!(
        report.contains("429: Cannot evict pod as it would violate the pod's disruption budget.")
            && report.contains("this agrees with the explanation"),
        "{report}"
    );
    let (code, report, _) = explain(&["node/node-1", "--ask=false"]);
    assert_eq!(
        (code, report.lines().next()),
        (Some(0), Some("node-1 has 1 pod: 1 cannot be evicted now")),
        "{report}"
    );
    let (code, report, stderr) = explain(&["web", "--as", "nobody"]);
    assert_eq!((code, report.as_str()), (Some(1), ""));
    assert!(
        stderr.contains("not found in namespace default, and nodes cannot be read")
            && stderr.contains("hint:"),
        "{stderr}"
    );
}
