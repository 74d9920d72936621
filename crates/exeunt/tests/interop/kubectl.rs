//! What people do with a present kubectl beyond the drain that `tests/cli` follows.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::support::{Server, has, shown};

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

/// A server with two nodes; none when there is no kubectl.
fn server(folder: &std::path::Path) -> Option<Server> {
    has("kubectl").then(|| Server::start(folder, &["--nodes", "2"]))
}

#[test]
fn what_is_served_is_listed_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = server(folder.path()) else {
        return;
    };
    let names = server.run(&[
        "api-resources",
        "-o",
        "name",
        "--verbs=list",
        "--namespaced",
    ]);
    assert!(
        names.contains("poddisruptionbudgets.policy\n") && !names.contains("nodes"),
        "{names}"
    );
    let wide = server.run(&[
        "api-resources",
        "--api-group=policy",
        "-o",
        "wide",
        "--no-headers",
    ]);
    assert!(
        wide.contains("pdb")
            && wide.contains("PodDisruptionBudget")
            && wide.contains("deletecollection"),
        "{wide}"
    );
    assert!(server.run(&["api-versions"]).contains("\npolicy/v1\n"));
    assert!(server.run(&["version"]).contains("Server Version: v1.36"));
    assert!(server.run(&["cluster-info"]).contains("is running at"));
    assert!(
        server
            .run(&["get", "--raw", "/readyz?verbose"])
            .contains("readyz check passed")
    );

    let text = server.run(&["explain", "pods.spec.containers.lifecycle", "--recursive"]);
    assert!(text.contains("preStop\t<LifecycleHandler>"), "{text}");
    // The older document, which kubectl asks for as protobuf.
    let text = server.run(&[
        "explain",
        "deployment.spec.strategy",
        "--output=plaintext-openapiv2",
    ]);
    assert!(
        text.contains("RESOURCE: strategy <Object>") && text.contains("rollingUpdate\t<Object>"),
        "{text}"
    );
}

#[test]
fn manifests_are_applied_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = server(folder.path()) else {
        return;
    };
    let more = APPLICATION.replace("replicas: 2", "replicas: 3");

    let new = server.fed(&["diff", "-f", "-"], APPLICATION);
    assert_eq!(new.status.code(), Some(1), "{}", shown(&new));
    server.feed(&["apply", "-f", "-"], APPLICATION);
    assert_eq!(server.feed(&["diff", "-f", "-"], APPLICATION), "");
    let changed = server.fed(&["diff", "-f", "-"], &more);
    let text = String::from_utf8_lossy(&changed.stdout);
    assert!(
        changed.status.code() == Some(1) && text.contains("-  replicas: 2\n+  replicas: 3\n"),
        "{}",
        shown(&changed)
    );

    // Who applied on the client goes over to the server without a conflict.
    let applied = server.feed(&["apply", "--server-side", "-f", "-"], APPLICATION);
    assert_eq!(
        applied,
        "deployment.apps/web serverside-applied\npoddisruptionbudget.policy/web serverside-applied\n"
    );
    server.run(&["scale", "deployment/web", "--replicas=1"]);
    let conflict = server.refused_with(&["apply", "--server-side", "-f", "-"], &more);
    assert!(
        conflict.contains("conflict with \"kubectl\"") && conflict.contains(".spec.replicas"),
        "{conflict}"
    );
    server.feed(
        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        &more,
    );
    assert_eq!(
        server.run(&[
            "get",
            "deployment",
            "web",
            "-o",
            "jsonpath={.spec.replicas}"
        ]),
        "3"
    );

    let unknown = more.replace("replicas", "replcas");
    let refused = server.refused_with(&["apply", "-f", "-"], &unknown);
    assert!(
        refused.contains("strict decoding error: unknown field \"spec.replcas\""),
        "{refused}"
    );
    let old = APPLICATION.replace("policy/v1", "policy/v1beta1");
    let refused = server.refused_with(&["apply", "-f", "-"], &old);
    assert!(
        refused
            .contains("no matches for kind \"PodDisruptionBudget\" in version \"policy/v1beta1\""),
        "{refused}"
    );
    assert_eq!(
        server.feed(&["apply", "--dry-run=server", "-f", "-"], &more),
        server.feed(&["apply", "--dry-run=server", "-f", "-"], &more)
    );
    assert!(
        server
            .feed(&["replace", "--force", "-f", "-"], APPLICATION)
            .contains("deployment.apps/web replaced")
    );
}

#[test]
fn objects_are_changed_in_every_way() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = server(folder.path()) else {
        return;
    };
    server.feed(&["apply", "-f", "-"], APPLICATION);
    let web = "deployment/web";
    let patched =
        |kind: &str, patch: &str| server.run(&["patch", web, "--type", kind, "-p", patch]);
    patched(
        "strategic",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"d","image":"redis"}]}}}}"#,
    );
    patched("merge", r#"{"metadata":{"labels":{"a":"b","c":null}}}"#);
    patched(
        "json",
        r#"[{"op":"test","path":"/metadata/labels/a","value":"b"},{"op":"add","path":"/metadata/labels/x","value":"y"}]"#,
    );
    let labels =
        server.run(&["get", web, "-o", "jsonpath={.metadata.labels.a}{.metadata.labels.x} {.spec.template.spec.containers[*].name}"]);
    assert_eq!(
        labels, "by d c",
        "what a strategic merge patch adds to a list comes first"
    );
    server.run(&[
        "patch",
        web,
        "--subresource=scale",
        "--type=merge",
        "-p",
        r#"{"spec":{"replicas":1}}"#,
    ]);
    let refused = server.refused(&["scale", web, "--replicas=3", "--current-replicas=2"]);
    assert!(
        refused.contains("Expected replicas to be 2, was 1"),
        "{refused}"
    );
    server.run(&["scale", web, "--replicas=3", "--current-replicas=1"]);
    let scale = server.run(&["get", web, "--subresource=scale"]);
    assert!(
        scale.starts_with("NAME   DESIRED   AVAILABLE   AGE\nweb    3 "),
        "{scale}"
    );

    assert!(
        server
            .refused(&["label", web, "a=z"])
            .contains("already has a value (b), and --overwrite is false")
    );
    assert_eq!(
        server.run(&["label", web, "a=z", "--overwrite"]),
        "deployment.apps/web labeled\n"
    );
    assert_eq!(
        server.run(&["label", web, "a-"]),
        "deployment.apps/web unlabeled\n"
    );
    assert_eq!(
        server.run(&["annotate", web, "k=v"]),
        "deployment.apps/web annotated\n"
    );
    server.run(&["set", "image", web, "c=nginx:2"]);
    server.run(&["set", "env", web, "A=B"]);
    server.run(&["set", "resources", web, "--limits=cpu=200m"]);
    let first = server.run(&[
        "get",
        web,
        "-o",
        "jsonpath={.spec.template.spec.containers[0].env[0].name} {..limits.cpu}",
    ]);
    assert_eq!(first, "A 200m 200m");
    let edited = server
        .kubectl(&["edit", web])
        .env("KUBE_EDITOR", "sed -i s/nginx:2/nginx:3/")
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&edited.stdout).contains("deployment.apps/web edited"),
        "{}",
        shown(&edited)
    );
    assert_eq!(
        server.run(&[
            "get",
            web,
            "-o",
            "go-template={{(index .spec.template.spec.containers 1).image}}"
        ]),
        "nginx:3"
    );
    assert_eq!(
        server.run(&[
            "get",
            web,
            "-o",
            "custom-columns=N:.metadata.name,R:.spec.replicas"
        ]),
        "N     R\nweb   3\n"
    );
}

#[test]
fn rollouts_are_followed_paused_and_undone() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = server(folder.path()) else {
        return;
    };
    server.feed(&["apply", "-f", "-"], APPLICATION);
    let web = "deployment/web";
    let follow = || {
        let text = server.run(&["rollout", "status", web, "--timeout=60s"]);
        assert!(
            text.ends_with("deployment \"web\" successfully rolled out\n"),
            "{text}"
        );
    };
    follow();
    server.run(&["set", "image", web, "c=nginx:2"]);
    server.run(&["annotate", web, "kubernetes.io/change-cause=second"]);
    follow();
    let history = server.run(&["rollout", "history", web]);
    assert!(
        history.contains("1         <none>") && history.contains("2         second"),
        "{history}"
    );
    assert!(
        server
            .run(&["rollout", "history", web, "--revision=2"])
            .contains("Image:\tnginx:2")
    );
    server.run(&["rollout", "pause", web]);
    assert!(
        server
            .refused(&["rollout", "restart", web])
            .contains("can't restart paused deployment")
    );
    server.run(&["rollout", "resume", web]);
    server.run(&["rollout", "restart", web]);
    follow();
    assert_eq!(
        server.run(&["rollout", "undo", web, "--to-revision=1"]),
        "deployment.apps/web rolled back\n"
    );
    follow();
    assert_eq!(
        server.run(&["get", web, "-o", "jsonpath={..image}"]),
        "nginx:1"
    );
}

#[test]
fn waits_and_watches_end_when_it_happens() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = server(folder.path()) else {
        return;
    };
    // A pod that nobody runs shows when the watch has begun.
    server.run(&[
        "run",
        "zero",
        "--image=nginx",
        r#"--overrides={"spec":{"nodeName":"nowhere"}}"#,
    ]);
    let mut watch = server.kubectl(&["get", "pods", "-w", "--output-watch-events", "--no-headers"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("kubectl runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("ADDED") && line.contains("zero"))
    );

    let wait = |what: &str, object: &str| {
        server
            .kubectl(&["wait", "--for", what, object, "--timeout=60s"])
            .output()
            .unwrap()
    };
    std::thread::scope(|scope| {
        let created = scope.spawn(|| wait("create", "pod/one"));
        server.run(&[
            "run",
            "one",
            "--image=nginx",
            "--restart=Never",
            "--labels=a=b",
        ]);
        assert!(created.join().unwrap().status.success());
    });
    assert!(wait("condition=Ready", "pod/one").status.success());
    assert!(
        wait("jsonpath={.status.phase}=Running", "pod/one")
            .status
            .success()
    );
    assert!(server.run(&["logs", "one"]).contains("nginx"));
    assert!(
        server
            .run(&["events", "--for", "pod/one"])
            .contains("Scheduled")
    );
    std::thread::scope(|scope| {
        let deleted = scope.spawn(|| wait("delete", "pod/one"));
        server.run(&["delete", "pod", "one", "--now"]);
        assert!(deleted.join().unwrap().status.success());
    });
    assert!(
        server
            .refused(&["wait", "--for=condition=Ready", "pod/one"])
            .contains("pods \"one\" not found")
    );

    let seen: Vec<String> = std::iter::from_fn(|| lines.next())
        .take_while(|line| !line.starts_with("DELETED"))
        .collect();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(
        seen[0].starts_with("ADDED") && seen[0].contains("0/1"),
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .any(|line| line.contains("1/1") && line.contains("Running")),
        "{seen:?}"
    );
    assert!(
        seen.iter().any(|line| line.contains("Terminating")),
        "{seen:?}"
    );
}

#[test]
fn nodes_are_tainted_cordoned_and_drained_with_care() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = server(folder.path()) else {
        return;
    };
    let node = server.run(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let node = node.as_str();
    assert_eq!(
        server.run(&["taint", "node", node, "k=v:NoSchedule"]),
        format!("node/{node} tainted\n")
    );
    assert!(
        server
            .refused(&["taint", "node", node, "k=w:NoSchedule"])
            .contains("already has k taint(s) with same effect(s)")
    );
    assert_eq!(
        server.run(&["taint", "node", node, "k-"]),
        format!("node/{node} untainted\n")
    );
    assert_eq!(
        server.run(&["cordon", node]),
        format!("node/{node} cordoned\n")
    );
    assert_eq!(
        server.run(&["cordon", node]),
        format!("node/{node} already cordoned\n")
    );
    assert!(
        server
            .run(&["get", "node", node])
            .contains("Ready,SchedulingDisabled")
    );

    // Each kind of pod that a drain will not touch by itself.
    let pod = |name: &str, volume: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"nodeName":"{node}","terminationGracePeriodSeconds":1,"containers":[{{"name":"c","image":"i"}}]{volume}}}}}"#
        )
    };
    server.feed(&["create", "-f", "-"], &pod("bare", ""));
    let refused = server.refused(&["drain", node]);
    assert!(
        refused.contains(
            "cannot delete Pods that declare no controller (use --force to override): default/bare"
        ),
        "{refused}"
    );
    let dry = server.run(&["drain", node, "--force", "--dry-run=server"]);
    assert!(dry.contains("default/bare (server dry run)"), "{dry}");
    assert!(
        server
            .run(&[
                "get",
                "pod",
                "bare",
                "-o",
                "jsonpath={.metadata.deletionTimestamp}"
            ])
            .is_empty()
    );
    server.feed(
        &["create", "-f", "-"],
        &pod("scratch", r#","volumes":[{"name":"v","emptyDir":{}}]"#),
    );
    let refused = server.refused(&["drain", node, "--force"]);
    assert!(
        refused.contains("cannot delete Pods with local storage (use --delete-emptydir-data to override): default/scratch"),
        "{refused}"
    );
    let daemons = r#"{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"ds"},"spec":{"selector":{"matchLabels":{"d":"s"}},"template":{"metadata":{"labels":{"d":"s"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#;
    server.feed(&["create", "-f", "-"], daemons);
    server.until(
        &["get", "ds", "ds", "-o", "jsonpath={.status.numberReady}"],
        |text| text == "2",
    );
    let refused = server.refused(&["drain", node, "--force", "--delete-emptydir-data"]);
    assert!(
        refused.contains(
            "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): default/ds-"
        ),
        "{refused}"
    );
    let drained = server.run(&[
        "drain",
        node,
        "--force",
        "--delete-emptydir-data",
        "--ignore-daemonsets",
        "--timeout=60s",
    ]);
    assert!(
        drained.contains("pod/bare evicted\n") && drained.contains("pod/scratch evicted\n"),
        "{drained}"
    );
    assert_eq!(
        server
            .run(&["get", "pods", "-l", "d=s", "-o", "name"])
            .lines()
            .count(),
        2,
        "daemons stay"
    );
    assert_eq!(
        server.run(&["uncordon", node]),
        format!("node/{node} uncordoned\n")
    );
}

#[test]
fn deletions_cascade_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = server(folder.path()) else {
        return;
    };
    server.feed(&["apply", "-f", "-"], APPLICATION);
    server.until(
        &[
            "get",
            "deployment",
            "web",
            "-o",
            "jsonpath={.status.readyReplicas}",
        ],
        |text| text == "2",
    );
    assert!(
        server
            .run(&["delete", "pdb", "web", "--dry-run=server"])
            .contains("(server dry run)")
    );

    assert_eq!(
        server.run(&["delete", "deployment", "web", "--cascade=orphan"]),
        "deployment.apps \"web\" deleted\n"
    );
    assert_eq!(
        server.run(&[
            "get",
            "replicasets",
            "-o",
            "jsonpath={.items[*].metadata.ownerReferences}"
        ]),
        "",
        "its replica set is an orphan"
    );
    server.run(&[
        "delete",
        "replicaset",
        "-l",
        "app=web",
        "--cascade=foreground",
    ]);
    assert_eq!(
        server.run(&["get", "pods", "-o", "name"]),
        "",
        "a deletion in the foreground waits for the pods"
    );
    server.feed(&["apply", "-f", "-"], APPLICATION);
    server.run(&["delete", "deployment", "web", "--cascade=background"]);
    server.until(&["get", "pods,replicasets", "-o", "name"], str::is_empty);

    server.run(&[
        "run",
        "slow",
        "--image=nginx",
        "--annotations=sim.exeunt.dev/ignore-sigterm=true",
    ]);
    server.run(&["wait", "--for=condition=Ready", "pod/slow", "--timeout=60s"]);
    server.run(&["delete", "pod", "slow", "--wait=false"]);
    assert!(server.run(&["get", "pod", "slow"]).contains("Terminating"));
    server.run(&["delete", "pod", "slow", "--grace-period=0", "--force"]);
    assert_eq!(server.run(&["get", "pods", "-o", "name"]), "");

    server.run(&["create", "namespace", "brief"]);
    server.run(&["create", "configmap", "inside", "-n", "brief"]);
    assert_eq!(
        server.run(&["delete", "namespace", "brief", "--timeout=60s"]),
        "namespace \"brief\" deleted\n"
    );
    assert!(
        server
            .refused(&["get", "configmaps", "inside", "-n", "brief"])
            .contains("not found")
    );
}

#[test]
fn rights_are_asked_for_and_tokens_made() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = server(folder.path()) else {
        return;
    };
    server.run(&["create", "serviceaccount", "robot"]);
    server.run(&[
        "create",
        "role",
        "evictor",
        "--verb=create",
        "--resource=pods/eviction",
    ]);
    server.run(&[
        "create",
        "rolebinding",
        "evictor",
        "--role=evictor",
        "--serviceaccount=default:robot",
    ]);
    let robot = "--as=system:serviceaccount:default:robot";
    let can = |what: &[&str]| {
        let output = server
            .kubectl(&[&["auth", "can-i", robot], what].concat())
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    assert_eq!(
        can(&["create", "pods", "--subresource=eviction"]),
        (true, "yes".to_owned())
    );
    assert_eq!(can(&["delete", "pods"]), (false, "no".to_owned()));
    let rules = server.run(&["auth", "can-i", "--list", robot]);
    assert!(
        rules
            .lines()
            .any(|line| line.starts_with("pods/eviction ") && line.ends_with("[create]")),
        "{rules}"
    );
    let refused = server.refused(&["get", "secrets", robot]);
    assert!(refused.contains(r#"User "system:serviceaccount:default:robot" cannot list resource "secrets" in API group """#), "{refused}");
    assert!(server.run(&["auth", "whoami"]).contains("system:masters"));

    // A token speaks for the account, where no certificate speaks first.
    let token = server.run(&["create", "token", "robot", "--duration=10m"]);
    let mut command = server.kubectl(&[
        "auth",
        "whoami",
        "--insecure-skip-tls-verify",
        "--server",
        &server.url,
        "--token",
        &token,
    ]);
    let output = command.env("KUBECONFIG", "/dev/null").output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("system:serviceaccount:default:robot"),
        "{}",
        shown(&output)
    );
}

/// Objects of the kinds that people look at, beside those that the cluster makes itself.
const EVERYTHING: &str = r#"# Without this line kubectl would take the braces for JSON.
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: s}, spec: {serviceName: s, selector: {matchLabels: {a: s}}, template: {metadata: {labels: {a: s}}, spec: {containers: [{name: c, image: i}]}}}}
---
{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: d}, spec: {selector: {matchLabels: {a: d}}, template: {metadata: {labels: {a: d}}, spec: {containers: [{name: c, image: i}]}}}}
---
{apiVersion: v1, kind: ReplicationController, metadata: {name: r}, spec: {template: {metadata: {labels: {a: r}}, spec: {containers: [{name: c, image: i}]}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: j}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: c}, spec: {schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: w}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, spec: {rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: w, port: {number: 80}}}}]}}]}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: np}, spec: {podSelector: {}, ingress: [{}]}}
---
{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: h}, spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: v}}
---
{apiVersion: v1, kind: LimitRange, metadata: {name: l}, spec: {limits: [{type: Container, max: {cpu: "2"}}]}}
---
{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {pods: "10"}}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: p}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
---
{apiVersion: v1, kind: PersistentVolume, metadata: {name: p}, spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /x}}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: s}, provisioner: none}
---
{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: l}, spec: {holderIdentity: me}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r}, rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: r}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}, subjects: [{kind: User, name: u, apiGroup: rbac.authorization.k8s.io}]}
"#;

#[test]
fn every_common_kind_is_shown_and_described() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = server(folder.path()) else {
        return;
    };
    server.feed(&["apply", "-f", "-"], APPLICATION);
    server.feed(&["apply", "-f", "-"], EVERYTHING);
    server.run(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    server.run(&["wait", "--for=condition=Complete", "job/j", "--timeout=60s"]);

    let all = server.run(&["get", "all"]);
    for prefix in [
        "pod/web-",
        "replicationcontroller/r ",
        "service/w ",
        "daemonset.apps/d ",
        "deployment.apps/web ",
        "replicaset.apps/web-",
    ]
    .into_iter()
    .chain([
        "statefulset.apps/s ",
        "horizontalpodautoscaler.autoscaling/h ",
        "cronjob.batch/c ",
        "job.batch/j ",
    ]) {
        assert!(
            all.lines().any(|line| line.starts_with(prefix)),
            "no {prefix:?} in {all}"
        );
    }
    // The kind, a column that `get` shows for it, and a line of its description.
    for (kind, column, line) in [
        ("pods", "RESTARTS", "Controlled By:  "),
        ("nodes", "VERSION", "Allocated resources:"),
        ("deployments", "UP-TO-DATE", "NewReplicaSet:   web-"),
        ("replicasets", "DESIRED", "Controlled By:  Deployment/web"),
        ("statefulsets", "READY", "Pods Status:"),
        (
            "daemonsets",
            "NODE SELECTOR",
            "Desired Number of Nodes Scheduled: 2",
        ),
        (
            "replicationcontrollers",
            "DESIRED",
            "Replicas:     1 current / 1 desired",
        ),
        ("jobs", "COMPLETIONS", "Pods Statuses:"),
        (
            "cronjobs",
            "LAST SCHEDULE",
            "Schedule:                      0 0 1 1 *",
        ),
        ("services", "CLUSTER-IP", "Endpoints:"),
        ("endpointslices", "ADDRESSTYPE", "AddressType:  IPv4"),
        ("ingresses", "HOSTS", "w:80"),
        (
            "networkpolicies",
            "POD-SELECTOR",
            "Allowing ingress traffic:",
        ),
        (
            "poddisruptionbudgets",
            "ALLOWED DISRUPTIONS",
            "Allowed disruptions:",
        ),
        ("horizontalpodautoscalers", "MINPODS", "Max replicas:"),
        ("configmaps", "DATA", "ca.crt:"),
        ("secrets", "TYPE", "k:  1 bytes"),
        ("serviceaccounts", "SECRETS", "Image pull secrets:  <none>"),
        ("roles", "CREATED AT", "PolicyRule:"),
        ("rolebindings", "ROLE", "User  u"),
        ("resourcequotas", "REQUEST", "Resource"),
        ("limitranges", "CREATED AT", "Container   cpu"),
        (
            "persistentvolumeclaims",
            "STORAGECLASS",
            "Status:        Pending",
        ),
        ("persistentvolumes", "RECLAIM POLICY", "Source:"),
        (
            "storageclasses",
            "PROVISIONER",
            "VolumeBindingMode:     Immediate",
        ),
        (
            "priorityclasses",
            "GLOBAL-DEFAULT",
            "system-cluster-critical",
        ),
        ("leases", "HOLDER", "Holder Identity:  me"),
        ("namespaces", "STATUS", "Status:       Active"),
        ("events", "LAST SEEN", "Involved Object:"),
    ] {
        let shown = server.run(&["get", kind]);
        assert!(
            shown
                .lines()
                .next()
                .is_some_and(|header| header.contains(column)),
            "get {kind}: {shown}"
        );
        let described = server.run(&["describe", kind]);
        assert!(described.contains(line), "describe {kind}: {described}");
    }
}
