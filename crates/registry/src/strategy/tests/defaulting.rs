//! The table of all defaulting functions, and tables of faults and warnings by kind.

use kinds::Tree;

use super::*;
use crate::tree::{list, text};

/// Returns the rows of the table.
fn rows() -> Tree {
    let table = include_str!("../defaults/table.yaml");
    kinds::yaml::decode_untyped(table.as_bytes())
        .expect("a table")
        .tree
}

/// Removes members that are null: the codec writes them, and their absence means the same.
fn without_nulls(tree: &Tree) -> Tree {
    match tree {
        Tree::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect::<kinds::tree::Map>()
            .into(),
        Tree::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

#[test]
fn objects_get_the_defaults_of_the_table() {
    let mut wrong = Vec::new();
    let rows = rows();
    let rows = rows.as_array().expect("rows");
    for row in rows.iter() {
        let (function, resource) = (text(row, &["function"]), text(row, &["kind"]));
        if !text(row, &["absent"]).is_empty() {
            continue;
        }
        let made = made(resource, &at(row, &["given"]).to_string(), ON);
        let found = list(row, &["path"]).iter().fold(&made, |here, step| {
            let next = match step.as_str() {
                Some(name) => here.get(name),
                None => here
                    .as_array()
                    .zip(step.as_u64().and_then(|step| usize::try_from(step).ok()))
                    .and_then(|(items, step)| items.get(step)),
            };
            next.unwrap_or(&Tree::Null)
        });
        let (found, expected) = (without_nulls(found), without_nulls(at(row, &["expect"])));
        if found != expected {
            wrong.push(format!("{function} {resource}: {expected} but {found}"));
        }
    }
    assert!(rows.len() > 90, "a table of {} rows", rows.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_stored_kind_with_defaults_is_in_the_table() {
    let rows = rows();
    let known: Vec<&str> = rows
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| text(row, &["kind"]))
        .collect();
    // Kinds without a defaulting function upstream that are not listed as such.
    let without = [
        "bindings",
        "componentstatuses",
        "controllerrevisions",
        "csinodes",
        "csistoragecapacities",
        "deviceclasses",
        "events",
        "ingresses",
        "ipaddresses",
        "clusterroles",
        "mutatingadmissionpolicybindings",
        "podtemplates",
        "resourcequotas",
        "roles",
        "serviceaccounts",
        "servicecidrs",
        "volumeattachments",
        "volumeattributesclasses",
    ];
    for resource in kinds::resources().iter().filter(|row| row.stored) {
        let name = format!("{}/{}", resource.api_version(), resource.plural);
        let is_older = !resource.storage_version.is_empty()
            && resource.plural == "horizontalpodautoscalers"
            && resource.version == "v1";
        assert!(
            is_older
                || known.contains(&name.as_str())
                || without.contains(&resource.plural.as_str()),
            "{name}"
        );
    }
}

#[test]
fn autoscalers_are_validated_as_upstream_does() {
    let check = |spec: &str, expected: &[&str]| {
        check_faults(
            "autoscaling/v2/horizontalpodautoscalers",
            &format!("spec: {{maxReplicas: 3, {spec}}}"),
            expected,
        );
    };
    let target = "scaleTargetRef: {kind: Deployment, name: d}";
    check(target, &[]);
    check(
        "scaleTargetRef: {kind: a/b, name: ..}",
        &[
            "spec.scaleTargetRef.kind: Invalid value: \"a/b\": may not contain '/'",
            "spec.scaleTargetRef.name: Invalid value: \"..\": may not be '..'",
        ],
    );
    check(
        "scaleTargetRef: {}",
        &[
            "spec.scaleTargetRef.kind: Required value",
            "spec.scaleTargetRef.name: Required value",
        ],
    );
    for (metric, expected) in [
        (
            "{type: Pods, pods: {metric: {name: a%b}, target: {type: AverageValue, averageValue: 1}}}",
            vec!["spec.metrics[0].pods.metric.name: Invalid value: \"a%b\": may not contain '%'"],
        ),
        (
            "{type: Pods, pods: {metric: {}, target: {type: Value}}}",
            vec![
                "spec.metrics[0].pods.metric.name: Required value: must specify a metric name",
                "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
            ],
        ),
        (
            "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 0}}}",
            vec![
                "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
            ],
        ),
        (
            "{type: Resource, resource: {target: {type: Utilization}}}",
            vec![
                "spec.metrics[0].resource.name: Required value: must specify a resource name",
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            ],
        ),
        (
            "{type: External, pods: {metric: {name: m}, target: {type: AverageValue, averageValue: 1}}}",
            vec![
                "spec.metrics[0].external: Required value: must populate information for the given metric source",
            ],
        ),
        (
            "{type: Object, object: {describedObject: {kind: K}, metric: {name: m}, target: {type: Value}}}",
            vec![
                "spec.metrics[0].object.describedObject.name: Required value",
                "spec.metrics[0].object.target.averageValue: Required value: must set either a target value or averageValue",
            ],
        ),
    ] {
        check(&format!("{target}, metrics: [{metric}]"), &expected);
    }
    check(
        &format!(
            "{target}, behavior: {{scaleUp: {{policies: [], stabilizationWindowSeconds: 3601, selectPolicy: Up}}, scaleDown: {{policies: [{{type: P, value: 0, periodSeconds: 1801}}]}}}}"
        ),
        &[
            "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Up\": supported values: \"Disabled\", \"Max\", \"Min\"",
            "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
            "spec.behavior.scaleDown.policies[0].type: Unsupported value: \"P\": supported values: \"Percent\", \"Pods\"",
            "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
        ],
    );
}

#[test]
fn networks_volumes_and_annotations_are_validated() {
    check_faults(
        "networking.k8s.io/v1/networkpolicies",
        "spec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/8}}]}]}",
        &[
            "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length",
        ],
    );
    for (iscsi, expected) in [
        ("iqn: iqn.2001-04.com.example:storage.disk1", vec![]),
        ("iqn: eui.0123456789ABCDEF", vec![]),
        (
            "iqn: disk",
            vec![
                "spec.volumes[0].iscsi.iqn: Invalid value: \"disk\": must be valid format starting with iqn, eui, or naa",
            ],
        ),
        (
            "iqn: iqn.2001-04.com.example",
            vec![
                "spec.volumes[0].iscsi.iqn: Invalid value: \"iqn.2001-04.com.example\": must be valid format",
            ],
        ),
        (
            "iqn: naa.12, lun: 256",
            vec![
                "spec.volumes[0].iscsi.iqn: Invalid value: \"naa.12\": must be valid format",
                "spec.volumes[0].iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
            ],
        ),
        (
            "iqn: eui.0123456789ABCDEF, chapAuthSession: true, initiatorName: iqn.x",
            vec![
                "spec.volumes[0].iscsi.secretRef: Required value",
                "spec.volumes[0].iscsi.initiatorname: Invalid value: \"iqn.x\": must be valid format",
            ],
        ),
    ] {
        check_faults(
            "v1/pods",
            &format!(
                "spec: {{containers: [{{name: c, image: i}}], volumes: [{{name: v, iscsi: {{targetPortal: p, {iscsi}}}}}]}}"
            ),
            &expected,
        );
    }
    for (name, value, expected) in [
        (
            "seccomp.security.alpha.kubernetes.io/pod",
            "runtime/default",
            vec![],
        ),
        (
            "container.seccomp.security.alpha.kubernetes.io/c",
            "localhost/a/b",
            vec![],
        ),
        (
            "seccomp.security.alpha.kubernetes.io/pod",
            "foo",
            vec![
                "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"foo\": must be a valid seccomp profile",
            ],
        ),
        (
            "container.seccomp.security.alpha.kubernetes.io/c",
            "localhost/../x",
            vec![
                "metadata.annotations.container.seccomp.security.alpha.kubernetes.io/c: Invalid value: \"../x\": must not contain '..'",
            ],
        ),
        (
            "container.apparmor.security.beta.kubernetes.io/d",
            "x",
            vec![
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: \"d\": container not found",
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: \"x\": invalid AppArmor profile name: \"x\"",
            ],
        ),
    ] {
        check_faults(
            "v1/pods",
            &format!("{{metadata: {{annotations: {{{name}: {value}}}}}, {POD}}}"),
            &expected,
        );
    }
}

#[track_caller]
fn check_warnings(resource: &str, yaml: &str, expected: &[&str]) {
    let made = made(resource, yaml, ON);
    let found = rules(resource).0.warnings(&context("", ON), &made, None);
    assert_eq!(found, expected, "{yaml}");
}

#[test]
fn deprecated_and_surprising_fields_bring_warnings() {
    for (resource, yaml, expected) in [
        (
            "v1/services",
            "spec: {ports: [{port: 80}], trafficDistribution: PreferClose}",
            vec!["spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""],
        ),
        (
            "v1/services",
            "spec: {ports: [{port: 80}], externalIPs: [1.2.3.4, '2001:DB8::1']}",
            vec![
                "spec.externalIPs[1]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
            ],
        ),
        (
            "v1/services",
            "spec: {type: ClusterIP, clusterIP: None, externalIPs: [1.2.3.4], sessionAffinity: ClientIP}",
            vec![
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
        ),
        (
            "v1/persistentvolumes",
            "spec: {rbd: {monitors: [m], image: i}, persistentVolumeReclaimPolicy: Recycle}",
            vec![
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
                "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
            ],
        ),
        (
            "networking.k8s.io/v1/ingresses",
            "metadata: {annotations: {kubernetes.io/ingress.class: nginx}}",
            vec![
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
            ],
        ),
        (
            "v1/pods",
            "{metadata: {name: a.b}, spec: {containers: [{name: c, image: i}], volumes: [{name: v, rbd: {monitors: [m], image: i}}, {name: w, gitRepo: {repository: r}}]}}",
            vec![
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
                "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
                "spec.volumes[1].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
            ],
        ),
        (
            "apps/v1/deployments",
            "spec: {template: {metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined}}, spec: {nodeSelector: {beta.kubernetes.io/os: linux}, containers: [{name: c, image: i, env: [{name: A, value: x}, {name: A, value: z}], resources: {limits: {memory: 100m}}}]}}}",
            vec![
                "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.template.metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
                "spec.template.spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "spec.template.spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            ],
        ),
        (
            "batch/v1/cronjobs",
            "spec: {schedule: '* * * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, imagePullSecrets: [{}, {name: a}, {name: a}], hostAliases: [{ip: 1.2.3.4}, {ip: 1.2.3.4}], containers: [{name: c, image: i, ports: [{containerPort: 80}, {containerPort: 80, hostPort: 8}]}, {name: d, image: i, ports: [{containerPort: 80}]}]}}}}}",
            vec![
                "spec.jobTemplate.spec.template.spec.hostAliases[1].ip: duplicate ip \"1.2.3.4\"",
                "spec.jobTemplate.spec.template.spec.imagePullSecrets[2].name: duplicate name \"a\"",
                "spec.jobTemplate.spec.template.spec.imagePullSecrets[0].name: invalid empty name \"\"",
                "spec.jobTemplate.spec.template.spec.containers[0].ports[1]: overlapping port definition with spec.jobTemplate.spec.template.spec.containers[0].ports[0]",
                "spec.jobTemplate.spec.template.spec.containers[1].ports[0]: duplicate port definition with spec.jobTemplate.spec.template.spec.containers[0].ports[0]",
                "spec.jobTemplate.spec.template.spec.containers[1].ports[0]: overlapping port definition with spec.jobTemplate.spec.template.spec.containers[0].ports[1]",
            ],
        ),
        (
            "v1/pods",
            "spec: {containers: [{name: c, image: i}], affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: k}}]}}, topologySpreadConstraints: [{maxSkew: 1, topologyKey: failure-domain.beta.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}]}",
            vec![
                "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod",
            ],
        ),
    ] {
        check_warnings(resource, yaml, &expected);
    }
}
