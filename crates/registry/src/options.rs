//! Validation of the options of writes and deletes, and the body of a `DeleteOptions`.
//!
//! Pure; the messages of the refusals are upstream's.

use kinds::Tree;
use kinds::json::{self, TypeMeta};
use kinds::status::{FieldError, GroupResource, Status};
use kinds::{protobuf, yaml};

use crate::request::{BodyForm, DeleteOptions, DeleteRequest, Refusal, RequestBody, WriteOptions};
use crate::tree;

const PROPAGATIONS: &[&str] = &["Foreground", "Background", "Orphan", "nil"];
/// The name that upstream's refusal gives to its scheme when the body of a delete is of another
/// kind.
const META_SCHEME: &str = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";

/// Returns the 422 for options of a kind.
pub(crate) fn invalid(kind: &str, faults: &[FieldError]) -> Refusal {
    Status::invalid(
        GroupResource {
            group: "meta.k8s.io",
            resource: kind,
        },
        "",
        faults,
    )
    .into()
}

fn dry_run_faults(values: &[String]) -> Vec<FieldError> {
    if values.iter().all(|value| value == "All") {
        return Vec::new();
    }
    let list = Tree::from(values.to_vec());
    vec![FieldError::not_supported("dryRun", &list, &["All"])]
}

/// Returns true when the request is a dry run; 422 for an unknown value. `kind` is the kind of the
/// options, for example `CreateOptions`.
pub(crate) fn dry_run(options: &WriteOptions, kind: &str) -> Result<bool, Refusal> {
    let faults = dry_run_faults(&options.dry_run);
    if faults.is_empty() {
        Ok(!options.dry_run.is_empty())
    } else {
        Err(invalid(kind, &faults))
    }
}

/// Returns the options of a delete: those of the body unless it is empty, otherwise those of the
/// query.
pub(crate) fn of_delete(request: &DeleteRequest) -> Result<DeleteOptions, Refusal> {
    let options = match &request.body {
        Some(body) if !body.bytes.is_empty() => decode(body)?,
        _ => request.query.clone(),
    };
    validate_delete(&options)?;
    Ok(options)
}

/// Refuses options that exclude each other or have unknown values, with 422.
pub(crate) fn validate_delete(options: &DeleteOptions) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    match (&options.propagation_policy, options.orphan_dependents) {
        (Some(policy), Some(_)) => faults.push(FieldError::invalid(
            "propagationPolicy",
            &Tree::from(policy.as_str()),
            "orphanDependents and deletionPropagation cannot be both set",
        )),
        (Some(policy), None) if !PROPAGATIONS[..3].contains(&policy.as_str()) => {
            faults.push(FieldError::not_supported(
                "propagationPolicy",
                &Tree::from(policy.as_str()),
                PROPAGATIONS,
            ));
        }
        _ => {}
    }
    faults.extend(dry_run_faults(&options.dry_run));
    if faults.is_empty() {
        Ok(())
    } else {
        Err(invalid("DeleteOptions", &faults))
    }
}

fn decode(body: &RequestBody) -> Result<DeleteOptions, Refusal> {
    let refuse = |why: String| -> Refusal { Status::bad_request(why).into() };
    let bytes = match body.form {
        BodyForm::Json | BodyForm::Protobuf => body.bytes.clone(),
        BodyForm::Yaml => yaml::to_json(&body.bytes)
            .map_err(|error| refuse(error.to_string()))?
            .0
            .into(),
    };
    let found = if body.form == BodyForm::Protobuf {
        protobuf::peek_type_meta(&bytes)
    } else {
        json::peek_type_meta(&bytes)
    };
    let TypeMeta { api_version, kind } = found.map_err(|error| refuse(error.to_string()))?;
    if !kind.is_empty() && kind != "DeleteOptions" {
        let version = if api_version.is_empty() {
            "v1"
        } else {
            &api_version
        };
        return Err(refuse(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme {META_SCHEME:?}"
        )));
    }
    let Some(ty) = kinds::type_named("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions") else {
        return Err(Status::internal("the table has no DeleteOptions").into());
    };
    let decoded = if body.form == BodyForm::Protobuf {
        protobuf::decode(&bytes, ty)
    } else {
        json::decode(&bytes, ty)
    };
    let tree = decoded.map_err(|error| refuse(error.to_string()))?.tree;
    Ok(of_tree(&tree))
}

/// Reads a `DeleteOptions` object.
pub(crate) fn of_tree(options: &Tree) -> DeleteOptions {
    let text = |path: &[&str]| tree::at(options, path).as_str().map(str::to_owned);
    DeleteOptions {
        grace_period_seconds: tree::int(options, &["gracePeriodSeconds"]),
        uid: text(&["preconditions", "uid"]),
        resource_version: text(&["preconditions", "resourceVersion"]),
        propagation_policy: text(&["propagationPolicy"]),
        orphan_dependents: tree::at(options, &["orphanDependents"]).as_bool(),
        dry_run: tree::list(options, &["dryRun"])
            .iter()
            .filter_map(Tree::as_str)
            .map(str::to_owned)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &DeleteOptions, expected: Result<(), &str>) {
        let found = validate_delete(options).map_err(|refusal| refusal.status.message.clone());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn propagation_policy_and_orphan_dependents_exclude_each_other() {
        let options = DeleteOptions {
            propagation_policy: Some("Orphan".to_owned()),
            orphan_dependents: Some(true),
            ..DeleteOptions::default()
        };
        let text = "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set";
        check(&options, Err(text));
    }

    #[test]
    fn unknown_values_are_refused_by_name() {
        let policy = DeleteOptions {
            propagation_policy: Some("Up".to_owned()),
            ..DeleteOptions::default()
        };
        check(
            &policy,
            Err(
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Up\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
            ),
        );
        let dry = DeleteOptions {
            dry_run: vec!["x".to_owned()],
            ..DeleteOptions::default()
        };
        check(
            &dry,
            Err(
                "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"x\"]: supported values: \"All\"",
            ),
        );
        check(
            &DeleteOptions {
                dry_run: vec!["All".to_owned(), "All".to_owned()],
                ..DeleteOptions::default()
            },
            Ok(()),
        );
    }
}
