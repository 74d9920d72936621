//! Validation of probes and lifecycle hooks: each has exactly one action.
//!
//! Only readiness probes may require more than one success, and only the other probes may override
//! the grace period.

use kinds::{Tree, status::FieldError};

use crate::strategy::checks::{Faults, nonnegative, one_of, port_number, port_number_or_name};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::tree::{at, int, list, text};

const SCHEMES: [&str; 2] = ["HTTP", "HTTPS"];

/// Validates the lifecycle hooks of a container.
pub(super) fn lifecycle(container: &Tree, spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let path = path.child("lifecycle");
    for hook in ["postStart", "preStop"] {
        let wanted = at(container, &["lifecycle", hook]);
        if wanted.is_object() {
            let grace = int(spec, &["terminationGracePeriodSeconds"]);
            action(
                wanted,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                grace,
                &path.child(hook),
                out,
            );
        }
    }
}

fn action(handler: &Tree, kinds: &[&str], grace: Option<i64>, path: &Path<'_>, out: &mut Faults) {
    let mut found = 0;
    for kind in kinds
        .iter()
        .copied()
        .filter(|kind| at(handler, &[kind]).is_object())
    {
        if found > 0 {
            out.push(FieldError::forbidden(
                path.child(kind),
                "may not specify more than 1 handler type",
            ));
            continue;
        }
        found += 1;
        let (action, path) = (at(handler, &[kind]), path.child(kind));
        match kind {
            "exec" if list(action, &["command"]).is_empty() => {
                out.push(FieldError::required(path.child("command"), ""))
            }
            "httpGet" => http_get(action, &path, out),
            "tcpSocket" => port_number_or_name(at(action, &["port"]), &path.child("port"), out),
            "grpc" => port_number(
                int(action, &["port"]).unwrap_or_default(),
                &path.child("port"),
                out,
            ),
            "sleep" => sleep(
                int(action, &["seconds"]).unwrap_or_default(),
                grace,
                &path,
                out,
            ),
            _ => {}
        }
    }
    if found == 0 {
        out.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn sleep(seconds: i64, grace: Option<i64>, path: &Path<'_>, out: &mut Faults) {
    if let Some(grace) = grace
        && !(0..=grace).contains(&seconds)
    {
        let detail =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        out.push(FieldError::invalid(path, &Tree::from(seconds), detail));
    }
}

fn http_get(get: &Tree, path: &Path<'_>, out: &mut Faults) {
    if text(get, &["path"]).is_empty() {
        out.push(FieldError::required(path.child("path"), ""));
    }
    port_number_or_name(at(get, &["port"]), &path.child("port"), out);
    one_of(get, "scheme", &SCHEMES, path, out);
    for header in list(get, &["httpHeaders"]) {
        let name = text(header, &["name"]);
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            out.push(invalid_text(path.child("httpHeaders"), name, detail));
        }
    }
}

/// Validates one probe of a container.
pub(super) fn probe(container: &Tree, which: &str, path: &Path<'_>, out: &mut Faults) {
    let probe = at(container, &[which]);
    if !probe.is_object() {
        return;
    }
    let path = path.child(which);
    action(
        probe,
        &["exec", "httpGet", "tcpSocket", "grpc"],
        None,
        &path,
        out,
    );
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        nonnegative(probe, field, &path, out);
    }
    let grace = at(probe, &["terminationGracePeriodSeconds"]);
    if grace.as_i64().is_some_and(|seconds| seconds <= 0) {
        out.push(FieldError::invalid(
            path.child("terminationGracePeriodSeconds"),
            grace,
            "must be greater than 0",
        ));
    }
    if which == "readinessProbe" {
        if !grace.is_null() {
            let detail = "must not be set for readinessProbes";
            out.push(FieldError::invalid(
                path.child("terminationGracePeriodSeconds"),
                grace,
                detail,
            ));
        }
    } else if int(probe, &["successThreshold"]) != Some(1) {
        out.push(FieldError::invalid(
            path.child("successThreshold"),
            at(probe, &["successThreshold"]),
            "must be 1",
        ));
    }
}
