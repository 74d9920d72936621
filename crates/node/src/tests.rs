//! The whole agent against an API server in memory, in virtual time.

mod fake;

use std::collections::HashSet;
use std::time::Duration;

use clock::{Clock, Entropy};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::fake::{FakeApi, pod_path};
use super::{Handle, NodeOptions};

const BEGIN: i64 = 1_800_000_000;

struct AgentTest {
    api: FakeApi,
    clock: Clock,
    handle: Option<Handle>,
    shutdown: CancellationToken,
    options: NodeOptions,
}

impl AgentTest {
    async fn new(nodes: usize) -> Self {
        let clock = Clock::starting_at(Timestamp::from_second(BEGIN).unwrap());
        let options = NodeOptions::numbered("node", nodes);
        let mut cluster = Self {
            api: FakeApi::default(),
            clock,
            handle: None,
            shutdown: CancellationToken::new(),
            options,
        };
        cluster.start();
        assert!(cluster.handle.as_ref().unwrap().registered().await);
        cluster.api.requests("");
        cluster
    }

    fn start(&mut self) {
        self.shutdown = CancellationToken::new();
        let agent = super::run(
            self.api.client(),
            self.clock.clone(),
            Entropy::seeded(1),
            self.options.clone(),
            self.shutdown.clone(),
        );
        self.handle = Some(agent.unwrap());
    }

    async fn stop(&mut self) {
        self.shutdown.cancel();
        self.handle.take().unwrap().stopped().await;
    }

    /// Lets virtual time pass.
    async fn pass(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    fn seconds(&self) -> i64 {
        self.clock.now().as_second() - BEGIN
    }

    fn put(&self, name: &str, node: &str, annotations: Value) {
        self.api.put(&pod_path(name), pod(name, node, annotations));
    }

    /// Deletes a pod with this grace period.
    fn delete(&self, name: &str, grace: i64) {
        self.api.change(&pod_path(name), |pod| {
            pod["metadata"]["deletionTimestamp"] =
                json!(Timestamp::from_second(BEGIN + grace).unwrap());
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            pod["metadata"]["generation"] = json!(2);
        });
    }

    fn ready(&self, name: &str) -> bool {
        self.api
            .pod(name)
            .is_some_and(|pod| condition(&pod, "Ready")["status"] == "True")
    }
}

fn pod(name: &str, node: &str, annotations: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "d", "generation": 1, "annotations": annotations},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Always",
            "containers": [{"name": "c", "image": "i"}],
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort", "conditions": [{
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": null,
            "lastTransitionTime": "2027-01-15T07:59:00Z",
        }]},
    })
}

fn condition(pod: &Value, kind: &str) -> Value {
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
        .cloned()
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn nodes_are_registered_with_a_lease_that_is_renewed() {
    let cluster = AgentTest::new(3).await;
    assert_eq!(
        cluster.api.paths("/api/v1/nodes"),
        [
            "/api/v1/nodes/node-1",
            "/api/v1/nodes/node-2",
            "/api/v1/nodes/node-3"
        ]
    );
    let node = cluster.api.get("/api/v1/nodes/node-2").unwrap();
    assert_eq!(node["status"]["allocatable"]["pods"], "110");
    assert_eq!(
        node["metadata"]["labels"]["kubernetes.io/hostname"],
        "node-2"
    );
    assert_eq!(condition(&node, "Ready")["status"], "True");
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-2";
    assert_eq!(
        cluster.api.get(lease).unwrap()["metadata"]["ownerReferences"][0]["uid"],
        node["metadata"]["uid"]
    );
    cluster.pass(31.0).await;
    let renewed: Timestamp = cluster.api.get(lease).unwrap()["spec"]["renewTime"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        cluster.api.get(lease).unwrap()["spec"]["renewTime"]
            .as_str()
            .unwrap()
            .len(),
        "2027-01-15T08:00:00.000000Z".len()
    );
    assert!(
        (20..=31).contains(&(renewed.as_second() - BEGIN)),
        "{renewed}"
    );
    // The status is reported every 300 seconds, and nothing is written in between.
    assert_eq!(cluster.api.requests("PATCH /api/v1/nodes").len(), 0);
    cluster.pass(300.0).await;
    assert_eq!(cluster.api.requests("PATCH /api/v1/nodes").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_node_stays_deleted() {
    let cluster = AgentTest::new(1).await;
    cluster.api.remove("/api/v1/nodes/node-1");
    cluster
        .api
        .remove("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1");
    cluster.pass(700.0).await;
    assert_eq!(cluster.api.paths("/api/v1/nodes"), Vec::<String>::new());
    assert_eq!(
        cluster.api.paths("/apis/coordination"),
        Vec::<String>::new()
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_marked_unknown_reports_its_status() {
    let cluster = AgentTest::new(1).await;
    let leases = "PATCH /apis/coordination.k8s.io";
    cluster.api.fail(leases, 503, 6);
    cluster.pass(50.0).await;
    cluster.api.change("/api/v1/nodes/node-1", |node| {
        node["status"]["conditions"][3]["status"] = json!("Unknown")
    });
    cluster.pass(30.0).await;
    let ready = condition(&cluster.api.get("/api/v1/nodes/node-1").unwrap(), "Ready");
    assert_eq!(ready["status"], "True");
    assert_ne!(ready["lastTransitionTime"], "2027-01-15T08:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn registration_is_retried_until_it_succeeds() {
    let api = FakeApi::default();
    api.fail("POST /api/v1/nodes", 503, 4);
    let clock = Clock::starting_at(Timestamp::from_second(BEGIN).unwrap());
    let shutdown = CancellationToken::new();
    let agent = super::run(
        api.client(),
        clock,
        Entropy::seeded(1),
        NodeOptions::numbered("node", 2),
        shutdown.clone(),
    )
    .unwrap();
    assert!(agent.registered().await);
    assert_eq!(api.paths("/api/v1/nodes").len(), 2);
    shutdown.cancel();
    agent.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_takes_one_write_per_change_from_start_to_end() {
    let cluster = AgentTest::new(2).await;
    cluster.put(
        "p",
        "node-2",
        json!({"sim.exeunt.dev/ready-after-seconds": "2", "sim.exeunt.dev/stop-seconds": "3"}),
    );
    cluster.pass(1.0).await;
    let running = cluster.api.pod("p").unwrap();
    assert_eq!(running["status"]["phase"], "Running");
    assert_eq!(running["status"]["podIP"], "10.244.1.2");
    assert_eq!(running["status"]["hostIP"], "172.20.1.17");
    assert_eq!(running["status"]["qosClass"], "BestEffort");
    assert_eq!(condition(&running, "Ready")["reason"], "ContainersNotReady");
    assert_eq!(
        condition(&running, "PodScheduled")["lastTransitionTime"],
        "2027-01-15T07:59:00Z"
    );
    cluster.pass(2.0).await;
    let ready = cluster.api.pod("p").unwrap();
    assert_eq!(
        condition(&ready, "Ready"),
        json!({
            "type": "Ready",
            "status": "True",
            "observedGeneration": 1,
            "lastTransitionTime": "2027-01-15T08:00:02Z",
        })
    );
    let patches = cluster.api.requests("PATCH /api/v1/namespaces/d/pods");
    assert_eq!(patches.len(), 2);
    assert!(
        patches
            .iter()
            .all(|(_, patch)| patch["metadata"] == json!({"uid": ready["metadata"]["uid"]}))
    );

    cluster.delete("p", 30);
    cluster.pass(2.5).await;
    assert!(
        cluster.ready("p"),
        "ready until its containers have stopped"
    );
    cluster.pass(1.0).await;
    assert_eq!(cluster.api.pod("p"), None);
    let writes = cluster.api.requests("");
    let writes: Vec<_> = writes
        .iter()
        .filter(|(request, _)| request.contains("/pods/p"))
        .collect();
    // The observed generation, the final status, the deletion.
    let verbs: Vec<&str> = writes
        .iter()
        .map(|(request, _)| request.split(' ').next().unwrap())
        .collect();
    assert_eq!(verbs, ["PATCH", "PATCH", "DELETE"]);
    assert_eq!(writes[1].1["status"]["phase"], "Succeeded");
    assert_eq!(writes[2].1["gracePeriodSeconds"], 0);
    assert_eq!(
        writes[2].1["preconditions"],
        json!({"uid": ready["metadata"]["uid"]})
    );
    cluster.pass(100.0).await;
    assert_eq!(
        cluster
            .api
            .requests("PATCH /api/v1/namespaces/d/pods")
            .len(),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn pods_of_other_nodes_are_left_alone() {
    let cluster = AgentTest::new(2).await;
    cluster.put("foreign", "wire-node", json!({}));
    cluster.put("unscheduled", "", json!({}));
    cluster.pass(5.0).await;
    cluster.delete("foreign", 1);
    cluster.pass(60.0).await;
    let touched = cluster.api.requests("");
    assert!(
        !touched
            .iter()
            .any(|(request, _)| request.contains("foreign") || request.contains("unscheduled")),
        "{touched:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn failed_requests_are_retried() {
    let cluster = AgentTest::new(1).await;
    cluster.api.fail("PATCH /api/v1/namespaces/d/pods", 500, 3);
    cluster.put("p", "node-1", json!({}));
    cluster.pass(60.0).await;
    assert!(cluster.ready("p"));
    cluster.api.fail("DELETE /api/v1/namespaces/d/pods", 429, 2);
    cluster.delete("p", 5);
    cluster.pass(1.0).await;
    assert_eq!(
        cluster.api.pod("p").unwrap()["status"]["phase"],
        "Succeeded"
    );
    cluster.pass(30.0).await;
    assert_eq!(cluster.api.pod("p"), None);
}

#[tokio::test(start_paused = true)]
async fn a_list_reveals_what_the_watch_has_missed() {
    let cluster = AgentTest::new(1).await;
    cluster.put("stays", "node-1", json!({}));
    cluster.put(
        "goes",
        "node-1",
        json!({"sim.exeunt.dev/crash-after-seconds": "40"}),
    );
    cluster.pass(1.0).await;
    let address = cluster.api.pod("goes").unwrap()["status"]["podIP"].clone();
    cluster.api.remove_silently(&pod_path("goes"));
    cluster.api.cut_watches(true);
    cluster.pass(30.0).await;
    cluster.api.requests("");
    cluster.pass(60.0).await;
    let reports = cluster.api.requests("PATCH /api/v1/namespaces/d/pods");
    assert_eq!(reports.len(), 0, "no status of a pod that is gone");
    // A new pod has the same name and nothing else of the one before.
    cluster.put("goes", "node-1", json!({}));
    cluster.pass(1.0).await;
    assert!(cluster.ready("goes") && cluster.ready("stays"));
    assert_ne!(cluster.api.pod("goes").unwrap()["status"]["podIP"], address);
    assert_eq!(
        cluster
            .api
            .requests("PATCH /api/v1/namespaces/d/pods")
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn late_watch_events_are_ignored() {
    let cluster = AgentTest::new(1).await;
    cluster.put(
        "p",
        "node-1",
        json!({"sim.exeunt.dev/ready-after-seconds": "2"}),
    );
    cluster.api.hold_events();
    cluster.pass(5.0).await;
    assert!(cluster.ready("p"));
    cluster.api.requests("");
    cluster.api.release_events();
    cluster.pass(5.0).await;
    assert_eq!(
        cluster
            .api
            .requests("PATCH /api/v1/namespaces/d/pods")
            .len(),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_deleted_by_force_is_stopped_without_reports() {
    let cluster = AgentTest::new(1).await;
    cluster.put(
        "p",
        "node-1",
        json!({"sim.exeunt.dev/ignore-sigterm": "true"}),
    );
    cluster.pass(1.0).await;
    cluster.api.requests("");
    cluster.api.remove(&pod_path("p"));
    cluster.put("p", "node-1", json!({}));
    cluster.pass(60.0).await;
    assert!(cluster.ready("p"));
    let requests = cluster.api.requests("");
    let pods: Vec<&str> = requests
        .iter()
        .map(|(request, _)| request.as_str())
        .filter(|request| request.contains("/d/pods"))
        .collect();
    assert_eq!(
        pods,
        ["PATCH /api/v1/namespaces/d/pods/p/status"],
        "only the new pod is reported"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_changes_nothing() {
    let mut cluster = AgentTest::new(1).await;
    cluster.put(
        "p",
        "node-1",
        json!({"sim.exeunt.dev/ready-after-seconds": "60"}),
    );
    cluster.put("q", "node-1", json!({}));
    cluster.pass(10.0).await;
    cluster.stop().await;
    let before = (cluster.api.pod("p"), cluster.api.pod("q"));
    cluster.pass(10.0).await;
    cluster.api.requests("");
    cluster.start();
    cluster.pass(30.0).await;
    assert_eq!((cluster.api.pod("p"), cluster.api.pod("q")), before);
    assert_eq!(
        cluster
            .api
            .requests("PATCH /api/v1/namespaces/d/pods")
            .len(),
        0
    );
    cluster.pass(11.0).await;
    assert!(cluster.ready("p"), "at {} s", cluster.seconds());
    // A new pod does not get an address that is in use.
    cluster.put("r", "node-1", json!({}));
    cluster.pass(1.0).await;
    let addresses: HashSet<String> = ["p", "q", "r"]
        .map(|name| cluster.api.pod(name).unwrap()["status"]["podIP"].to_string())
        .into();
    assert_eq!(addresses.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_another_writer_changed_is_restored() {
    let cluster = AgentTest::new(1).await;
    cluster.put("p", "node-1", json!({}));
    cluster.pass(5.0).await;
    cluster.api.change(&pod_path("p"), |pod| {
        let place = pod["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .position(|condition| condition["type"] == "Ready")
            .unwrap();
        pod["status"]["conditions"][place]["status"] = json!("False");
        pod["status"]["conditions"][place]["lastTransitionTime"] = json!("2027-01-15T08:00:05Z");
        pod["status"]["conditions"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "DisruptionTarget", "status": "True"}));
    });
    cluster.pass(5.0).await;
    assert!(cluster.ready("p"));
    let pod = cluster.api.pod("p").unwrap();
    assert_eq!(
        condition(&pod, "Ready")["lastTransitionTime"],
        "2027-01-15T08:00:05Z"
    );
    assert_eq!(
        condition(&pod, "DisruptionTarget")["status"],
        "True",
        "conditions of other writers are kept"
    );
}

#[tokio::test(start_paused = true)]
async fn events_are_recorded_and_counted() {
    let cluster = AgentTest::new(1).await;
    cluster.put(
        "p",
        "node-1",
        json!({"sim.exeunt.dev/crash-after-seconds": "1", "sim.exeunt.dev/stop-seconds": "soon"}),
    );
    cluster.pass(60.0).await;
    let paths = cluster.api.paths("/api/v1/namespaces/d/events");
    let mut events: Vec<(String, String, u64)> = paths
        .iter()
        .map(|path| cluster.api.get(path).unwrap())
        .map(|event| {
            assert_eq!(
                event["source"],
                json!({"component": "kubelet", "host": "node-1"})
            );
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            (
                text("type") + " " + &text("reason"),
                text("message"),
                event["count"].as_u64().unwrap(),
            )
        })
        .collect();
    events.sort();
    let events: Vec<(&str, &str, u64)> = events
        .iter()
        .map(|(reason, message, count)| (&**reason, &**message, *count))
        .collect();
    assert_eq!(
        events
            .iter()
            .map(|(reason, _, count)| (*reason, *count))
            .collect::<Vec<_>>(),
        [
            ("Normal Created", 4),
            ("Normal Pulled", 4),
            ("Normal Started", 4),
            ("Warning BackOff", 3),
            ("Warning InvalidSimulation", 1),
        ]
    );
    assert_eq!(
        events[1].1,
        "Container image \"i\" already present on machine"
    );
    let warning = "annotation sim.exeunt.dev/stop-seconds: \"soon\" is ignored: expected a number of seconds such as 2 or 0.5";
    assert_eq!(events[4].1, warning);
}

#[tokio::test(start_paused = true)]
async fn many_pods_on_many_nodes_become_ready() {
    let cluster = AgentTest::new(20).await;
    for number in 0..500 {
        cluster.put(
            &format!("p{number}"),
            &format!("node-{}", number % 20 + 1),
            json!({"sim.exeunt.dev/startup-seconds": "1"}),
        );
    }
    cluster.pass(5.0).await;
    let names = || (0..500).map(|number| format!("p{number}"));
    assert!(names().all(|name| cluster.ready(&name)));
    let addresses: HashSet<String> = names()
        .map(|name| cluster.api.pod(&name).unwrap()["status"]["podIP"].to_string())
        .collect();
    assert_eq!(addresses.len(), 500);
    names().for_each(|name| cluster.delete(&name, 30));
    cluster.pass(5.0).await;
    assert_eq!(cluster.api.paths("/api/v1/namespaces/d/pods").len(), 0);
}
