//! Cluster IPs of services: `clusterIP`, `clusterIPs` and the IP families.
//!
//! The cluster is single-stack IPv4, so a service that requires IPv6 or dual stack is rejected.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kinds::{Tree, status::FieldError};

use crate::strategy::checks::{Faults, NOT_AN_IP, is_ip};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::SPEC;
use crate::tree::{at, carry, is_empty, list, put, take, text};

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];

/// Returns `true` for a headless service, which has no cluster IP.
pub(crate) fn is_headless(spec: &Tree) -> bool {
    matches!(list(spec, &["clusterIPs"]), [only] if only.as_str() == Some("None"))
}

fn is_external(spec: &Tree) -> bool {
    text(spec, &["type"]) == "ExternalName"
}

/// Synchronizes `clusterIP` and `clusterIPs` in an update that changes only one of them. Omitted
/// values keep their old value.
pub(super) fn agree(new: &mut Tree, old: &Tree) {
    let (before, all_before) = (
        at(old, &["spec", "clusterIP"]).clone(),
        at(old, &["spec", "clusterIPs"]).clone(),
    );
    let single = text(new, &["spec", "clusterIP"]).to_owned();
    // Clients that predate `clusterIPs` send only the single address.
    if !single.is_empty()
        && single != before.as_str().unwrap_or_default()
        && list(new, &["spec", "clusterIPs"]).is_empty()
    {
        put(new, &["spec", "clusterIPs"], vec![single.clone()]);
    }
    let keeps_all = at(new, &["spec", "clusterIPs"]) == &all_before;
    if before.as_str().unwrap_or_default() != single && keeps_all && !is_empty(&all_before) {
        if single.is_empty() {
            take(new, &["spec", "clusterIPs"]);
        } else if let Some(first) = crate::tree::list_mut(new, &["spec", "clusterIPs"]).first_mut()
        {
            *first = single.clone().into();
        }
    } else if before.as_str() == Some(single.as_str()) && !keeps_all && !single.is_empty() {
        match list(new, &["spec", "clusterIPs"]).first().cloned() {
            None => {}
            Some(first) => put(new, &["spec", "clusterIP"], first),
        }
    }
    if is_external(at(new, &["spec"])) || is_external(at(old, &["spec"])) {
        if !is_external(at(new, &["spec"]))
            && list(new, &["spec", "clusterIPs"]).is_empty()
            && !single.is_empty()
        {
            put(new, &["spec", "clusterIPs"], vec![single]);
        }
        return;
    }
    if text(new, &["spec", "clusterIP"]).is_empty() {
        carry(old, new, &["spec", "clusterIP"]);
    }
    if list(new, &["spec", "clusterIPs"]).is_empty() && at(new, &["spec", "clusterIP"]) == &before {
        carry(old, new, &["spec", "clusterIPs"]);
    }
    for member in ["ipFamilies", "ipFamilyPolicy"] {
        if at(new, &["spec", member]).is_null() {
            carry(old, new, &["spec", member]);
        }
    }
}

/// Validates the cluster IPs of a service.
pub(super) fn faults(spec: &Tree, out: &mut Faults) {
    if is_external(spec) {
        return;
    }
    let path = SPEC.child("clusterIPs");
    let (single, all) = (text(spec, &["clusterIP"]), list(spec, &["clusterIPs"]));
    match (single, all.first().and_then(Tree::as_str)) {
        ("", Some(_)) => {
            out.push(FieldError::invalid(
                path,
                at(spec, &["clusterIPs"]),
                "must be empty when `clusterIP` is not specified",
            ));
        }
        ("", None) => {}
        (_, None) => out.push(FieldError::required(path, "")),
        (single, Some(first)) if single != first => {
            out.push(FieldError::invalid(
                path,
                at(spec, &["clusterIPs"]),
                "first value must match `clusterIP`",
            ));
        }
        _ => {}
    }
    families(spec, out);
    let before = out.len();
    for (index, address) in all.iter().filter_map(Tree::as_str).enumerate() {
        if index == 0 && address == "None" {
            if all.len() > 1 {
                out.push(FieldError::invalid(
                    path,
                    at(spec, &["clusterIPs"]),
                    "'None' must be the first and only value",
                ));
            }
        } else if !is_ip(address) {
            out.push(invalid_text(path.index(index), address, NOT_AN_IP));
        }
    }
    let is_readable = out.len() == before;
    if all.len() > 2 {
        out.push(FieldError::invalid(
            path,
            at(spec, &["clusterIPs"]),
            "may only hold up to 2 values",
        ));
    }
    if is_readable {
        stacks(spec, out);
    }
}

fn families(spec: &Tree, out: &mut Faults) {
    let path = SPEC.child("ipFamilies");
    let mut seen = BTreeSet::new();
    for (index, family) in list(spec, &["ipFamilies"]).iter().enumerate() {
        if !family
            .as_str()
            .is_some_and(|family| FAMILIES.contains(&family))
        {
            out.push(FieldError::not_supported(
                path.index(index),
                family,
                &FAMILIES,
            ));
        }
        if !seen.insert(family.as_str().unwrap_or_default()) {
            out.push(FieldError::duplicate(path.index(index), family));
        }
    }
    let policy = at(spec, &["ipFamilyPolicy"]);
    if !policy.is_null()
        && !policy
            .as_str()
            .is_some_and(|policy| POLICIES.contains(&policy))
    {
        out.push(FieldError::not_supported(
            SPEC.child("ipFamilyPolicy"),
            policy,
            &POLICIES,
        ));
    }
}

fn family_of(address: &str) -> &'static str {
    match address.parse() {
        Ok(IpAddr::V6(_)) => "IPv6",
        _ => "IPv4",
    }
}

/// Validates that addresses match their families and that the cluster supports them.
fn stacks(spec: &Tree, out: &mut Faults) {
    let path = SPEC.child("clusterIPs");
    let all: Vec<&str> = list(spec, &["clusterIPs"])
        .iter()
        .filter_map(Tree::as_str)
        .collect();
    let families: Vec<&str> = list(spec, &["ipFamilies"])
        .iter()
        .filter_map(Tree::as_str)
        .collect();
    if let [one, other] = all[..]
        && family_of(one) == family_of(other)
    {
        out.push(FieldError::invalid(
            path,
            at(spec, &["clusterIPs"]),
            "may specify no more than one IP for each IP family",
        ));
    }
    if is_headless(spec) {
        let has_selector = !is_empty(at(spec, &["selector"]));
        if has_selector {
            this_cluster(spec, &[], &families, out);
        }
        return;
    }
    for (index, (address, family)) in all.iter().zip(&families).enumerate() {
        if family_of(address) != *family {
            let detail =
                format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            out.push(invalid_text(path.index(index), address, detail));
        }
    }
    this_cluster(spec, &all, &families, out);
}

/// Rejects what a single-stack cluster cannot provide.
fn this_cluster(spec: &Tree, all: &[&str], families: &[&str], out: &mut Faults) {
    let at_addresses = SPEC.child("clusterIPs");
    for (index, address) in all.iter().enumerate().skip(families.len()) {
        if family_of(address) == "IPv6" {
            let detail = "IPv6 is not configured on this cluster";
            out.push(FieldError::invalid(
                at_addresses.index(index),
                at(spec, &["clusterIPs"]),
                detail,
            ));
            return;
        }
    }
    let at_families = SPEC.child("ipFamilies");
    for (index, family) in families.iter().enumerate() {
        if *family == "IPv6" {
            out.push(invalid_text(
                at_families.index(index),
                family,
                "not configured on this cluster",
            ));
        }
    }
    if text(spec, &["ipFamilyPolicy"]) == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        out.push(invalid_text(
            SPEC.child("ipFamilyPolicy"),
            "RequireDualStack",
            detail,
        ));
    }
}

/// Validates an update: the primary address and the primary family are immutable.
pub(super) fn change(spec: &Tree, was: &Tree, out: &mut Faults) {
    if is_external(spec) || is_external(was) || is_headless(spec) && is_headless(was) {
        return;
    }
    let path = SPEC.child("clusterIPs");
    let (now, before) = (list(spec, &["clusterIPs"]), list(was, &["clusterIPs"]));
    for (index, address) in before.iter().enumerate().take(now.len()) {
        if &now[index] != address {
            out.push(FieldError::invalid(
                path.index(index),
                at(spec, &["clusterIPs"]),
                "may not change once set",
            ));
        }
    }
    if now.is_empty() && !before.is_empty() {
        out.push(FieldError::invalid(
            path.index(0),
            at(spec, &["clusterIPs"]),
            "primary clusterIP can not be unset",
        ));
    }
    if is_headless(spec) != is_headless(was) {
        return;
    }
    let path = SPEC.child("ipFamilies");
    let (now, before) = (list(spec, &["ipFamilies"]), list(was, &["ipFamilies"]));
    if let (Some(first), Some(was)) = (now.first(), before.first())
        && first != was
    {
        out.push(FieldError::invalid(
            path.index(0),
            at(spec, &["ipFamilies"]),
            "may not change once set",
        ));
    }
}
