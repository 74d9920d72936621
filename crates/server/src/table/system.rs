//! Rows of system kinds.

use kinds::Tree;
use kinds::duration::human_age;
use kinds::tree::json;

use super::cells::{AgeClock, age, condition, items, joined, name, number, text, text_or};

const NONE: &str = "<none>";
const UNSET: &str = "<unset>";

fn flag(object: &Tree, pointer: &str, otherwise: bool) -> Tree {
    json!(
        object
            .pointer(pointer)
            .and_then(Tree::as_bool)
            .unwrap_or(otherwise)
    )
}

fn texts<'a>(object: &'a Tree, pointer: &str) -> impl Iterator<Item = &'a str> {
    items(object, pointer).iter().filter_map(Tree::as_str)
}

pub(super) fn component_status(object: &Tree, _now: &AgeClock) -> Vec<Tree> {
    let healthy = items(object, "/conditions")
        .iter()
        .find(|condition| condition["type"] == "Healthy");
    let status = match healthy {
        None => "Unknown",
        Some(condition) if condition["status"] == "True" => "Healthy",
        Some(_) => "Unhealthy",
    };
    let part = |member: &str| json!(healthy.map_or("", |condition| text(condition, member)));
    vec![
        name(object),
        json!(status),
        part("/message"),
        part("/error"),
    ]
}

pub(super) fn webhooks(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(items(object, "/webhooks").len()),
        age(object, now),
    ]
}

pub(super) fn validating_policy(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(items(object, "/spec/validations").len()),
        parameter_kind(object),
        age(object, now),
    ]
}

pub(super) fn mutating_policy(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(items(object, "/spec/mutations").len()),
        parameter_kind(object),
        age(object, now),
    ]
}

fn parameter_kind(object: &Tree) -> Tree {
    let part = |member: &str| text(object, &format!("/spec/paramKind/{member}"));
    json!(if part("kind").is_empty() {
        UNSET.to_owned()
    } else {
        format!("{}/{}", part("apiVersion"), part("kind"))
    })
}

pub(super) fn policy_binding(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let (namespace, parameters) = (
        text(object, "/spec/paramRef/namespace"),
        text(object, "/spec/paramRef/name"),
    );
    let parameters = match object.pointer("/spec/paramRef") {
        None | Some(Tree::Null) => UNSET.to_owned(),
        Some(_) if namespace.is_empty() => parameters.to_owned(),
        Some(_) => format!("{namespace}/{parameters}"),
    };
    vec![
        name(object),
        json!(text(object, "/spec/policyName")),
        json!(parameters),
        age(object, now),
    ]
}

pub(super) fn flow_schema(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let dangling =
        condition(object, "Dangling").map_or("?", |condition| text(condition, "/status"));
    vec![
        name(object),
        text_or(object, "/spec/priorityLevelConfiguration/name", NONE),
        json!(number(object, "/spec/matchingPrecedence")),
        text_or(object, "/spec/distinguisherMethod/type", NONE),
        age(object, now),
        json!(dangling),
    ]
}

pub(super) fn priority_level(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let number = |holder: &str, member: &str| match object.pointer(holder) {
        None | Some(Tree::Null) => json!(NONE),
        Some(holder) => json!(number(holder, member)),
    };
    const QUEUING: &str = "/spec/limited/limitResponse/queuing";
    vec![
        name(object),
        json!(text(object, "/spec/type")),
        number("/spec/limited", "/nominalConcurrencyShares"),
        number(QUEUING, "/queues"),
        number(QUEUING, "/handSize"),
        number(QUEUING, "/queueLengthLimit"),
        age(object, now),
    ]
}

pub(super) fn signing_request(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let duration = object
        .pointer("/spec/expirationSeconds")
        .and_then(Tree::as_i64)
        .map_or_else(|| NONE.to_owned(), human_age);
    let has_condition = |kind: &str| condition(object, kind).is_some();
    let mut state = if has_condition("Denied") {
        "Denied".to_owned()
    } else if has_condition("Approved") {
        "Approved".to_owned()
    } else {
        "Pending".to_owned()
    };
    if has_condition("Failed") {
        state.push_str(",Failed");
    }
    if !text(object, "/status/certificate").is_empty() {
        state.push_str(",Issued");
    }
    vec![
        name(object),
        age(object, now),
        text_or(object, "/spec/signerName", NONE),
        json!(text(object, "/spec/username")),
        json!(duration),
        json!(state),
    ]
}

pub(super) fn storage_driver(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let audiences = items(object, "/spec/tokenRequests")
        .iter()
        .map(|request| text(request, "/audience"));
    let audiences: Vec<&str> = audiences.collect();
    vec![
        name(object),
        flag(object, "/spec/attachRequired", true),
        flag(object, "/spec/podInfoOnMount", false),
        flag(object, "/spec/storageCapacity", false),
        json!(if audiences.is_empty() {
            UNSET.to_owned()
        } else {
            audiences.join(",")
        }),
        flag(object, "/spec/requiresRepublish", false),
        joined(texts(object, "/spec/volumeLifecycleModes")),
        age(object, now),
    ]
}

pub(super) fn storage_node(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(items(object, "/spec/drivers").len()),
        age(object, now),
    ]
}

pub(super) fn storage_capacity(object: &Tree, _now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(text(object, "/storageClassName")),
        text_or(object, "/capacity", UNSET),
    ]
}

pub(super) fn attachment(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(text(object, "/spec/attacher")),
        json!(text(object, "/spec/source/persistentVolumeName")),
        json!(text(object, "/spec/nodeName")),
        flag(object, "/status/attached", false),
        age(object, now),
    ]
}

pub(super) fn attributes_class(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(text(object, "/driverName")),
        age(object, now),
    ]
}

pub(super) fn ingress_class(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let part = |member: &str| text(object, &format!("/spec/parameters/{member}"));
    let group = if part("apiGroup").is_empty() {
        String::new()
    } else {
        format!(".{}", part("apiGroup"))
    };
    let parameters = if part("kind").is_empty() {
        NONE.to_owned()
    } else {
        format!("{}{group}/{}", part("kind"), part("name"))
    };
    vec![
        name(object),
        json!(text(object, "/spec/controller")),
        json!(parameters),
        age(object, now),
    ]
}

pub(super) fn service_cidr(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(texts(object, "/spec/cidrs").collect::<Vec<_>>().join(",")),
        age(object, now),
    ]
}

pub(super) fn address(object: &Tree, _now: &AgeClock) -> Vec<Tree> {
    let part = |member: &str| text(object, &format!("/spec/parentRef/{member}"));
    let resource = if part("group").is_empty() {
        part("resource").to_owned()
    } else {
        format!("{}.{}", part("resource"), part("group"))
    };
    let parts = [resource.as_str(), part("namespace"), part("name")];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    vec![
        name(object),
        json!(if parts.is_empty() {
            NONE.to_owned()
        } else {
            parts.join("/")
        }),
    ]
}

pub(super) fn runtime_class(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        json!(text(object, "/handler")),
        age(object, now),
    ]
}

pub(super) fn device_claim(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let is_there = |pointer: &str| object.pointer(pointer).is_some_and(|part| !part.is_null());
    let (is_going, is_allocated) = (
        is_there("/metadata/deletionTimestamp"),
        is_there("/status/allocation"),
    );
    let is_reserved = is_allocated && !items(object, "/status/reservedFor").is_empty();
    let states = [
        ("deleted", is_going),
        ("pending", !is_going && !is_allocated),
        ("allocated", is_allocated),
        ("reserved", is_reserved),
    ];
    let states: Vec<&str> = states
        .into_iter()
        .filter(|(_, is_so)| *is_so)
        .map(|(state, _)| state)
        .collect();
    vec![name(object), json!(states.join(",")), age(object, now)]
}

pub(super) fn device_slice(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    vec![
        name(object),
        text_or(object, "/spec/nodeName", "<unset>"),
        json!(text(object, "/spec/driver")),
        json!(text(object, "/spec/pool/name")),
        age(object, now),
    ]
}

pub(super) fn api_service(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let (namespace, service) = (
        text(object, "/spec/service/namespace"),
        text(object, "/spec/service/name"),
    );
    let service = if service.is_empty() {
        "Local".to_owned()
    } else {
        format!("{namespace}/{service}")
    };
    let available = match condition(object, "Available") {
        None => "Unknown".to_owned(),
        Some(condition) if condition["status"] == "True" => "True".to_owned(),
        Some(condition) => format!(
            "{} ({})",
            text(condition, "/status"),
            text(condition, "/reason")
        ),
    };
    vec![
        name(object),
        json!(service),
        json!(available),
        age(object, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: fn(&Tree, &AgeClock) -> Vec<Tree>, object: &Tree) -> Vec<Tree> {
        let mut object = object.clone();
        object["metadata"] = json!({"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z"});
        cells(&object, &AgeClock::at(60))
    }

    #[test]
    fn rows_of_system_kinds_match_kubectl() {
        let check = |cells, object: Tree, expected: Tree| {
            assert_eq!(Tree::from(row(cells, &object)), expected, "{object}")
        };
        let healthy =
            json!({"conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]});
        check(component_status, healthy, json!(["x", "Healthy", "ok", ""]));
        check(component_status, json!({}), json!(["x", "Unknown", "", ""]));
        check(
            webhooks,
            json!({"webhooks": [{}, {}]}),
            json!(["x", 2, "60s"]),
        );
        let binding =
            json!({"spec": {"policyName": "p", "paramRef": {"name": "q", "namespace": "n"}}});
        check(policy_binding, binding, json!(["x", "p", "n/q", "60s"]));
        check(
            policy_binding,
            json!({"spec": {"policyName": "p"}}),
            json!(["x", "p", "<unset>", "60s"]),
        );
        let level =
            json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5}}});
        check(
            priority_level,
            level,
            json!(["x", "Limited", 5, "<none>", "<none>", "<none>", "60s"]),
        );
        let request = json!({
            "spec": {"signerName": "s", "username": "u", "expirationSeconds": 3600},
            "status": {"conditions": [{"type": "Approved"}], "certificate": "AA=="},
        });
        check(
            signing_request,
            request,
            json!(["x", "60s", "s", "u", "60m", "Approved,Issued"]),
        );
        check(
            storage_driver,
            json!({"spec": {}}),
            json!(["x", true, false, false, "<unset>", false, "<none>", "60s"]),
        );
        let class = json!({"spec": {"controller": "c",
            "parameters": {"kind": "K", "apiGroup": "g", "name": "n"}}});
        check(ingress_class, class, json!(["x", "c", "K.g/n", "60s"]));
        let parent = json!({"spec": {"parentRef": {"resource": "services", "namespace": "default",
            "name": "kubernetes"}}});
        check(address, parent, json!(["x", "services/default/kubernetes"]));
        check(
            device_claim,
            json!({"status": {"allocation": {}, "reservedFor": [{}]}}),
            json!(["x", "allocated,reserved", "60s"]),
        );
        let service = json!({"status": {"conditions": [{"type": "Available", "status": "False",
            "reason": "Gone"}]}});
        check(
            api_service,
            service,
            json!(["x", "Local", "False (Gone)", "60s"]),
        );
    }
}
