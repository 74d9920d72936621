//! `TokenReview`, `SelfSubjectReview`, the access reviews and `SelfSubjectRulesReview`, answered
//! from what authentication and authorization know. They are not stored.

use kinds::Tree;
use kinds::status::{FieldError, GroupResource, Status};
use kinds::tree::json;
use registry::request::{BodyForm, Refusal, RequestBody, User};

use crate::auth::{AUDIENCE, Authenticated};
use crate::authorize::{AccessRequest, AccessTarget};
use crate::route::{Action, Route};
use crate::state::ServerState;

/// Returns whether a request creates a review.
pub(crate) fn is_review(route: &Route) -> bool {
    let group = matches!(
        route.resource.group.as_str(),
        "authentication.k8s.io" | "authorization.k8s.io"
    );
    group && !route.resource.stored && route.action == Action::Create && route.subresource.is_none()
}

/// Answers a review. Returns it with its status, as JSON.
pub(crate) async fn answer(
    state: &ServerState,
    user: &User,
    route: &Route,
    namespace: &str,
    body: &RequestBody,
) -> Result<Vec<u8>, Refusal> {
    let ty = route.resource.ty;
    let kind = route.resource.kind.as_str();
    let decoded = match body.form {
        BodyForm::Json => kinds::json::decode(&body.bytes, ty),
        BodyForm::Yaml => kinds::yaml::decode(&body.bytes, ty),
        BodyForm::Protobuf => kinds::protobuf::decode(&body.bytes, ty),
    };
    let version = &route.resource.version;
    let wrong = |error| {
        Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"
        ))
    };
    let mut review = decoded.map_err(wrong)?.tree;
    if !review.is_object() {
        review = json!({});
    }
    let named = review.get("kind").and_then(Tree::as_str).unwrap_or(kind);
    if named != kind {
        return Err(Status::bad_request(format!(
            "{named} in version \"{version}\" cannot be handled as a {kind}"
        ))
        .into());
    }
    review["kind"] = kind.into();
    review["apiVersion"] = route.resource.api_version().into();
    review["status"] = match kind {
        "TokenReview" => token_review(state, &review).await?,
        "SelfSubjectReview" => {
            review["metadata"]["creationTimestamp"] = wire_time(state.clock.now()).into();
            json!({"userInfo": user_info(user)})
        }
        "SelfSubjectRulesReview" => rules_review(state, user, &review).await?,
        "SelfSubjectAccessReview" => access(state, user, &review["spec"]).await?,
        _ => {
            if kind == "LocalSubjectAccessReview" {
                check_namespace(&review, namespace)?;
            }
            let asked = asked_user(&review["spec"])?;
            access(state, &asked, &review["spec"]).await?
        }
    };
    Ok(kinds::json::encode(&review, ty))
}

fn text<'a>(tree: &'a Tree, member: &str) -> &'a str {
    tree.get(member).and_then(Tree::as_str).unwrap_or_default()
}

fn texts(tree: &Tree, member: &str) -> Vec<String> {
    let items = tree
        .get(member)
        .and_then(Tree::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    items
        .iter()
        .filter_map(Tree::as_str)
        .map(str::to_owned)
        .collect()
}

fn wire_time(now: jiff::Timestamp) -> String {
    jiff::Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .to_string()
}

fn user_info(user: &User) -> Tree {
    let mut shown = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        shown["uid"] = user.uid.clone().into();
    }
    for (key, values) in &user.extra {
        shown["extra"][key.as_str()] = values.clone().into();
    }
    shown
}

async fn token_review(state: &ServerState, review: &Tree) -> Result<Tree, Status> {
    let token = text(&review["spec"], "token");
    if token.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let asked = texts(&review["spec"], "audiences");
    let asked: Vec<&str> = if asked.is_empty() {
        vec![AUDIENCE]
    } else {
        asked.iter().map(String::as_str).collect()
    };
    Ok(
        match state.authenticator.token(token, &asked, state.clock.now()) {
            Some(known) if state.is_current(&known).await => {
                let audiences = match &known {
                    Authenticated::ServiceAccount(account) => account.audiences.clone(),
                    Authenticated::User(_) => vec![AUDIENCE.to_owned()],
                };
                json!({"authenticated": true, "user": user_info(known.user()),
                    "audiences": audiences})
            }
            _ => json!({"user": {}, "error": "invalid bearer token"}),
        },
    )
}

fn refused(field: &str, value: &Tree, why: &str) -> Status {
    // Upstream's error has no kind here.
    let kind = GroupResource {
        group: "authorization.k8s.io",
        resource: "",
    };
    Status::invalid(kind, "", &[FieldError::invalid(field, value, why)])
}

fn asked_user(spec: &Tree) -> Result<User, Status> {
    let user = User {
        name: text(spec, "user").to_owned(),
        uid: text(spec, "uid").to_owned(),
        groups: texts(spec, "groups"),
        ..User::default()
    };
    if user.name.is_empty() && user.groups.is_empty() {
        return Err(refused(
            "spec.user",
            &"".into(),
            "at least one of user or group must be specified",
        ));
    }
    Ok(user)
}

fn check_namespace(review: &Tree, namespace: &str) -> Result<(), Status> {
    let attributes = &review["spec"]["resourceAttributes"];
    let asked = text(attributes, "namespace");
    if attributes.is_object() && asked != namespace {
        return Err(refused(
            "spec.resourceAttributes.namespace",
            &asked.into(),
            &format!("must match metadata.namespace: {namespace}"),
        ));
    }
    if review["spec"].get("nonResourceAttributes").is_some() {
        let why = "disallowed on this kind of request";
        return Err(refused(
            "spec.nonResourceAttributes",
            &review["spec"]["nonResourceAttributes"],
            why,
        ));
    }
    Ok(())
}

/// Returns the status of an access review: whether a user may do what the spec describes.
async fn access(state: &ServerState, user: &User, spec: &Tree) -> Result<Tree, Refusal> {
    let member = |name: &str| spec.get(name).filter(|value| value.is_object());
    let target;
    let access = match (
        member("resourceAttributes"),
        member("nonResourceAttributes"),
    ) {
        (Some(resource), None) => {
            target = AccessTarget::Resource {
                group: text(resource, "group"),
                resource: text(resource, "resource"),
                subresource: text(resource, "subresource"),
                namespace: text(resource, "namespace"),
                name: text(resource, "name"),
            };
            AccessRequest {
                verb: text(resource, "verb"),
                target,
            }
        }
        (None, Some(path)) => AccessRequest {
            verb: text(path, "verb"),
            target: AccessTarget::NonResource(text(path, "path")),
        },
        (both, _) => {
            let (field, value) = match both {
                Some(_) => (
                    "spec.nonResourceAttributes",
                    "cannot be specified in combination with resourceAttributes",
                ),
                None => (
                    "spec.resourceAttributes",
                    "exactly one of nonResourceAttributes or resourceAttributes must be specified",
                ),
            };
            return Err(refused(field, &Tree::Null, value).into());
        }
    };
    Ok(match state.reason(user, &access).await? {
        Some(reason) if reason.is_empty() => json!({"allowed": true}),
        Some(reason) => json!({"allowed": true, "reason": reason}),
        None => json!({"allowed": false}),
    })
}

/// Returns all rules that apply to a user in a namespace.
async fn rules_review(state: &ServerState, user: &User, review: &Tree) -> Result<Tree, Refusal> {
    let namespace = text(&review["spec"], "namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request").into());
    }
    let policy = state.policy.policy(&*state.backend).await?;
    let (mut resource, mut path) = (Vec::new(), Vec::new());
    for applied in policy.rules_for(user, namespace) {
        let rule = applied.rule;
        if rule.paths.is_empty() {
            let mut shown =
                json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources});
            if !rule.names.is_empty() {
                shown["resourceNames"] = rule.names.clone().into();
            }
            resource.push(shown);
        } else {
            path.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.paths}));
        }
    }
    if crate::authorize::is_master(user) {
        resource.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        path.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    let mut status =
        json!({"resourceRules": resource, "nonResourceRules": path, "incomplete": false});
    if user.node().is_some() {
        status["incomplete"] = true.into();
        status["evaluationError"] = "node authorizer does not support user rule resolution".into();
    }
    Ok(status)
}
