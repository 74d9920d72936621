//! Sets the service account of pods (ServiceAccount). Unless the pod or the account opts out, the
//! pod gets a volume with a token of the account, the cluster's certificate and the namespace.

use std::time::Duration;

use kinds::Tree;
use kinds::status::Status;
use kinds::tree::json;
use store::Record;

use crate::key;
use crate::record::TreeCache;
use crate::references::{MIRROR, PodReferences};
use crate::request::Refusal;
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::view::StoreView;
use crate::{Registry, record, tree};

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Lifetime of a projected token. As in Kubernetes, it is not exactly an hour, which distinguishes
/// these tokens from those that clients request.
const TOKEN_SECONDS: i64 = 3607;
/// How long the first pods of a new namespace wait for the controller to create the account.
const DEFAULT_ACCOUNT_WAIT: Duration = Duration::from_secs(1);

impl Registry {
    /// Waits for the default account of a new namespace, for at most `DEFAULT_ACCOUNT_WAIT`.
    ///
    /// Returns at once when the account exists or the pod names another one.
    pub(crate) async fn await_default_account(&self, target: &Target, pod: &Tree) {
        if target.stored.group_and_plural() != ("", "pods") || account_of(pod) != "default" {
            return;
        }
        let key = key::core("serviceaccounts", &target.namespace, "default");
        let namespace = key::core("namespaces", "", &target.namespace);
        // Read before the account is looked up: an account that appears in between ends the wait at
        // once.
        let revision = self.store().revision();
        if self.store().get(&key).is_some() || self.store().get(&namespace).is_none() {
            return;
        }
        let Ok(mut accounts) = self.store().watch(&key, revision) else {
            return;
        };
        // If the account is still missing, admission refuses the pod.
        let _ = tokio::time::timeout(DEFAULT_ACCOUNT_WAIT, accounts.next()).await;
    }
}

fn account_of(pod: &Tree) -> &str {
    let names = [
        tree::text(pod, &["spec", "serviceAccountName"]),
        tree::text(pod, &["spec", "serviceAccount"]),
    ];
    names
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("default")
}

/// Sets the account of a pod and mounts its token. Returns 403 when the account does not exist.
/// Mirror pods are left unchanged.
pub(crate) fn mutate(
    registry: &Registry,
    view: &impl StoreView,
    target: &Target,
    pod: &mut Tree,
) -> Result<(), Refusal> {
    if !tree::at(pod, &["metadata", "annotations", MIRROR]).is_null() {
        return check_mirror(target, pod);
    }
    let name = account_of(pod).to_owned();
    let key = key::core("serviceaccounts", &target.namespace, &name);
    let account = view
        .record(&key)
        .ok_or_else(|| missing(target, pod, &name))?;
    let account = account_tree(&target.trees, &account);
    tree::put(pod, &["spec", "serviceAccountName"], name.clone());
    tree::put(pod, &["spec", "serviceAccount"], name);
    if wants_token(pod, &account) && !has_token(pod) {
        mount(registry, pod);
    }
    add_pull_secrets(pod, &account);
    Ok(())
}

/// Refuses a mirror pod that would get at secrets without the checks of accounts.
fn check_mirror(target: &Target, pod: &Tree) -> Result<(), Refusal> {
    let references = PodReferences::of(pod);
    let why = if !references.service_account.is_empty()
        || !tree::text(pod, &["spec", "serviceAccount"]).is_empty()
    {
        "a mirror pod may not reference service accounts"
    } else if !references.secrets.is_empty() {
        "a mirror pod may not reference secrets"
    } else if references.has_projected_token {
        "a mirror pod may not use ServiceAccountToken volume projections"
    } else {
        return Ok(());
    };
    let kind = target.resource.group_resource();
    Err(Status::forbidden(kind, crate::object::shown_name(pod), why).into())
}

fn missing(target: &Target, pod: &Tree, name: &str) -> Refusal {
    let why = format!(
        "error looking up service account {}/{name}: serviceaccount {name:?} not found",
        target.namespace
    );
    Status::forbidden(
        target.resource.group_resource(),
        crate::object::shown_name(pod),
        why,
    )
    .into()
}

/// Returns true when the token is mounted. The pod's field has precedence over the account's, and
/// the default is true.
fn wants_token(pod: &Tree, account: &Tree) -> bool {
    let asked = tree::at(pod, &["spec", "automountServiceAccountToken"]).as_bool();
    asked
        .or_else(|| {
            account
                .get("automountServiceAccountToken")
                .and_then(Tree::as_bool)
        })
        .unwrap_or(true)
}

/// Returns true when every container already has a mount at the token path.
fn has_token(pod: &Tree) -> bool {
    let mounted = |container: &Tree| {
        tree::list(container, &["volumeMounts"])
            .iter()
            .any(|mount| tree::text(mount, &["mountPath"]) == TOKEN_PATH)
    };
    let mut all = ["initContainers", "containers"]
        .into_iter()
        .flat_map(|kind| tree::list(pod, &["spec", kind]));
    all.all(mounted)
}

fn mount(registry: &Registry, pod: &mut Tree) {
    let present = tree::list(pod, &["spec", "volumes"])
        .iter()
        .map(|volume| tree::text(volume, &["name"]));
    let existing = present
        .filter(|name| name.starts_with("kube-api-access-"))
        .map(str::to_owned)
        .next();
    let name = existing
        .clone()
        .unwrap_or_else(|| format!("kube-api-access-{}", registry.entropy().suffix(5)));
    for kind in ["initContainers", "containers"] {
        for container in tree::list_mut(pod, &["spec", kind]) {
            let mounted = tree::list(container, &["volumeMounts"])
                .iter()
                .any(|mount| tree::text(mount, &["mountPath"]) == TOKEN_PATH);
            if !mounted {
                push(
                    container,
                    "volumeMounts",
                    json!({"name": name, "readOnly": true, "mountPath": TOKEN_PATH}),
                );
            }
        }
    }
    if let (None, Some(spec)) = (existing, tree::at_mut(pod, &["spec"])) {
        push(spec, "volumes", volume(&name));
    }
}

fn volume(name: &str) -> Tree {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

/// Copies the image pull secrets of the account to a pod that has none.
fn add_pull_secrets(pod: &mut Tree, account: &Tree) {
    if !tree::list(pod, &["spec", "imagePullSecrets"]).is_empty() {
        return;
    }
    if !tree::list(account, &["imagePullSecrets"]).is_empty() {
        tree::put(
            pod,
            &["spec", "imagePullSecrets"],
            account["imagePullSecrets"].clone(),
        );
    }
}

fn account_tree(trees: &TreeCache, account: &Record) -> Tree {
    ResourceRef::built_in("", "v1", "serviceaccounts").map_or_else(
        || record::parse(&account.value),
        |accounts| record::tree_of(trees, &accounts, account),
    )
}

/// Appends an item to a list member, which is created if it is missing.
pub(super) fn push(parent: &mut Tree, member: &str, item: Tree) {
    let list = tree::ensure(parent, &[])
        .entry(member)
        .or_insert(Tree::Null);
    match list.as_array_mut() {
        Some(items) => items.push(item),
        None => *list = json!([item]),
    }
}
