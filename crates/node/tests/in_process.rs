//! The agent against the real server, in one process and in virtual time.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail by panicking, their helpers too"
)]

use std::time::Duration;

use clock::Entropy;
use exeunt_node::{self as node, Handle, NodeOptions};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use testkit::TestCluster;
use tokio_util::sync::CancellationToken;

/// An API server without controllers, and an agent that can be stopped and started.
struct InProcess {
    api: TestCluster,
    client: Client,
    options: NodeOptions,
    agent: Option<Handle>,
    shutdown: CancellationToken,
}

impl InProcess {
    async fn new(nodes: usize) -> Self {
        let api = TestCluster::builder()
            .without_controllers()
            .starting_at(Timestamp::from_second(1_800_000_000).unwrap())
            .seed(7)
            .start()
            .await
            .unwrap();
        let client = api.client();
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(client.clone(), "default");
        // The account may exist already. The controller that creates it does not run here.
        let _ = accounts
            .create(
                &PostParams::default(),
                &serde_json::from_value(account).unwrap(),
            )
            .await;
        let options = NodeOptions::numbered("node", nodes);
        let mut cluster = Self {
            api,
            client,
            options,
            agent: None,
            shutdown: CancellationToken::new(),
        };
        cluster.start();
        assert!(cluster.agent.as_ref().unwrap().registered().await);
        cluster
    }

    fn start(&mut self) {
        self.shutdown = CancellationToken::new();
        let (client, clock) = (self.client.clone(), self.api.clock().clone());
        self.agent = Some(
            node::run(
                client,
                clock,
                Entropy::seeded(8),
                self.options.clone(),
                self.shutdown.clone(),
            )
            .unwrap(),
        );
    }

    async fn stop(&mut self) {
        self.shutdown.cancel();
        self.agent.take().unwrap().stopped().await;
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates a pod that is bound to a node.
    async fn create(&self, name: &str, annotations: Value) {
        let pod = json!({
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "nginx"}]},
        });
        self.pods()
            .create(
                &PostParams::default(),
                &serde_json::from_value(pod).unwrap(),
            )
            .await
            .unwrap();
    }

    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    async fn get(&self, name: &str) -> Option<Pod> {
        self.pods().get_opt(name).await.unwrap()
    }

    async fn is_ready(&self, name: &str) -> bool {
        let pod = self.get(name).await.unwrap();
        let conditions = pod.status.unwrap().conditions.unwrap();
        conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_are_registered_and_their_leases_renewed() {
    let cluster = InProcess::new(3).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let listed = nodes.list(&ListParams::default()).await.unwrap();
    let names: Vec<String> = listed.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["node-1", "node-2", "node-3"]);
    for node in &listed {
        let status = node.status.as_ref().unwrap();
        let kinds: Vec<&str> = status
            .conditions
            .iter()
            .flatten()
            .map(|condition| condition.type_.as_str())
            .collect();
        assert_eq!(
            kinds,
            ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]
        );
        assert_eq!(status.allocatable.as_ref().unwrap()["cpu"].0, "8");
    }
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-node-lease");
    let renewed = async || {
        leases
            .get("node-2")
            .await
            .unwrap()
            .spec
            .unwrap()
            .renew_time
            .unwrap()
            .0
    };
    let before = renewed().await;
    cluster.pass(25).await;
    assert!(renewed().await > before);
    cluster.pass(400).await;
    let heartbeat = nodes
        .get("node-2")
        .await
        .unwrap()
        .status
        .unwrap()
        .conditions
        .unwrap()[3]
        .clone();
    assert!(heartbeat.last_heartbeat_time.unwrap().0 > heartbeat.last_transition_time.unwrap().0);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_pod_ends_within_its_grace_period_and_is_deleted() {
    let cluster = InProcess::new(1).await;
    cluster
        .create(
            "p",
            json!({"sim.exeunt.dev/ready-after-seconds": "2", "sim.exeunt.dev/stop-seconds": "3"}),
        )
        .await;
    cluster.pass(1).await;
    assert!(!cluster.is_ready("p").await);
    cluster.pass(2).await;
    assert!(cluster.is_ready("p").await);
    let pod = cluster.get("p").await.unwrap();
    let status = pod.status.unwrap();
    let kinds: Vec<&str> = status
        .conditions
        .iter()
        .flatten()
        .map(|condition| condition.type_.as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled"
        ]
    );
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    assert_eq!(status.pod_ips.unwrap()[0].ip, "10.244.0.2");

    cluster
        .pods()
        .evict("p", &EvictParams::default())
        .await
        .unwrap();
    cluster.pass(2).await;
    assert!(
        cluster.is_ready("p").await,
        "ready until its container has stopped"
    );
    cluster.pass(2).await;
    assert!(cluster.get("p").await.is_none());

    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let mut reasons: Vec<String> = events
        .list(&ListParams::default())
        .await
        .unwrap()
        .into_iter()
        .filter_map(|event| event.reason)
        .collect();
    reasons.sort();
    assert_eq!(reasons, ["Created", "Killing", "Pulled", "Started"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_of_several_nodes_runs_the_pods_that_are_bound_to_them() {
    let cluster = InProcess::new(3).await;
    for name in ["bound", "foreign", "nowhere"] {
        let spec = json!({"containers": [{"name": "c", "image": "nginx"}]});
        let pod = json!({"metadata": {"name": name}, "spec": spec});
        cluster
            .pods()
            .create(
                &PostParams::default(),
                &serde_json::from_value(pod).unwrap(),
            )
            .await
            .unwrap();
    }
    cluster.pass(1).await;
    for (name, node) in [("bound", "node-3"), ("foreign", "wire-node")] {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let _: Value = cluster
            .pods()
            .create_subresource("binding", name, &PostParams::default(), &binding)
            .await
            .unwrap();
    }
    cluster.pass(1).await;
    assert!(cluster.is_ready("bound").await);
    let bound = cluster.get("bound").await.unwrap().status.unwrap();
    assert_eq!(bound.host_ip.as_deref(), Some("172.20.2.17"));
    for name in ["foreign", "nowhere"] {
        let status = cluster.get(name).await.unwrap().status.unwrap();
        assert_eq!(
            (status.phase.as_deref(), status.start_time),
            (Some("Pending"), None),
            "{name}"
        );
    }
    cluster
        .pods()
        .delete("bound", &DeleteParams::default())
        .await
        .unwrap();
    cluster.pass(1).await;
    assert!(cluster.get("bound").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_shorter_grace_period_takes_effect_and_the_kill_is_reported() {
    let cluster = InProcess::new(1).await;
    cluster
        .create("p", json!({"sim.exeunt.dev/ignore-sigterm": "true"}))
        .await;
    cluster.pass(1).await;
    // A finalizer keeps the object, so that its final status can be read.
    let finalizer = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/keep"]}}));
    cluster
        .pods()
        .patch("p", &PatchParams::default(), &finalizer)
        .await
        .unwrap();
    cluster
        .pods()
        .delete("p", &DeleteParams::default().grace_period(100))
        .await
        .unwrap();
    cluster.pass(5).await;
    cluster
        .pods()
        .delete("p", &DeleteParams::default().grace_period(10))
        .await
        .unwrap();
    cluster.pass(4).await;
    assert_eq!(
        cluster
            .get("p")
            .await
            .unwrap()
            .status
            .unwrap()
            .phase
            .as_deref(),
        Some("Running")
    );
    cluster.pass(2).await;
    let pod = cluster.get("p").await.unwrap();
    assert_eq!(pod.metadata.deletion_grace_period_seconds, Some(0));
    let status = pod.status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    let ended = status.container_statuses.unwrap()[0]
        .state
        .clone()
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(
        (ended.exit_code, ended.reason.as_deref()),
        (137, Some("Error"))
    );
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    cluster
        .pods()
        .patch("p", &PatchParams::default(), &none)
        .await
        .unwrap();
    cluster.pass(1).await;
    assert!(cluster.get("p").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_takes_over_its_pods() {
    let mut cluster = InProcess::new(1).await;
    cluster.create("p", json!({})).await;
    cluster
        .create("q", json!({"sim.exeunt.dev/crash-after-seconds": "7"}))
        .await;
    cluster.pass(5).await;
    cluster.stop().await;
    let before = cluster.get("p").await.unwrap();
    cluster.pass(10).await;
    cluster.start();
    cluster.pass(1).await;
    assert_eq!(
        cluster.get("p").await.unwrap(),
        before,
        "nothing is written"
    );
    let crashed = cluster
        .get("q")
        .await
        .unwrap()
        .status
        .unwrap()
        .container_statuses
        .unwrap()
        .remove(0);
    assert_eq!(crashed.restart_count, 1);
    cluster
        .pods()
        .evict("p", &EvictParams::default())
        .await
        .unwrap();
    cluster.pass(1).await;
    assert!(cluster.get("p").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_completed_pod_is_kept_with_its_final_status() {
    let cluster = InProcess::new(1).await;
    let pod = json!({
        "metadata": {"name": "p", "annotations": {"sim.exeunt.dev/run-seconds.c": "3"}},
        "spec": {
            "nodeName": "node-1",
            "restartPolicy": "Never",
            "initContainers": [
                {"name": "init", "image": "busybox"},
                {"name": "side", "image": "envoy", "restartPolicy": "Always"},
            ],
            "containers": [{"name": "c", "image": "nginx"}],
        },
    });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    cluster
        .pods()
        .create(&PostParams::default(), &pod)
        .await
        .unwrap();
    cluster.pass(60).await;
    let status = cluster.get("p").await.unwrap().status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Succeeded"));
    let reasons: Vec<_> = status
        .conditions
        .into_iter()
        .flatten()
        .map(|c| (c.type_, c.status, c.reason.unwrap_or_default()))
        .collect();
    let reasons: Vec<_> = reasons
        .iter()
        .map(|(kind, status, reason)| (&**kind, &**status, &**reason))
        .collect();
    assert_eq!(
        reasons,
        [
            ("PodReadyToStartContainers", "False", ""),
            ("Initialized", "True", "PodCompleted"),
            ("Ready", "False", "PodCompleted"),
            ("ContainersReady", "False", "PodCompleted"),
            ("PodScheduled", "True", ""),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_running_pod_is_resized_within_the_limits_of_its_node() {
    let cluster = InProcess::new(1).await;
    let of = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": "16"}});
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "c", "image": "nginx", "resources": of("1")}],
        },
    });
    cluster
        .pods()
        .create(
            &PostParams::default(),
            &serde_json::from_value(pod).unwrap(),
        )
        .await
        .unwrap();
    cluster.pass(5).await;
    let shown = async || {
        let status = cluster
            .get("p")
            .await
            .unwrap()
            .status
            .unwrap()
            .container_statuses
            .unwrap()
            .remove(0);
        (
            status.allocated_resources.unwrap()["cpu"].0.clone(),
            status.resources.unwrap().requests.unwrap()["cpu"].0.clone(),
        )
    };
    assert_eq!(shown().await, ("1".to_owned(), "1".to_owned()));
    let resize = async |cpu: &str| {
        let patch = json!({"spec": {"containers": [{"name": "c", "resources": of(cpu)}]}});
        cluster
            .pods()
            .patch_subresource(
                "resize",
                "p",
                &PatchParams::default(),
                &Patch::Strategic(patch),
            )
            .await
    };
    resize("2").await.unwrap();
    cluster.pass(5).await;
    assert_eq!(shown().await, ("2".to_owned(), "2".to_owned()));
    let refused = resize("9").await.unwrap_err().to_string();
    assert!(
        refused.contains("cpu, requested: 9000, allocatable: 8000"),
        "{refused}"
    );
}
