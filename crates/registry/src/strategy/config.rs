//! Defaults and validation of `ConfigMap`, `Secret`, `ServiceAccount`, `PriorityClass` and `Lease`.
//!
//! An object with `immutable: true` keeps its data and its flag until it is deleted. The type of a
//! secret decides which keys it must have.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kinds::facts::Type;
use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::checks::Faults;
use super::meta::invalid_text;
use super::path::Path;
use super::{FieldNames, Strategy, StrategyContext};
use crate::tree::{at, carry, ensure, entries, fill, flag, put, take, text};

pub(crate) struct ConfigMap;

/// Maximum size of all values of a config map or secret, in bytes.
const DATA_LIMIT: usize = 1024 * 1024;

const DATA: Path<'static> = Path::root("data");
const FROZEN: &str = "field is immutable when `immutable` is set";

impl Strategy for ConfigMap {
    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let binary = at(object, &["binaryData"]);
        let mut size = 0;
        for (key, value) in entries(object, &["data"]) {
            out.extend(
                names::config_key(key)
                    .into_iter()
                    .map(|fault| invalid_text(DATA.key(key), key, fault)),
            );
            if binary.get(key).is_some() {
                out.push(invalid_text(
                    DATA.key(key),
                    key,
                    "duplicate of key present in binaryData",
                ));
            }
            size += value.as_str().map_or(0, str::len);
        }
        let at_binary = Path::root("binaryData");
        for (key, value) in entries(object, &["binaryData"]) {
            out.extend(
                names::config_key(key)
                    .into_iter()
                    .map(|fault| invalid_text(at_binary.key(key), key, fault)),
            );
            size += decoded_length(value);
        }
        if size > DATA_LIMIT {
            // Upstream passes an empty path here, which clients see as `[]`.
            out.push(FieldError::too_long("[]", DATA_LIMIT));
        }
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        frozen(new, old, &["data", "binaryData"], &mut out);
        out.extend(self.validate_create(context, new));
        out
    }
}

/// Validates that an immutable object keeps its data and stays immutable.
fn frozen(new: &Tree, old: &Tree, parts: &[&str], out: &mut Faults) {
    if !flag(old, &["immutable"]) {
        return;
    }
    if !flag(new, &["immutable"]) {
        out.push(FieldError::forbidden("immutable", FROZEN));
    }
    for part in parts {
        let (now, before) = (at(new, &[part]), at(old, &[part]));
        if now != before && !(crate::tree::is_empty(now) && crate::tree::is_empty(before)) {
            out.push(FieldError::forbidden(*part, FROZEN));
        }
    }
}

fn decoded_length(value: &Tree) -> usize {
    let text = value.as_str().unwrap_or_default().trim_end_matches('=');
    text.len() / 4 * 3 + (text.len() % 4).saturating_sub(1)
}

pub(crate) struct Secret;

impl Strategy for Secret {
    fn default(&self, object: &mut Tree) {
        fill(object, &["type"], "Opaque");
        if let Some(Tree::Object(plain)) = take(object, &["stringData"]) {
            let data = ensure(object, &["data"]);
            for (key, value) in plain {
                data.insert(
                    key,
                    Tree::from(STANDARD.encode(value.as_str().unwrap_or_default())),
                );
            }
        }
    }

    fn prepare_update(&self, _context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        if text(new, &["type"]).is_empty() {
            carry(old, new, &["type"]);
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let mut size = 0;
        for (key, value) in entries(object, &["data"]) {
            out.extend(
                names::config_key(key)
                    .into_iter()
                    .map(|fault| invalid_text(DATA.key(key), key, fault)),
            );
            size += decoded_length(value);
        }
        if size > DATA_LIMIT {
            out.push(FieldError::too_long(DATA, DATA_LIMIT));
        }
        secret_of_type(object, &mut out);
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        if text(new, &["type"]) != text(old, &["type"]) {
            out.push(FieldError::invalid(
                "type",
                at(new, &["type"]),
                "field is immutable",
            ));
        }
        frozen(new, old, &["data"], &mut out);
        out.extend(self.validate_create(context, new));
        out
    }

    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(&["type"])
    }

    fn selectable(&self, object: &Tree, _field: &str) -> String {
        text(object, &["type"]).to_owned()
    }

    fn field_refusal(&self, field: &str) -> Option<String> {
        Some(format!("field label not supported: {field}"))
    }
}

/// Validates the keys and annotations that the type of a secret requires.
fn secret_of_type(object: &Tree, out: &mut Faults) {
    let data = at(object, &["data"]);
    let need = |key: &str, out: &mut Faults| {
        if data.get(key).is_none() {
            out.push(FieldError::required(DATA.key(key), ""));
        }
    };
    match text(object, &["type"]) {
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            if text(object, &["metadata", "annotations", ACCOUNT]).is_empty() {
                out.push(FieldError::required(
                    Path::root("metadata.annotations").key(ACCOUNT),
                    "",
                ));
            }
        }
        "kubernetes.io/dockercfg" => need_json(data, ".dockercfg", out),
        "kubernetes.io/dockerconfigjson" => need_json(data, ".dockerconfigjson", out),
        "kubernetes.io/basic-auth"
            if data.get("username").is_none() && data.get("password").is_none() =>
        {
            need("username", out);
            need("password", out);
        }
        "kubernetes.io/ssh-auth"
            if data.get("ssh-privatekey").is_none_or(crate::tree::is_empty) =>
        {
            out.push(FieldError::required(DATA.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/tls" => {
            need("tls.crt", out);
            need("tls.key", out);
        }
        _ => {}
    }
}

fn need_json(data: &Tree, key: &str, out: &mut Faults) {
    let Some(value) = data.get(key).and_then(Tree::as_str) else {
        out.push(FieldError::required(DATA.key(key), ""));
        return;
    };
    let bytes = STANDARD.decode(value).unwrap_or_default();
    let fault = match kinds::json::decode_untyped(&bytes).map(|decoded| decoded.tree) {
        Ok(Tree::Object(_) | Tree::Null) => return,
        Ok(other) => format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            go_kind(&other)
        ),
        Err(fault) => fault.to_string(),
    };
    out.push(invalid_text(
        DATA.key(key),
        "<secret contents redacted>",
        fault,
    ));
}

fn go_kind(value: &Tree) -> &'static str {
    match value {
        Tree::Bool(_) => "bool",
        Tree::Number(_) => "number",
        Tree::String(_) => "string",
        Tree::Array(_) => "array",
        Tree::Null | Tree::Object(_) => "object",
    }
}

pub(crate) struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn returns_deleted_object(&self) -> bool {
        true
    }
}

pub(crate) struct PriorityClass;

/// Maximum value of a user-defined priority class. Higher values are reserved for the system.
const USER_PRIORITY_LIMIT: i64 = 1_000_000_000;
/// System priority classes and their values.
const SYSTEM_CLASSES: [(&str, i64); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];

impl Strategy for PriorityClass {
    fn default(&self, object: &mut Tree) {
        fill(object, &["preemptionPolicy"], "PreemptLowerPriority");
        if at(object, &["value"]).is_null() {
            put(object, &["value"], 0);
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn raises_generation(&self, _ty: &'static Type, _new: &Tree, _old: &Tree) -> bool {
        false
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let (name, value) = (
            text(object, &["metadata", "name"]),
            at(object, &["value"]).as_i64().unwrap_or_default(),
        );
        if name.starts_with("system-") {
            if let Some(why) = not_of_the_system(name, value, flag(object, &["globalDefault"])) {
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                );
                out.push(FieldError::forbidden("metadata.name", detail));
            }
        } else if value > USER_PRIORITY_LIMIT {
            let detail = format!(
                "maximum allowed value of a user defined priority is {USER_PRIORITY_LIMIT}"
            );
            out.push(FieldError::forbidden("value", detail));
        }
        let policy = text(object, &["preemptionPolicy"]);
        if !matches!(policy, "Never" | "PreemptLowerPriority") {
            let supported = ["PreemptLowerPriority", "Never"];
            out.push(FieldError::not_supported(
                "preemptionPolicy",
                &Tree::from(policy),
                &supported,
            ));
        }
        out
    }

    fn validate_update(
        &self,
        _context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        if at(new, &["value"]) != at(old, &["value"]) {
            out.push(FieldError::forbidden(
                "value",
                "may not be changed in an update.",
            ));
        }
        if text(new, &["preemptionPolicy"]) != text(old, &["preemptionPolicy"]) {
            out.push(FieldError::invalid(
                "preemptionPolicy",
                at(new, &["preemptionPolicy"]),
                "field is immutable",
            ));
        }
        out
    }
}

/// Returns why a class with the system prefix is not a valid system class.
fn not_of_the_system(name: &str, value: i64, is_default: bool) -> Option<String> {
    let Some((_, known)) = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if *known != value {
        return Some(format!("value of {name} PriorityClass must be {known}"));
    }
    is_default.then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

pub(crate) struct Lease;

impl Strategy for Lease {
    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        const SPEC: Path<'static> = Path::root("spec");
        let mut out = FieldErrors::default();
        let spec = at(object, &["spec"]);
        super::checks::positive(spec, "leaseDurationSeconds", &SPEC, &mut out);
        super::checks::nonnegative(spec, "leaseTransitions", &SPEC, &mut out);
        let strategy = text(spec, &["strategy"]);
        if !strategy.is_empty()
            && !matches!(strategy, "OldestEmulationVersion")
            && !strategy.contains('/')
        {
            out.push(invalid_text(
                SPEC.child("strategy"),
                strategy,
                "must be OldestEmulationVersion or a fully qualified name",
            ));
        }
        if strategy.is_empty() && !text(spec, &["preferredHolder"]).is_empty() {
            out.push(FieldError::forbidden(
                SPEC.child("preferredHolder"),
                "may only be specified when `strategy` is specified",
            ));
        }
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        _old: &Tree,
    ) -> FieldErrors {
        self.validate_create(context, new)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
