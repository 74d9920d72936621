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

/// Returns the fault of an address range that is not in CIDR notation, has leading zeros or an
/// IPv4-mapped address, or has bits beyond its prefix.
pub(crate) fn address_range(text: &str) -> Option<&'static str> {
    const NOT_A_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    const LEADING_ZEROS: &str = "must not have leading 0s in IP or prefix length";
    let Some((address, length)) = text.split_once('/') else {
        return Some(NOT_A_RANGE);
    };
    let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let Some(bits) = length.parse::<u32>().ok().filter(|_| is_number) else {
        return Some(NOT_A_RANGE);
    };
    let strict = address.parse::<std::net::IpAddr>().ok();
    let Some(ip) = strict.or_else(|| without_leading_zeros(address)) else {
        return Some(NOT_A_RANGE);
    };
    let (value, most) = match ip {
        std::net::IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, 32),
        std::net::IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    if bits > most {
        return Some(NOT_A_RANGE);
    }
    if strict.is_none() || (length.len() > 1 && length.starts_with('0')) {
        return Some(LEADING_ZEROS);
    }
    if matches!(ip, std::net::IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
        return Some("must not have an IPv4-mapped IPv6 address");
    }
    let beyond = value.checked_shl(bits).unwrap_or_default();
    (beyond != 0).then_some("must not have bits set beyond the prefix length")
}

/// Parses an IPv4 address as older versions of Go did, with leading zeros.
fn without_leading_zeros(text: &str) -> Option<std::net::IpAddr> {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &&str| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<u8>().ok()).flatten()
    };
    let octets: Vec<u8> = parts.iter().map(number).collect::<Option<_>>()?;
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some(std::net::Ipv4Addr::from(octets).into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_ranges_are_strict() {
        const NO_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        const ZEROS: &str = "must not have leading 0s in IP or prefix length";
        const BITS: &str = "must not have bits set beyond the prefix length";
        const MAPPED: &str = "must not have an IPv4-mapped IPv6 address";
        for (text, expected) in [
            ("10.0.0.0/8", None),
            ("0.0.0.0/0", None),
            ("10.1.2.3/32", None),
            ("2001:db8::/64", None),
            ("::/0", None),
            ("10.0.0.1/8", Some(BITS)),
            ("0.0.0.1/0", Some(BITS)),
            ("2001:db8::1/64", Some(BITS)),
            ("010.0.0.0/8", Some(ZEROS)),
            ("10.0.0.0/08", Some(ZEROS)),
            ("::ffff:10.0.0.0/104", Some(MAPPED)),
            ("10.0.0.0/33", Some(NO_RANGE)),
            ("10.0.0.0", Some(NO_RANGE)),
            ("10.0.0/8", Some(NO_RANGE)),
            ("10.0.0.0/+8", Some(NO_RANGE)),
            ("10.0.0.0/-1", Some(NO_RANGE)),
            ("", Some(NO_RANGE)),
        ] {
            assert_eq!(address_range(text), expected, "{text}");
        }
    }
}
