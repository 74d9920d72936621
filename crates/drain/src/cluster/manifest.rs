//! What only files contain: objects of custom kinds, and objects that a server would refuse.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kinds::status::{FieldError, FieldErrors, Status};
use rules::validation::budget;
use serde_json::Value;

use super::removed;

/// Custom kinds and groups that never make pods.
const WITHOUT_PODS: &[(&str, &str)] = &[
    ("autoscaling.k8s.io", "VerticalPodAutoscaler"),
    ("bitnami.com", "SealedSecret"),
    ("cert-manager.io", ""),
    ("cilium.io", ""),
    ("crd.projectcalico.org", ""),
    ("external-secrets.io", ""),
    ("gateway.networking.k8s.io", ""),
    ("keda.sh", "ScaledObject"),
    ("keda.sh", "TriggerAuthentication"),
    ("keda.sh", "ClusterTriggerAuthentication"),
    ("kustomize.config.k8s.io", ""),
    ("kyverno.io", ""),
    ("monitoring.coreos.com", "AlertmanagerConfig"),
    ("monitoring.coreos.com", "PodMonitor"),
    ("monitoring.coreos.com", "Probe"),
    ("monitoring.coreos.com", "PrometheusRule"),
    ("monitoring.coreos.com", "ScrapeConfig"),
    ("monitoring.coreos.com", "ServiceMonitor"),
    ("networking.istio.io", ""),
    ("security.istio.io", ""),
    ("snapshot.storage.k8s.io", ""),
    ("traefik.io", ""),
];

/// How deep templates are searched in a custom object.
const MAX_DEPTH: usize = 12;

/// An object of a custom kind.
#[derive(Clone, Debug)]
pub struct CustomObject {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Metadata.
    pub metadata: ObjectMeta,
    /// `spec`; null if it is absent.
    pub spec: Value,
    /// The pod templates in the spec.
    pub templates: Vec<CustomTemplate>,
}

/// A pod template in a custom object, wherever it stands: `spec.template` of a Rollout,
/// `spec.tasks` of a batch job.
#[derive(Clone, Debug)]
pub struct CustomTemplate {
    /// `replicas` beside the template, `None` when it is absent.
    pub replicas: Option<i32>,
    /// The template.
    pub template: PodTemplateSpec,
}

/// An object that a server would refuse.
#[derive(Clone, Debug)]
pub struct RefusedObject {
    /// Kind.
    pub kind: String,
    /// Metadata.
    pub metadata: ObjectMeta,
    /// The server's message.
    pub why: String,
}

/// Returns true for built-in kinds whose objects belong to no namespace.
pub(crate) fn is_clusterwide(kind: &str) -> bool {
    let mut same = kinds::resources()
        .iter()
        .filter(|resource| resource.kind.as_str() == kind);
    kind == "PodSecurityPolicy" || same.next().is_some_and(|resource| !resource.namespaced)
}

impl CustomObject {
    /// Returns the object when its kind is custom.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let text = |member: &str| object[member].as_str().unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (group, _) = api_version.split_once('/')?;
        let is_built_in = kinds::groups().iter().any(|known| known.name == group);
        // Custom groups are domains; this also excludes the files of other tools.
        if is_built_in || !group.contains('.') || kind.is_empty() {
            return None;
        }
        let metadata: ObjectMeta = serde_json::from_value(object["metadata"].clone()).ok()?;
        metadata.name.as_ref()?;
        let mut templates = Vec::new();
        find_templates(&object["spec"], MAX_DEPTH, &mut templates);
        Some(Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            metadata,
            spec: object["spec"].clone(),
            templates,
        })
    }

    /// Returns false for kinds that are known not to make pods.
    #[must_use]
    pub fn may_make_pods(&self) -> bool {
        let group = self
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let is_row = |(known, kind): &(&str, &str)| {
            *known == group && (kind.is_empty() || *kind == self.kind)
        };
        !WITHOUT_PODS.iter().any(is_row)
    }

    /// Returns `spec.replicas`.
    #[must_use]
    pub fn replicas(&self) -> Option<i32> {
        replicas(&self.spec)
    }
}

fn replicas(value: &Value) -> Option<i32> {
    i32::try_from(value.get("replicas")?.as_i64()?).ok()
}

fn find_templates(value: &Value, depth: usize, found: &mut Vec<CustomTemplate>) {
    let Some(deeper) = depth.checked_sub(1) else {
        return;
    };
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| find_templates(item, deeper, found)),
        Value::Object(members) => {
            for inner in members.values() {
                if is_template(inner) {
                    // Through a string, as in `take`.
                    let template = serde_json::from_str(&inner.to_string());
                    found.extend(template.ok().map(|template| CustomTemplate {
                        replicas: replicas(value),
                        template,
                    }));
                } else {
                    find_templates(inner, deeper, found);
                }
            }
        }
        _ => {}
    }
}

fn is_template(value: &Value) -> bool {
    let containers = value.pointer("/spec/containers").and_then(Value::as_array);
    containers.is_some_and(|containers| {
        let is_container = |one: &Value| one["name"].is_string() || one["image"].is_string();
        !containers.is_empty() && containers.iter().all(is_container)
    })
}

/// Returns why a server refuses the object: its version is not served, or it is a budget that the
/// server's own validation rejects. `warnings` are those of the YAML parser.
pub(super) fn refusal(object: &Value, warnings: &[String]) -> Option<RefusedObject> {
    if object["metadata"]["uid"].is_string() {
        // A server has accepted it.
        return None;
    }
    let text = |member: &str| object[member].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let why = removed::refusal(api_version, kind).or_else(|| {
        let is_budget = (api_version, kind) == ("policy/v1", "PodDisruptionBudget");
        is_budget
            .then(|| budget_refusal(object, warnings))
            .flatten()
    })?;
    let name = object["metadata"]["name"].as_str().map(str::to_owned);
    let of_name = |name| ObjectMeta {
        name,
        ..ObjectMeta::default()
    };
    Some(RefusedObject {
        kind: kind.to_owned(),
        metadata: serde_json::from_value(object["metadata"].clone())
            .unwrap_or_else(|_| of_name(name)),
        why,
    })
}

/// Decodes the budget as the server does under strict field validation, the default of kubectl,
/// and validates it.
fn budget_refusal(object: &Value, warnings: &[String]) -> Option<String> {
    let resource = kinds::resource_by_kind("policy", "v1", "PodDisruptionBudget")?;
    let unusable = |why: String| {
        let kind = "PodDisruptionBudget";
        format!("{kind} in version \"v1\" cannot be handled as a {kind}: {why} (400)")
    };
    let decoded = match kinds::json::decode(object.to_string().as_bytes(), resource.ty) {
        Ok(decoded) => decoded,
        Err(error) => return Some(unusable(error.to_string())),
    };
    let strict: Vec<&str> = warnings
        .iter()
        .chain(&decoded.warnings)
        .map(String::as_str)
        .collect();
    if !strict.is_empty() {
        return Some(unusable(format!(
            "strict decoding error: {}",
            strict.join(", ")
        )));
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut faults = FieldErrors::default();
    let tree = kinds::Tree::from(name);
    let unnamed = name.is_empty() && object["metadata"]["generateName"].is_null();
    if unnamed {
        let detail = "name or generateName is required";
        faults.push(FieldError::required("metadata.name", detail));
    } else if !name.is_empty() {
        for fault in kinds::names::dns_subdomain(name) {
            faults.push(FieldError::invalid("metadata.name", &tree, fault));
        }
    }
    budget::spec(&decoded.tree, false, &mut faults);
    if faults.is_empty() {
        return None;
    }
    let status = Status::invalid_fields(resource.group_kind(), name, &faults);
    Some(format!("{} (422)", status.message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn why(budget: &Value) -> Option<String> {
        refusal(budget, &[]).map(|refused| refused.why)
    }

    #[test]
    fn a_budget_is_refused_in_the_words_of_the_server() {
        let budget = |spec: Value| {
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": {"name": "b"}, "spec": spec})
        };
        let bad = |why: &str| {
            Some(format!(
                "PodDisruptionBudget in version \"v1\" cannot be handled as a PodDisruptionBudget: {why} (400)"
            ))
        };
        let invalid = |why: &str| {
            Some(format!(
                "PodDisruptionBudget.policy \"b\" is invalid: {why} (422)"
            ))
        };
        let cases = [
            (
                json!({"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}}),
                None,
            ),
            (
                json!({"maxUnavailable": 1, "selector": {"app": "web"}}),
                bad("strict decoding error: unknown field \"spec.selector.app\""),
            ),
            (
                json!({"maxUnavailable": true}),
                bad(
                    "json: cannot unmarshal bool into Go struct field PodDisruptionBudgetSpec.spec.maxUnavailable of type int32",
                ),
            ),
            (
                json!({"maxUnavailable": -1}),
                invalid(
                    "spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
                ),
            ),
            (
                json!({"minAvailable": "120%"}),
                invalid(
                    "spec.minAvailable: Invalid value: \"120%\": must not be greater than 100%",
                ),
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(why(&budget(spec.clone())), expected, "{spec}");
        }
        let mut stored = budget(json!({"maxUnavailable": -1}));
        stored["metadata"]["uid"] = json!("u");
        assert_eq!(why(&stored), None, "a server has it");
        let mut unnamed = budget(json!({}));
        unnamed["metadata"] = json!({});
        assert_eq!(
            why(&unnamed).as_deref(),
            Some(
                "PodDisruptionBudget.policy \"\" is invalid: metadata.name: Required value: name or generateName is required (422)"
            )
        );
    }

    #[test]
    fn templates_of_custom_kinds_are_found_where_they_stand() {
        let containers = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
        let cases = [
            (
                json!({"replicas": 3, "template": containers}),
                vec![Some(3)],
            ),
            (json!({"template": containers}), vec![None]),
            (
                json!({"tasks": [{"replicas": 1, "template": containers},
                    {"replicas": 4, "template": containers}]}),
                vec![Some(1), Some(4)],
            ),
            (
                json!({"jobTemplate": {"spec": {"template": containers}}}),
                vec![None],
            ),
            (json!({"replicas": 2, "image": "i"}), vec![]),
        ];
        for (spec, expected) in cases {
            let object = json!({"apiVersion": "example.com/v1", "kind": "Thing",
                "metadata": {"name": "t"}, "spec": spec});
            let custom = CustomObject::of(&object).expect("custom");
            let found: Vec<_> = custom.templates.iter().map(|one| one.replicas).collect();
            assert_eq!(found, expected, "{object}");
        }
        for (api_version, kind) in [
            ("apps/v1", "Deployment"),
            ("v1", "ConfigMap"),
            ("networking.k8s.io/v1", "Ingress"),
        ] {
            let object = json!({"apiVersion": api_version, "kind": kind,
                "metadata": {"name": "t"}});
            assert!(CustomObject::of(&object).is_none(), "{kind}");
        }
    }
}
