//! Validation of the security contexts of pods and containers.
//!
//! A profile of type `Localhost` requires a file, and all other types reject one. A sysctl is
//! rejected if the pod shares the namespace of that sysctl with the host.

use std::collections::BTreeSet;

use kinds::{Tree, status::FieldError};

use super::values::{known_word, relative_path};
use crate::strategy::checks::{Faults, one_of, one_of_if_set};
use crate::strategy::meta::{invalid_shown, invalid_text};
use crate::strategy::path::Path;
use crate::tree::{at, flag, list, text};

const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";
const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const SYSCTL_LIMIT: usize = 253;
const SYSCTL_PATTERN: &str =
    "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn id(value: &Tree, path: &Path<'_>, out: &mut Faults) {
    if value
        .as_i64()
        .is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id))
    {
        out.push(FieldError::invalid(path, value, ID_RANGE));
    }
}

/// Validates the security context of a pod.
pub(super) fn pod(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let context = at(spec, &["securityContext"]);
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(at(context, &[field]), &path.child(field), out);
    }
    let groups = path.child("supplementalGroups");
    for (index, group) in list(context, &["supplementalGroups"]).iter().enumerate() {
        id(group, &groups.index(index), out);
    }
    if flag(spec, &["shareProcessNamespace"]) && flag(spec, &["hostPID"]) {
        out.push(FieldError::invalid(
            path.child("shareProcessNamespace"),
            &Tree::Bool(true),
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
    sysctls(context, spec, &path.child("sysctls"), out);
    one_of_if_set(
        context,
        "fsGroupChangePolicy",
        &["Always", "OnRootMismatch"],
        path,
        out,
    );
    seccomp(
        at(context, &["seccompProfile"]),
        &path.child("seccompProfile"),
        out,
    );
    app_armor(
        at(context, &["appArmorProfile"]),
        &path.child("appArmorProfile"),
        out,
    );
    one_of_if_set(
        context,
        "supplementalGroupsPolicy",
        &["Merge", "Strict"],
        path,
        out,
    );
}

fn sysctls(context: &Tree, spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, sysctl) in list(context, &["sysctls"]).iter().enumerate() {
        let name = text(sysctl, &["name"]);
        let path = path.index(index);
        if name.is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        } else if !is_sysctl(name) {
            let detail = format!(
                "must have at most {SYSCTL_LIMIT} characters and match regex {SYSCTL_PATTERN}"
            );
            out.push(invalid_text(path.child("name"), name, detail));
        } else if !seen.insert(name) {
            out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
        }
        let is_net = name.starts_with("net.") || name.starts_with("net/");
        let is_ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."]
            .iter()
            .any(|front| name.starts_with(front));
        if is_net && flag(spec, &["hostNetwork"]) {
            out.push(invalid_text(
                path.child("name"),
                name,
                "may not be specified when 'hostNetwork' is true",
            ));
        } else if is_ipc && flag(spec, &["hostIPC"]) {
            out.push(invalid_text(
                path.child("name"),
                name,
                "may not be specified when 'hostIPC' is true",
            ));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let is_segment = |segment: &str| {
        let ends = |byte: Option<&u8>| {
            byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let bytes = segment.as_bytes();
        let inner = |byte: &u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inner)
    };
    name.len() <= SYSCTL_LIMIT && name.split(['.', '/']).all(is_segment)
}

fn seccomp(profile: &Tree, path: &Path<'_>, out: &mut Faults) {
    if !profile.is_object() {
        return;
    }
    known_word(
        profile,
        "type",
        &PROFILES,
        "type is required when seccompProfile is set",
        path,
        out,
    );
    let local = at(profile, &["localhostProfile"]);
    let at_local = path.child("localhostProfile");
    match (text(profile, &["type"]) == "Localhost", local.as_str()) {
        (true, None) => out.push(FieldError::required(
            at_local,
            "must be set when seccomp type is Localhost",
        )),
        (true, Some(file)) => relative_path(file, &at_local, out),
        (false, Some(_)) => {
            let shown = format!(
                "{{\"Type\":{},\"LocalhostProfile\":{local}}}",
                Tree::from(text(profile, &["type"]))
            );
            out.push(invalid_shown(
                at_local,
                &shown,
                "can only be set when seccomp type is Localhost",
            ));
        }
        (false, None) => {}
    }
}

fn app_armor(profile: &Tree, path: &Path<'_>, out: &mut Faults) {
    if !profile.is_object() {
        return;
    }
    let local = at(profile, &["localhostProfile"]);
    let at_local = path.child("localhostProfile");
    match text(profile, &["type"]) {
        "Localhost" => match local.as_str() {
            None | Some("") => out.push(FieldError::required(
                at_local,
                "must be set when AppArmor type is Localhost",
            )),
            Some(file) if file.trim() != file => out.push(invalid_text(
                at_local,
                file,
                "must not be padded with whitespace",
            )),
            Some(_) => {}
        },
        "RuntimeDefault" | "Unconfined" => {
            if !local.is_null() {
                out.push(FieldError::invalid(
                    at_local,
                    local,
                    "can only be set when AppArmor type is Localhost",
                ));
            }
        }
        _ => known_word(
            profile,
            "type",
            &PROFILES,
            "type is required when appArmorProfile is set",
            path,
            out,
        ),
    }
}

/// Validates the security context of a container.
pub(super) fn container(container: &Tree, spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let context = at(container, &["securityContext"]);
    if !context.is_object() {
        return;
    }
    for field in ["runAsUser", "runAsGroup"] {
        id(at(context, &[field]), &path.child(field), out);
    }
    if !at(context, &["procMount"]).is_null() {
        one_of(context, "procMount", &["Default", "Unmasked"], path, out);
        if text(context, &["procMount"]) == "Unmasked"
            && at(spec, &["hostUsers"]) != &Tree::Bool(false)
        {
            out.push(invalid_text(
                path.child("procMount"),
                "Unmasked",
                "`hostUsers` must be false to use `Unmasked`",
            ));
        }
    }
    seccomp(
        at(context, &["seccompProfile"]),
        &path.child("seccompProfile"),
        out,
    );
    if at(context, &["allowPrivilegeEscalation"]) == &Tree::Bool(false) {
        if flag(context, &["privileged"]) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            out.push(invalid_shown(path, &shown(context), detail));
        }
        for _ in list(context, &["capabilities", "add"])
            .iter()
            .filter(|name| name.as_str() == Some("CAP_SYS_ADMIN"))
        {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            out.push(invalid_shown(path, &shown(context), detail));
        }
    }
    app_armor(
        at(context, &["appArmorProfile"]),
        &path.child("appArmorProfile"),
        out,
    );
}

/// Renders a security context as errors show it: with the field names of upstream's Go structs.
fn shown(context: &Tree) -> String {
    let capabilities = match at(context, &["capabilities"]) {
        Tree::Null => "null".to_owned(),
        some => format!(
            "{{\"Add\":{},\"Drop\":{}}}",
            at(some, &["add"]),
            at(some, &["drop"])
        ),
    };
    let field = |shown: &str, name: &str| format!(",\"{shown}\":{}", at(context, &[name]));
    let rest: String = [
        ("Privileged", "privileged"),
        ("SELinuxOptions", "seLinuxOptions"),
        ("WindowsOptions", "windowsOptions"),
        ("RunAsUser", "runAsUser"),
        ("RunAsGroup", "runAsGroup"),
        ("RunAsNonRoot", "runAsNonRoot"),
        ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem"),
        ("AllowPrivilegeEscalation", "allowPrivilegeEscalation"),
        ("ProcMount", "procMount"),
        ("SeccompProfile", "seccompProfile"),
        ("AppArmorProfile", "appArmorProfile"),
    ]
    .into_iter()
    .map(|(shown, name)| field(shown, name))
    .collect();
    format!("{{\"Capabilities\":{capabilities}{rest}}}")
}
