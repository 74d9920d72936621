//! Validation of single values that many kinds share: numbers, enums, ports, percentages,
//! quantities and IP addresses.
//!
//! Functions append faults to a list, so that one response reports all of them. Absent fields are
//! valid unless stated otherwise.

use kinds::{
    Tree, names,
    quantity::Quantity,
    status::{FieldError, FieldErrors, FieldFault},
};

pub(crate) use rules::validation::{
    at_most_all, nonnegative, number_or_percent, one_of, one_of_if_set, percent,
};

use super::meta::invalid_text;
use super::path::Path;
use crate::tree::at;

/// Collects faults in the order in which clients see them.
pub(crate) type Faults = FieldErrors;

/// Rejects numbers below one. Absent is valid.
pub(crate) fn positive(tree: &Tree, field: &str, path: &Path<'_>, out: &mut Faults) {
    let value = at(tree, &[field]);
    if value.as_i64().is_some_and(|number| number <= 0) {
        out.push(FieldError::invalid(
            path.child(field),
            value,
            "must be greater than 0",
        ));
    }
}

/// Rejects port numbers out of range. An absent port counts as 0.
pub(crate) fn port_number(number: i64, path: &Path<'_>, out: &mut Faults) {
    if !(1..=65535).contains(&number) {
        out.push(FieldError::invalid(
            path,
            &Tree::from(number),
            "must be between 1 and 65535, inclusive",
        ));
    }
}

/// Rejects ports that are neither a number in range nor a valid port name.
pub(crate) fn port_number_or_name(port: &Tree, path: &Path<'_>, out: &mut Faults) {
    match port.as_str() {
        Some(name) => out.extend(
            names::port_name(name)
                .into_iter()
                .map(|fault| invalid_text(path, name, fault)),
        ),
        None => port_number(port.as_i64().unwrap_or_default(), path, out),
    }
}

/// Rejects absent, empty and unsupported values.
pub(crate) fn required_one_of(
    tree: &Tree,
    field: &str,
    supported: &[&str],
    path: &Path<'_>,
    out: &mut Faults,
) {
    if crate::tree::text(tree, &[field]).is_empty() {
        out.push(FieldError::required(path.child(field), ""));
    } else {
        one_of(tree, field, supported, path, out);
    }
}

/// Parses a quantity. Returns `None` if it is invalid.
pub(crate) fn quantity(value: &Tree) -> Option<Quantity> {
    value.as_str().and_then(|text| Quantity::parse(text).ok())
}

/// Rejects negative quantities.
pub(crate) fn nonnegative_quantity(value: &Tree, path: &Path<'_>, out: &mut Faults) {
    if quantity(value).is_some_and(Quantity::is_negative) {
        out.push(FieldError::invalid(
            path,
            value,
            "must be greater than or equal to 0",
        ));
    }
}

/// Returns the fault of a list with too many items.
pub(crate) fn too_many(path: &Path<'_>, count: usize, limit: usize) -> FieldError {
    FieldError {
        fault: FieldFault::TooMany,
        field: path.to_string(),
        body: format!("Too many: {count}: must have at most {limit} items"),
    }
}

/// Returns `true` for an IPv4 or IPv6 address in the format that the API accepts.
pub(crate) fn is_ip(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// Rejects invalid, unspecified, loopback and link-local addresses.
pub(crate) fn special_address(address: &str, path: &Path<'_>, out: &mut Faults) {
    let Ok(ip) = address.parse::<std::net::IpAddr>() else {
        out.push(invalid_text(path, address, NOT_AN_IP));
        return;
    };
    let (is_link_local, is_link_multicast) = match ip {
        std::net::IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(ip) => (
            ip.is_unicast_link_local(),
            ip.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    for (is_wrong, detail) in [
        (
            ip.is_unspecified(),
            format!("may not be unspecified ({address})"),
        ),
        (
            ip.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned(),
        ),
        (
            is_link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned(),
        ),
        (
            is_link_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned(),
        ),
    ] {
        if is_wrong {
            out.push(invalid_text(path, address, detail));
        }
    }
}

/// Message of the fault of an invalid IP address.
pub(crate) const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
