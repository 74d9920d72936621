//! Writes of the subresources of certificate signing requests, which need a right on the signer:
//! `approve` for the decision, `sign` for the certificate and the other conditions.
//!
//! The signer is in the stored object, so the write is bound to the version that was looked at. A
//! request that is deleted and made again with another signer meanwhile is looked at again.

use kinds::Tree;
use kinds::status::Status;
use registry::request::{Refusal, Reply, Request, User, Verb, WriteOptions};

use crate::authorize::{AccessRequest, AccessTarget, is_master};
use crate::state::ServerState;

const GROUP: &str = "certificates.k8s.io";

/// How often a write is authorized again because the object changes at the same time.
const ATTEMPTS: usize = 8;

/// Carries out a request. Other requests than writes of the two subresources pass unchanged.
pub(super) async fn call(state: &ServerState, request: Request) -> Result<Reply, Refusal> {
    match verb_on_signer(&request) {
        None => state.backend.call(request).await,
        Some(verb) => Box::pin(call_authorized(state, request, verb)).await,
    }
}

/// Carries out a write that needs a right on the signer.
async fn call_authorized(
    state: &ServerState,
    request: Request,
    verb: &'static str,
) -> Result<Reply, Refusal> {
    let mut attempt = 1;
    loop {
        let authorized = authorized(state, &request, verb).await;
        let reply = match authorized {
            Ok(authorized) => state.backend.call(authorized).await,
            Err(refusal) => Err(refusal),
        };
        match reply {
            Err(refusal) if refusal.status.code == 409 && attempt < ATTEMPTS => attempt += 1,
            reply => return reply,
        }
    }
}

/// Returns the verb that a request needs on the signer.
fn verb_on_signer(request: &Request) -> Option<&'static str> {
    let is_write = matches!(request.verb, Verb::Update { .. } | Verb::Patch { .. });
    let resource = &request.resource;
    if !is_write || resource.group != GROUP || resource.plural != "certificatesigningrequests" {
        return None;
    }
    match request.subresource {
        _ if is_master(&request.user) => None,
        Some("approval") => Some("approve"),
        Some("status") => Some("sign"),
        _ => None,
    }
}

/// Returns the request, bound to the state of the object for which it is allowed.
async fn authorized(
    state: &ServerState,
    request: &Request,
    verb: &'static str,
) -> Result<Request, Refusal> {
    let get = Verb::Get {
        resource_version: String::new(),
    };
    let get = Request {
        verb: get,
        ..request.clone()
    };
    let old = object_of(state.backend.call(get).await?)?;
    let version = text(&old, "/metadata/resourceVersion").to_owned();
    // Upstream validates before it asks for the right, so the refusal of an invalid write wins.
    let dry_run = bound(request, &version, |options| {
        if options.dry_run.is_empty() {
            options.dry_run = vec!["All".to_owned()];
        }
    });
    let new = object_of(state.backend.call(dry_run).await?)?;
    let signs = ["/status/certificate", "/status/conditions"]
        .iter()
        .any(|part| old.pointer(part) != new.pointer(part));
    let signer = text(&old, "/spec/signerName");
    let is_allowed = (verb == "sign" && !signs) || may(state, &request.user, verb, signer).await;
    if !is_allowed {
        let why = format!(
            "user not permitted to {verb} requests with signerName {}",
            kinds::status::quoted(signer)
        );
        let kind = request.resource.group_resource();
        return Err(Status::forbidden(kind, &request.name, why).into());
    }
    Ok(bound(request, &version, |_| {}))
}

/// Returns whether a user may do something as a signer, or as all signers of its domain.
async fn may(state: &ServerState, user: &User, verb: &'static str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer, &format!("{domain}/*")] {
        let target = AccessTarget::Resource {
            group: GROUP,
            resource: "signers",
            subresource: "",
            namespace: "",
            name,
        };
        if state.allows(user, &AccessRequest { verb, target }).await {
            return true;
        }
    }
    false
}

/// Returns a write that fails if the object is at another version.
fn bound(request: &Request, version: &str, change: impl Fn(&mut WriteOptions)) -> Request {
    let mut request = request.clone();
    if let Verb::Update { options, .. } | Verb::Patch { options, .. } = &mut request.verb {
        options.authorized_version = Some(version.to_owned());
        change(options);
    }
    request
}

fn object_of(reply: Reply) -> Result<Tree, Status> {
    let object = match reply {
        Reply::Object { json, .. } => serde_json::from_slice(&json).ok(),
        _ => None,
    };
    object.ok_or_else(|| Status::internal("cannot read the certificate signing request"))
}

fn text<'a>(tree: &'a Tree, pointer: &str) -> &'a str {
    tree.pointer(pointer)
        .and_then(Tree::as_str)
        .unwrap_or_default()
}
