//! The output of `get` and `describe` for every common kind.

use super::{APPLICATION, server};

/// Objects of the kinds that users list, besides those that the cluster creates itself.
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
fn every_common_kind_is_listed_and_described() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = server(directory.path()) else {
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
    // The kind, a column of `get`, and a line of `describe`.
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
        ("persistentvolumeclaims", "STORAGECLASS", "StorageClass:"),
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
