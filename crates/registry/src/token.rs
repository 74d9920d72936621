//! `serviceaccounts/token`: the registry checks that the account exists and builds the answer; the
//! caller of the registry provides the issuer of tokens.

use kinds::Tree;
use kinds::status::{GroupResource, Status};
use kinds::tree::json;

use crate::body::{self, ExpectedKind};
use crate::request::{Refusal, Reply, RequestBody, WriteOptions};
use crate::target::Target;
use crate::{Registry, admission, object, options, record, tree};

/// The shortest, the default and the longest lifetime of a token, in seconds.
const MIN_SECONDS: i64 = 600;
const DEFAULT_SECONDS: i64 = 3600;
const MAX_SECONDS: i64 = 1 << 32;

/// The claims of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Namespace of the service account.
    pub namespace: String,
    /// Name of the service account.
    pub name: String,
    /// Uid of the service account.
    pub uid: String,
    /// The audiences that may accept the token.
    pub audiences: Vec<String>,
    /// The time at which it expires.
    pub expires: jiff::Timestamp,
    /// The object that the token is bound to, if any: the token is invalid after its deletion.
    pub bound: Option<Bound>,
}

/// An object that a token is bound to. If it is namespaced, its namespace is the account's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The resource: `pods`, `secrets` or `nodes`.
    pub plural: &'static str,
    /// Name of the object.
    pub name: String,
    /// Uid of the object.
    pub uid: String,
}

/// The kinds to which tokens can be bound, with their resources.
const BINDABLE: [(&str, &str); 3] = [("Pod", "pods"), ("Secret", "secrets"), ("Node", "nodes")];

/// Issues tokens for service accounts.
pub trait TokenIssuer: Send + Sync {
    /// Returns a signed token with these claims.
    fn issue(&self, claims: &Claims) -> String;

    /// Returns the audience of tokens whose request names none.
    fn audience(&self) -> String;
}

impl Registry {
    /// Issues the token of a `TokenRequest`.
    pub(crate) fn issue_token(
        &self,
        target: &Target,
        body: &RequestBody,
        write: &WriteOptions,
    ) -> Result<Reply, Refusal> {
        options::dry_run(write, "CreateOptions")?;
        let sub = target
            .resource
            .subresource("token")
            .ok_or_else(Status::no_such_resource)?;
        let decoded = body::decode(
            body,
            ExpectedKind::of_subresource(sub),
            write.field_validation,
        )?;
        let account = self
            .store()
            .get(&target.key())
            .ok_or_else(|| target.not_found())?;
        let uid = object::meta_text(&record::parse(&account.value), "uid").to_owned();
        let Some(issuer) = &self.options().tokens else {
            return Err(Status::unavailable("this server issues no service account tokens").into());
        };
        let mut request = decoded.tree;
        // Before the default audience is added, which needs no check.
        let snapshot = self.store().snapshot();
        admission::node_restriction::token(&snapshot, target, &request)?;
        let asked = tree::int(&request, &["spec", "expirationSeconds"]).unwrap_or(DEFAULT_SECONDS);
        check_lifetime(asked)?;
        let expires = target
            .now
            .saturating_add(jiff::SignedDuration::from_secs(asked))
            .unwrap_or(jiff::Timestamp::MAX);
        if tree::list(&request, &["spec", "audiences"]).is_empty() {
            tree::put(
                &mut request,
                &["spec", "audiences"],
                vec![issuer.audience()],
            );
        }
        let bound = self.bound(target, tree::at(&request, &["spec", "boundObjectRef"]))?;
        let audiences = tree::list(&request, &["spec", "audiences"])
            .iter()
            .filter_map(Tree::as_str)
            .map(str::to_owned)
            .collect();
        let claims = Claims {
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            uid,
            audiences,
            expires,
            bound,
        };
        let status = json!({"token": issuer.issue(&claims),
            "expirationTimestamp": object::wire_time(expires)});
        tree::put(&mut request, &["status"], status);
        tree::put(&mut request, &["spec", "expirationSeconds"], asked);
        let meta = object::meta(&mut request);
        meta.insert("name", target.name.clone().into());
        meta.insert("namespace", target.namespace.clone().into());
        meta.insert("creationTimestamp", object::wire_time(target.now).into());
        let json = kinds::json::encode(&request, sub.ty).into();
        Ok(Reply::Object {
            code: 201,
            json,
            warnings: decoded.warnings,
        })
    }
}

impl Registry {
    /// Returns the object that a token is to be bound to. It must exist, and a pod must run under
    /// the account.
    fn bound(&self, target: &Target, asked: &Tree) -> Result<Option<Bound>, Refusal> {
        if asked.is_null() {
            return Ok(None);
        }
        let part = |member: &str| tree::text(asked, &[member]);
        let (api_version, kind) = (part("apiVersion"), part("kind"));
        let known = BINDABLE
            .iter()
            .find(|(known, _)| api_version == "v1" && *known == kind);
        let Some(&(_, plural)) = known else {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let text = format!(
                "cannot bind token for serviceaccount {:?} to type {group}/{version}, Kind={kind}",
                target.name
            );
            return Err(Status::bad_request(text).into());
        };
        let place = target.for_core(plural)?;
        let namespace = if place.resource.namespaced {
            target.namespace.as_str()
        } else {
            ""
        };
        let place = place.at(namespace, part("name"));
        let found = self
            .store()
            .get(&place.key())
            .ok_or_else(|| place.not_found())?;
        let found = record::parse(&found.value);
        if plural == "pods" && tree::text(&found, &["spec", "serviceAccountName"]) != target.name {
            let text = format!(
                "cannot bind token to pod {:?} running with different service account name.",
                place.name
            );
            return Err(Status::bad_request(text).into());
        }
        let (wanted, uid) = (part("uid"), object::meta_text(&found, "uid").to_owned());
        if !wanted.is_empty() && wanted != uid {
            let why = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            );
            return Err(Status::conflict(
                GroupResource {
                    group: "",
                    resource: kind,
                },
                &place.name,
                why,
            )
            .into());
        }
        Ok(Some(Bound {
            plural,
            name: place.name,
            uid,
        }))
    }
}

/// Refuses a lifetime that is too short or too long, with 422.
fn check_lifetime(seconds: i64) -> Result<(), Refusal> {
    let why = if seconds < MIN_SECONDS {
        "may not specify a duration less than 10 minutes"
    } else if seconds > MAX_SECONDS {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let fault =
        kinds::status::FieldError::invalid("spec.expirationSeconds", &Tree::from(seconds), why);
    let kind = GroupResource {
        group: "authentication.k8s.io",
        resource: "TokenRequest",
    };
    Err(Status::invalid(kind, "", &[fault]).into())
}
