//! Rows of nodes, namespaces, events, and kinds with little more than a name.

use kinds::Tree;
use kinds::tree::{Text, json};

use super::cells::{AgeClock, age, condition, items, members, name, number, since, text, text_or};

pub(super) fn plain(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![name(object), age(object, now)]
}

pub(super) fn created(object: &Tree, _now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(text(object, "/metadata/creationTimestamp")),
    ]
}

pub(super) fn node(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let mut status = match condition(object, "Ready") {
        None => "Unknown".to_owned(),
        Some(ready) if ready["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
    };
    if object
        .pointer("/spec/unschedulable")
        .and_then(Tree::as_bool)
        == Some(true)
    {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = items(object, "/status/addresses")
            .iter()
            .find(|address| address["type"] == kind);
        json!(found.map_or("<none>", |address| text(address, "/address")))
    };
    let fact = |member: &str| text_or(object, &format!("/status/nodeInfo/{member}"), "<unknown>");
    let kernel = text(object, "/status/nodeInfo/kernelVersion");
    let architecture = text(object, "/status/nodeInfo/architecture");
    let kernel = match (kernel.is_empty(), architecture.is_empty()) {
        (true, _) => "<unknown>".to_owned(),
        (false, true) => kernel.to_owned(),
        (false, false) => format!("{kernel} ({architecture})"),
    };
    vec![
        name(object),
        json!(status),
        json!(roles(object)),
        age(object, now),
        json!(text(object, "/status/nodeInfo/kubeletVersion")),
        address("InternalIP"),
        address("ExternalIP"),
        fact("osImage"),
        json!(kernel),
        fact("containerRuntimeVersion"),
    ]
}

fn roles(node: &Tree) -> String {
    let labels = node.pointer("/metadata/labels").and_then(Tree::as_object);
    let role = |(key, value): (&Text, &Tree)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()).filter(|role| !role.is_empty()),
        None if key == "kubernetes.io/role" => value
            .as_str()
            .filter(|role| !role.is_empty())
            .map(str::to_owned),
        None => None,
    };
    let mut roles: Vec<String> = labels.into_iter().flatten().filter_map(role).collect();
    roles.sort();
    roles.dedup();
    if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    }
}

pub(super) fn namespace(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(text(object, "/status/phase")),
        age(object, now),
    ]
}

/// Returns the cells of an event of either group. `events.k8s.io` has other names for the same
/// fields.
pub(super) fn event(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let either = |one: &str, other: &str| {
        let found = text(object, one);
        if found.is_empty() {
            text(object, other).to_owned()
        } else {
            found.to_owned()
        }
    };
    let first = ["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"]
        .into_iter()
        .find(|pointer| !text(object, pointer).is_empty());
    let last = [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
    ]
    .into_iter()
    .find(|pointer| !text(object, pointer).is_empty());
    let ago = |pointer: Option<&str>| {
        pointer.map_or_else(
            || "<unknown>".to_owned(),
            |pointer| since(object, pointer, now),
        )
    };
    let (kind, target) = (
        either("/involvedObject/kind", "/regarding/kind").to_lowercase(),
        either("/involvedObject/name", "/regarding/name"),
    );
    let component = [
        either("/source/component", "/deprecatedSource/component"),
        text(object, "/reportingComponent").to_owned(),
    ]
    .into_iter()
    .find(|component| !component.is_empty())
    .unwrap_or_default();
    let host = either("/source/host", "/deprecatedSource/host");
    let source = if host.is_empty() {
        component
    } else {
        format!("{component}, {host}")
    };
    let times = [
        number(object, "/series/count"),
        number(object, "/count"),
        number(object, "/deprecatedCount"),
    ];
    vec![
        json!(ago(last.or(first))),
        json!(text(object, "/type")),
        json!(text(object, "/reason")),
        json!(if target.is_empty() {
            kind
        } else {
            format!("{kind}/{target}")
        }),
        json!(either("/involvedObject/fieldPath", "/regarding/fieldPath")),
        json!(source),
        json!(either("/message", "/note").trim()),
        json!(ago(first)),
        json!(times.into_iter().find(|count| *count > 0).unwrap_or(1)),
        name(object),
    ]
}

pub(super) fn lease(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(text(object, "/spec/holderIdentity")),
        age(object, now),
    ]
}

pub(super) fn priority_class(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let global = object
        .pointer("/globalDefault")
        .and_then(Tree::as_bool)
        .unwrap_or_default();
    vec![
        name(object),
        json!(number(object, "/value")),
        json!(global),
        age(object, now),
        json!(text(object, "/preemptionPolicy")),
    ]
}

pub(super) fn config_map(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(members(object, "/data") + members(object, "/binaryData")),
        age(object, now),
    ]
}

pub(super) fn secret(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(text(object, "/type")),
        json!(members(object, "/data")),
        age(object, now),
    ]
}

pub(super) fn service_account(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(items(object, "/secrets").len()),
        age(object, now),
    ]
}

pub(super) fn role_binding(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let role = format!(
        "{}/{}",
        text(object, "/roleRef/kind"),
        text(object, "/roleRef/name")
    );
    let subjects = |kind: &str| {
        let named = items(object, "/subjects")
            .iter()
            .filter(|subject| subject["kind"] == kind);
        let texts: Vec<String> = named
            .map(|subject| match text(subject, "/namespace") {
                "" => text(subject, "/name").to_owned(),
                namespace => format!("{namespace}/{}", text(subject, "/name")),
            })
            .collect();
        json!(texts.join(", "))
    };
    vec![
        name(object),
        json!(role),
        age(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub(super) fn quota(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in object
        .pointer("/status/hard")
        .and_then(Tree::as_object)
        .into_iter()
        .flatten()
    {
        let used = object["status"]["used"][resource.as_str()]
            .as_str()
            .unwrap_or("0")
            .to_owned();
        let line = format!("{resource}: {used}/{}", hard.as_str().unwrap_or_default());
        if resource.starts_with("limits.") {
            limits.push(line)
        } else {
            requests.push(line)
        }
    }
    vec![
        name(object),
        json!(requests.join(", ")),
        json!(limits.join(", ")),
        age(object, now),
    ]
}

fn access_modes(object: &Tree, pointer: &str) -> String {
    let short = |mode: &Tree| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    let modes: Vec<&str> = items(object, pointer)
        .iter()
        .map(short)
        .filter(|mode| !mode.is_empty())
        .collect();
    modes.join(",")
}

pub(super) fn volume(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let claim = match (
        text(object, "/spec/claimRef/namespace"),
        text(object, "/spec/claimRef/name"),
    ) {
        (_, "") => String::new(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    vec![
        name(object),
        json!(text(object, "/spec/capacity/storage")),
        json!(access_modes(object, "/spec/accessModes")),
        json!(text(object, "/spec/persistentVolumeReclaimPolicy")),
        json!(text(object, "/status/phase")),
        json!(claim),
        json!(text(object, "/spec/storageClassName")),
        text_or(object, "/spec/volumeAttributesClassName", "<unset>"),
        json!(text(object, "/status/reason")),
        age(object, now),
        text_or(object, "/spec/volumeMode", "<unset>"),
    ]
}

pub(super) fn claim(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let going = !text(object, "/metadata/deletionTimestamp").is_empty();
    vec![
        name(object),
        json!(if going {
            "Terminating"
        } else {
            text(object, "/status/phase")
        }),
        json!(text(object, "/spec/volumeName")),
        json!(text(object, "/status/capacity/storage")),
        json!(access_modes(object, "/status/accessModes")),
        json!(text(object, "/spec/storageClassName")),
        text_or(object, "/spec/volumeAttributesClassName", "<unset>"),
        age(object, now),
        text_or(object, "/spec/volumeMode", "<unset>"),
    ]
}

pub(super) fn storage_class(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let default = text(
        object,
        "/metadata/annotations/storageclass.kubernetes.io~1is-default-class",
    ) == "true";
    let shown = if default {
        json!(format!("{} (default)", text(object, "/metadata/name")))
    } else {
        name(object)
    };
    let or = |member: &str, nothing: &str| text_or(object, member, nothing);
    vec![
        shown,
        or("/provisioner", "<unset>"),
        or("/reclaimPolicy", "Delete"),
        or("/volumeBindingMode", "Immediate"),
        json!(
            object
                .pointer("/allowVolumeExpansion")
                .and_then(Tree::as_bool)
                .unwrap_or_default()
        ),
        age(object, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_cordoned_node_includes_scheduling_disabled() {
        let object = json!({"metadata": {"name": "n",
            "labels": {"node-role.kubernetes.io/b": "", "kubernetes.io/role": "a"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {"kernelVersion": "6.1", "architecture": "amd64"}}});
        let cells = node(&object, &AgeClock::at(0));
        assert_eq!(
            (&cells[1], &cells[2], &cells[8]),
            (
                &json!("Ready,SchedulingDisabled"),
                &json!("a,b"),
                &json!("6.1 (amd64)")
            )
        );
    }

    #[test]
    fn users_groups_and_accounts_have_columns_of_their_own() {
        let object = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"},
            {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]});
        assert_eq!(
            role_binding(&object, &AgeClock::at(0))[3..],
            [json!("u"), json!(""), json!("n/s")]
        );
    }
}
