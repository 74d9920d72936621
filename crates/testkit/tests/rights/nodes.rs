//! Attempts of a node to get at what belongs to other nodes.

use serde_json::{Value, json};
use store::Store;
use testkit::TestCluster;

use crate::{RBAC, World};

const ONE: &str = "system:node:n1";
const TWO: &str = "system:node:n2";
/// In the group of nodes, but no node.
const MEMBER: &str = "eve";
/// Named like a node, but not in the group.
const NAMESAKE: &str = "system:node:n3";
const SHOP: &str = "/api/v1/namespaces/shop";

fn pod(name: &str, node: &str, index: u32) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": node, "serviceAccountName": format!("bot{index}"),
        "containers": [{"name": "c", "image": "i",
            "envFrom": [{"secretRef": {"name": format!("env{index}")}}]}],
        "volumes": [
            {"name": "s", "secret": {"secretName": format!("s{index}")}},
            {"name": "m", "configMap": {"name": format!("m{index}")}},
            {"name": "d", "persistentVolumeClaim": {"claimName": format!("d{index}")}}]}})
}

/// Two nodes with one pod each, which refer to objects with the number of the node.
async fn world() -> World {
    let groups: &[&str] = &["system:nodes", "system:authenticated"];
    let world = World::with(&[
        (ONE, groups),
        (TWO, groups),
        (MEMBER, groups),
        (NAMESAKE, &["system:authenticated"]),
    ])
    .await;
    for index in [1, 2] {
        let named = |prefix: &str| json!({"metadata": {"name": format!("{prefix}{index}")}});
        world.made("/api/v1/nodes", named("n")).await;
        world
            .made(&format!("{SHOP}/serviceaccounts"), named("bot"))
            .await;
        for secret in ["s", "env", "csi", "other"] {
            world.made(&format!("{SHOP}/secrets"), named(secret)).await;
        }
        for map in ["m", "other"] {
            world.made(&format!("{SHOP}/configmaps"), named(map)).await;
        }
        let mut claim = named("d");
        claim["spec"] = json!({"accessModes": ["ReadWriteOnce"], "volumeName": format!("v{index}"),
            "resources": {"requests": {"storage": "1Gi"}}});
        world
            .made(&format!("{SHOP}/persistentvolumeclaims"), claim)
            .await;
        let mut volume = named("v");
        volume["spec"] = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": "shop", "name": format!("d{index}")},
            "csi": {"driver": "d.example.com", "volumeHandle": "h",
                "nodeStageSecretRef": {"namespace": "shop", "name": format!("csi{index}")}}});
        world.made("/api/v1/persistentvolumes", volume).await;
        let on = pod(&format!("p{index}"), &format!("n{index}"), index);
        world.made(&format!("{SHOP}/pods"), on).await;
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_node_reads_what_its_pods_refer_to_and_nothing_else() {
    let world = world().await;
    let own = |text: &str, index: u32| text.replace('#', &index.to_string());
    for line in [
        "GET /api/v1/namespaces/shop/secrets/s#",
        "GET /api/v1/namespaces/shop/secrets/env#",
        "GET /api/v1/namespaces/shop/secrets/csi#",
        "GET /api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3Ds#",
        "GET /api/v1/namespaces/shop/configmaps/m#",
        "GET /api/v1/namespaces/shop/persistentvolumeclaims/d#",
        "GET /api/v1/namespaces/shop/serviceaccounts/bot#",
        "GET /api/v1/namespaces/shop/pods/p#",
        "GET /api/v1/persistentvolumes/v#",
        "GET /api/v1/nodes/n#",
        "GET /api/v1/nodes?fieldSelector=metadata.name%3Dn#",
        "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn#",
    ] {
        let found = world.ask(ONE, &own(line, 1), Value::Null).await;
        assert_eq!(found.0, 200, "{line}: {}", found.1);
        for who in [ONE, MEMBER, NAMESAKE] {
            let found = world.ask(who, &own(line, 2), Value::Null).await;
            assert_eq!(found.0, 403, "{who} {line}");
        }
        for who in [MEMBER, NAMESAKE] {
            let found = world.ask(who, &own(line, 1), Value::Null).await;
            assert_eq!(found.0, 403, "{who} {line}");
        }
    }
    for line in [
        "GET /api/v1/namespaces/shop/secrets",
        "GET /api/v1/secrets",
        "GET /api/v1/secrets?fieldSelector=metadata.name%3Ds1",
        "GET /api/v1/namespaces/shop/secrets/other1",
        "GET /api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%21%3Ds1",
        "GET /api/v1/namespaces/default/secrets/s1",
        "GET /api/v1/namespaces/shop/configmaps",
        "GET /api/v1/namespaces/shop/configmaps/other1",
        "GET /api/v1/namespaces/shop/persistentvolumeclaims",
        "GET /api/v1/persistentvolumes",
        "GET /api/v1/pods",
        "GET /api/v1/pods?fieldSelector=spec.nodeName%21%3Dn1",
        "GET /api/v1/watch/namespaces/shop/pods/p2?fieldSelector=spec.nodeName%3Dn1",
        "GET /api/v1/nodes",
        "GET /api/v1/namespaces/shop/serviceaccounts",
        "GET /apis/apps/v1/deployments",
        "GET /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
    ] {
        let found = world.ask(ONE, line, Value::Null).await;
        assert_eq!(found.0, 403, "{line}: {}", found.1);
    }
    // What every node needs.
    for line in [
        "GET /api/v1/services",
        "GET /apis/storage.k8s.io/v1/csidrivers",
        "GET /apis/node.k8s.io/v1/runtimeclasses",
        "GET /api",
    ] {
        let found = world.ask(ONE, line, Value::Null).await;
        assert_eq!(found.0, 200, "{line}: {}", found.1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_writes_its_own_objects_only() {
    let world = world().await;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    let csi = |name: &str| json!({"metadata": {"name": name}, "spec": {"drivers": []}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let other_leases = "/apis/coordination.k8s.io/v1/namespaces/shop/leases";
    let csi_nodes = "/apis/storage.k8s.io/v1/csinodes";
    world
        .ask(
            "",
            "POST /api/v1/namespaces",
            json!({"metadata": {"name": "kube-node-lease"}}),
        )
        .await;
    for (line, body, own, other) in [
        ("PATCH /api/v1/nodes/#/status", ready.clone(), 200, 403),
        (
            "PATCH /api/v1/nodes/#",
            json!({"metadata": {"annotations": {"a": "b"}}}),
            200,
            403,
        ),
        (
            "PATCH /api/v1/nodes/#",
            json!({"metadata": {"labels": {"a": "b"}}}),
            200,
            403,
        ),
        ("DELETE /api/v1/nodes/#", Value::Null, 403, 403),
        ("POST LEASES", Value::Null, 201, 403),
        (
            "PATCH LEASES/#",
            json!({"spec": {"leaseDurationSeconds": 40}}),
            200,
            403,
        ),
        ("DELETE LEASES/#", Value::Null, 200, 403),
        ("POST OTHER", Value::Null, 403, 403),
        ("POST CSI", Value::Null, 201, 403),
        ("DELETE CSI/#", Value::Null, 200, 403),
        (
            "PATCH /api/v1/namespaces/shop/pods/p#/status",
            ready,
            200,
            403,
        ),
        (
            "PATCH /api/v1/namespaces/shop/pods/p#",
            json!({"metadata": {"labels": {"a": "b"}}}),
            403,
            403,
        ),
        (
            "POST /api/v1/namespaces/shop/pods/p#/eviction?dryRun=All",
            json!({}),
            201,
            403,
        ),
        (
            "DELETE /api/v1/namespaces/shop/pods/p#",
            Value::Null,
            200,
            403,
        ),
        ("DELETE /api/v1/namespaces/shop/pods", Value::Null, 403, 403),
        (
            "PATCH /api/v1/namespaces/shop/secrets/s#",
            json!({"data": {}}),
            403,
            403,
        ),
    ] {
        for (node, code) in [("n2", other), ("n1", own)] {
            let is_pod = line.contains("pods/");
            let path = line
                .replace("LEASES", leases)
                .replace("OTHER", other_leases)
                .replace("CSI", csi_nodes)
                .replace(
                    '#',
                    if is_pod || line.contains("secrets") {
                        &node[1..]
                    } else {
                        node
                    },
                );
            let body = match line {
                "POST LEASES" | "POST OTHER" => lease(node),
                "POST CSI" => csi(node),
                _ if path.contains("/eviction") => json!({"apiVersion": "policy/v1",
                    "kind": "Eviction", "metadata": {"name": format!("p{}", &node[1..])}}),
                _ => body.clone(),
            };
            let answer = world.ask(ONE, &path, body).await;
            assert_eq!(answer.0, code, "{path}: {}", answer.1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_does_not_steer_workloads_to_itself() {
    let world = world().await;
    let path = "/api/v1/nodes/n1";
    for (line, body, refusal) in [
        (
            "PATCH",
            json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
            "nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify taints",
        ),
        (
            "PATCH",
            json!({"metadata": {"labels": {"node-restriction.kubernetes.io/team": "a"}}}),
            "is not allowed to modify labels: node-restriction.kubernetes.io/team",
        ),
        (
            "PATCH",
            json!({"metadata": {"labels": {"x.node-restriction.kubernetes.io/team": "a",
                "node-role.kubernetes.io/control-plane": "", "example.com/own": "b"}}}),
            "is not allowed to modify labels: node-role.kubernetes.io/control-plane, \
             x.node-restriction.kubernetes.io/team",
        ),
        (
            "PATCH",
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap",
                "name": "m", "uid": "u"}]}}),
            "node \"n1\" is not allowed to modify ownerReferences",
        ),
    ] {
        for path in [path.to_owned(), format!("{path}/status")] {
            // A write of the status takes metadata too.
            if path.ends_with("status") && body.get("spec").is_some() {
                continue;
            }
            let answer = world
                .ask(ONE, &format!("{line} {path}"), body.clone())
                .await;
            World::check(&answer, 403, refusal);
        }
    }
    // The labels that an agent reports.
    let labels = json!({"metadata": {"labels": {"kubernetes.io/hostname": "n1",
        "topology.kubernetes.io/zone": "a", "node.kubernetes.io/x": "y",
        "a.kubelet.kubernetes.io/x": "y", "example.com/x": "y"}}});
    let answer = world
        .ask(ONE, &format!("PATCH {path}"), labels.clone())
        .await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    // Registration.
    world.ask("", "DELETE /api/v1/nodes/n1", Value::Null).await;
    let mut node = labels;
    node["metadata"]["name"] = "n1".into();
    node["spec"] = json!({"taints": [{"key": "a", "effect": "NoSchedule"}]});
    let mut marked = node.clone();
    marked["metadata"]["labels"]["node-role.kubernetes.io/worker"] = "".into();
    let answer = world.ask(ONE, "POST /api/v1/nodes", marked).await;
    World::check(
        &answer,
        403,
        "node \"n1\" is not allowed to set the following labels: node-role.kubernetes.io/worker",
    );
    let answer = world.ask(ONE, "POST /api/v1/nodes", node.clone()).await;
    assert_eq!(answer.0, 201, "{}", answer.1);
    node["metadata"]["name"] = "n9".into();
    let answer = world.ask(ONE, "POST /api/v1/nodes", node).await;
    World::check(
        &answer,
        403,
        "node \"n1\" is not allowed to modify node \"n9\"",
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_gets_tokens_for_its_own_pods_only() {
    let world = world().await;
    let uid = async |pod: &str| {
        let line = format!("GET {SHOP}/pods/{pod}");
        let (_, found) = world.ask("", &line, Value::Null).await;
        found["metadata"]["uid"].as_str().expect("a uid").to_owned()
    };
    let (one, two) = (uid("p1").await, uid("p2").await);
    let request = |pod: &str, uid: &str, audiences: &[&str]| {
        json!({"spec": {"audiences": audiences, "boundObjectRef":
            {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}}})
    };
    for (account, body, refusal) in [
        ("bot1", request("p1", &one, &[]), ""),
        (
            "bot1",
            json!({"spec": {}}),
            "node requested token not bound to a pod",
        ),
        (
            "bot1",
            json!({"spec": {"boundObjectRef":
                {"apiVersion": "v1", "kind": "Secret", "name": "s1"}}}),
            "node requested token not bound to a pod",
        ),
        (
            "bot1",
            request("p1", "", &[]),
            "node requested token with a pod binding without a uid",
        ),
        (
            "bot1",
            request("p1", &two, &[]),
            "does not match the UID in record",
        ),
        (
            "bot1",
            request("p2", &two, &[]),
            "node requested token bound to a pod scheduled on a different node",
        ),
        (
            "bot1",
            request("p1", &one, &["vault"]),
            "audience \"vault\" not found in pod spec volume",
        ),
        (
            "bot2",
            request("p2", &two, &[]),
            "cannot create resource \"serviceaccounts/token\"",
        ),
        (
            "bot2",
            request("p1", &one, &[]),
            "cannot create resource \"serviceaccounts/token\"",
        ),
    ] {
        let line = format!("POST {SHOP}/serviceaccounts/{account}/token");
        let answer = world.ask(ONE, &line, body.clone()).await;
        if refusal.is_empty() {
            assert_eq!(answer.0, 201, "{}", answer.1);
            continue;
        }
        World::check(&answer, 403, refusal);
    }
    for who in [MEMBER, NAMESAKE, TWO] {
        let line = format!("POST {SHOP}/serviceaccounts/bot1/token");
        let answer = world.ask(who, &line, request("p1", &one, &[])).await;
        assert_eq!(answer.0, 403, "{who}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_creates_mirror_pods_that_refer_to_nothing() {
    let world = world().await;
    let (_, node) = world.ask("", "GET /api/v1/nodes/n1", Value::Null).await;
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n1",
        "uid": node["metadata"]["uid"], "controller": true});
    let mirror = json!({"metadata": {"name": "static-n1", "ownerReferences": [owner],
        "annotations": {"kubernetes.io/config.mirror": "x",
            "kubernetes.io/config.hash": "x", "kubernetes.io/config.source": "file"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
    let changed = |pointer: &str, value: Value| {
        let mut pod = mirror.clone();
        let (parent, member) = pointer.rsplit_once('/').expect("a pointer");
        pod.pointer_mut(parent).expect("a parent")[member] = value;
        pod
    };
    let secret = json!([{"name": "s", "secret": {"secretName": "s2"}}]);
    let map = json!([{"name": "s", "configMap": {"name": "m2"}}]);
    let claim = json!([{"name": "s", "persistentVolumeClaim": {"claimName": "d2"}}]);
    let line = format!("POST {SHOP}/pods");
    for (pod, refusal) in [
        (
            changed("/metadata/annotations", json!({})),
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only \
             create mirror pods",
        ),
        (
            changed("/spec/nodeName", "n2".into()),
            "node \"n1\" can only create pods with spec.nodeName set to itself",
        ),
        (
            changed("/metadata/ownerReferences", json!([])),
            "node \"n1\" can only create pods with an owner reference set to itself",
        ),
        (
            changed("/spec/serviceAccountName", "bot2".into()),
            "that reference a service account",
        ),
        (
            changed("/spec/serviceAccount", "bot2".into()),
            "that reference a service account",
        ),
        (changed("/spec/volumes", secret), "that reference secrets"),
        (changed("/spec/volumes", map), "that reference configmaps"),
        (
            changed("/spec/volumes", claim),
            "that reference persistentvolumeclaims",
        ),
        (
            changed("/spec/imagePullSecrets", json!([{"name": "s2"}])),
            "that reference secrets",
        ),
    ] {
        let answer = world.ask(ONE, &line, pod).await;
        World::check(&answer, 403, refusal);
    }
    let answer = world.ask(ONE, &line, mirror.clone()).await;
    assert_eq!(answer.0, 201, "{}", answer.1);
    let path = format!("DELETE {SHOP}/pods/static-n1");
    let answer = world.ask(TWO, &path, Value::Null).await;
    World::check(
        &answer,
        403,
        "node \"n2\" can only delete pods with spec.nodeName set to itself",
    );
    // A mirror pod of somebody else gives its node nothing.
    let mut other = mirror;
    other["metadata"]["name"] = "other-n1".into();
    other["spec"]["volumes"] = json!([{"name": "m", "configMap": {"name": "other1"}}]);
    world.made(&format!("{SHOP}/pods"), other).await;
    let line = format!("GET {SHOP}/configmaps/other1");
    assert_eq!(world.ask(ONE, &line, Value::Null).await.0, 403);
}

#[tokio::test(start_paused = true)]
async fn nodes_ask_for_certificates_in_their_own_name() {
    let world = world().await;
    let csrs = "POST /apis/certificates.k8s.io/v1/certificatesigningrequests";
    let pem = include_str!("request-node.pem");
    let request = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(pem)
    };
    let csr = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"request": request,
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "usages": ["client auth", "digital signature"]}})
    };
    let answer = world.ask(ONE, csrs, csr("a")).await;
    assert_eq!(answer.0, 201, "{}", answer.1);
    let answer = world.ask(TWO, csrs, csr("b")).await;
    World::check(
        &answer,
        403,
        "can only create a node CSR with CN=system:node:n2",
    );
    let approval = "PATCH /apis/certificates.k8s.io/v1/certificatesigningrequests/a/approval";
    let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
    assert_eq!(world.ask(ONE, approval, approved).await.0, 403);
}

#[tokio::test(start_paused = true)]
async fn the_group_of_nodes_is_bound_to_nothing_in_old_stores_too() {
    let store = Store::open_memory();
    let path = format!("{RBAC}/clusterrolebindings/system:node");
    let start = async || {
        let cluster = TestCluster::builder()
            .without_controllers()
            .store(store.clone())
            .start()
            .await
            .expect("the cluster starts");
        World { cluster }
    };
    let world = start().await;
    let subject = |name: &str| {
        json!({"kind": "Group", "name": name,
            "apiGroup": "rbac.authorization.k8s.io"})
    };
    let subjects = json!({"subjects": [subject("system:nodes"), subject("mine")]});
    let answer = world
        .ask("", &format!("PATCH {path}"), subjects.clone())
        .await;
    assert_eq!(answer.0, 200);
    drop(world);
    let world = start().await;
    let (_, binding) = world.ask("", &format!("GET {path}"), Value::Null).await;
    assert_eq!(binding["subjects"], json!([subject("mine")]));
    // An administrator who takes the binding over decides himself.
    let mut own = subjects;
    own["metadata"] = json!({"annotations":
        {"rbac.authorization.kubernetes.io/autoupdate": "false"}});
    world.ask("", &format!("PATCH {path}"), own).await;
    drop(world);
    let world = start().await;
    let (_, binding) = world.ask("", &format!("GET {path}"), Value::Null).await;
    assert_eq!(binding["subjects"].as_array().map(Vec::len), Some(2));
}
