//! Validation of `ServiceCIDR` and `IPAddress`: the addresses that services may have, and those
//! that they have.

use kinds::facts::Type;
use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::checks::Faults;
use super::meta::invalid_text;
use super::netip::{self, Prefix};
use super::path::{Path, SPEC};
use super::{Strategy, StrategyContext, same_part};
use crate::tree::{at, list, text};

const IMMUTABLE: &str = "field is immutable";

pub(crate) struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        ranges(object, &mut out);
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        if context.subresource == "status" {
            return out;
        }
        let path = SPEC.child("cidrs");
        let (now, was) = (list(new, &["spec", "cidrs"]), list(old, &["spec", "cidrs"]));
        // A range of one family may get one of the other family.
        let is_extension = was.len() == 1 && now.len() == 2;
        if now.len() != was.len() && !is_extension {
            out.push(FieldError::invalid(
                path,
                at(new, &["spec", "cidrs"]),
                IMMUTABLE,
            ));
            return out;
        }
        for (index, (range, before)) in now.iter().zip(was).enumerate() {
            if range != before {
                out.push(FieldError::invalid(path.index(index), range, IMMUTABLE));
            }
        }
        if is_extension {
            ranges(new, &mut out);
        }
        out
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn ranges(object: &Tree, out: &mut Faults) {
    let path = SPEC.child("cidrs");
    let all = list(object, &["spec", "cidrs"]);
    if all.is_empty() {
        out.push(FieldError::required(path, "at least one CIDR required"));
        return;
    }
    let whole = at(object, &["spec", "cidrs"]);
    if all.len() > 2 {
        out.push(FieldError::invalid(
            path,
            whole,
            "may only hold up to 2 values",
        ));
        return;
    }
    let parsed = || all.iter().filter_map(Tree::as_str).map(Prefix::parse);
    let is_dual = || {
        let families: Vec<_> = parsed()
            .map(|prefix| prefix.map(|prefix| prefix.address.is_ipv4()))
            .collect();
        matches!(families[..], [Ok(one), Ok(other)] if one != other)
    };
    if all.len() == 2 && !is_dual() {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and \
                      2001:db8::/64";
        out.push(FieldError::invalid(path, whole, detail));
        return;
    }
    for (index, range) in all.iter().filter_map(Tree::as_str).enumerate() {
        let path = path.index(index);
        match Prefix::parse(range) {
            Err(fault) => out.push(invalid_text(path, range, fault)),
            Ok(prefix) => {
                if !prefix.is_network() {
                    let detail = "wrong CIDR format, IP doesn't match network IP address";
                    out.push(invalid_text(path, range, detail));
                }
                if prefix.to_string() != range {
                    let detail = "CIDR not in RFC 5952 canonical format";
                    out.push(invalid_text(path, range, detail));
                }
            }
        }
    }
}

pub(crate) struct IpAddress;

impl Strategy for IpAddress {
    fn name_faults(&self, name: &str) -> Vec<String> {
        netip::address_name(name)
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let parent = at(object, &["spec", "parentRef"]);
        let path = SPEC.child("parentRef");
        if parent.is_null() {
            out.push(FieldError::required(path, ""));
            return out;
        }
        checked(
            parent,
            "group",
            names::dns_subdomain,
            false,
            &path,
            &mut out,
        );
        checked(
            parent,
            "resource",
            names::path_segment,
            true,
            &path,
            &mut out,
        );
        checked(parent, "name", names::path_segment, true, &path, &mut out);
        checked(
            parent,
            "namespace",
            names::path_segment,
            false,
            &path,
            &mut out,
        );
        out
    }

    fn validate_update(
        &self,
        _context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        if !is_same_parent(new, old) {
            out.push(FieldError::invalid(
                SPEC.child("parentRef"),
                at(new, &["spec", "parentRef"]),
                IMMUTABLE,
            ));
        }
        out
    }
}

fn is_same_parent(new: &Tree, old: &Tree) -> bool {
    let ty: Option<&'static Type> = kinds::type_named("io.k8s.api.networking.v1.IPAddress");
    ty.map_or_else(
        || at(new, &["spec"]) == at(old, &["spec"]),
        |ty| same_part(ty, &["spec", "parentRef"], new, old),
    )
}

fn checked(
    holder: &Tree,
    field: &str,
    rule: fn(&str) -> Vec<String>,
    required: bool,
    path: &Path<'_>,
    out: &mut Faults,
) {
    let value = text(holder, &[field]);
    if value.is_empty() {
        if required {
            out.push(FieldError::required(path.child(field), ""));
        }
        return;
    }
    out.extend(
        rule(value)
            .into_iter()
            .map(|fault| invalid_text(path.child(field), value, fault)),
    );
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    fn context() -> StrategyContext<'static> {
        StrategyContext {
            subresource: "",
            gates: crate::strategy::Gates::default(),
            now: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn texts(faults: &FieldErrors) -> Vec<String> {
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_are_networks_of_different_families() {
        let cases = [
            (json!(["10.0.0.0/8"]), None),
            (json!(["10.0.0.0/8", "2001:db8::/64"]), None),
            (
                json!([]),
                Some("spec.cidrs: Required value: at least one CIDR required"),
            ),
            (
                json!(["10.0.0.0/8", "11.0.0.0/8"]),
                Some(
                    "spec.cidrs: Invalid value: [\"10.0.0.0/8\",\"11.0.0.0/8\"]: may specify no \
                     more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
                ),
            ),
            (
                json!(["10.0.0.1/8"]),
                Some(
                    "spec.cidrs[0]: Invalid value: \"10.0.0.1/8\": wrong CIDR format, IP doesn't \
                     match network IP address",
                ),
            ),
            (
                json!(["2001:DB8::/64"]),
                Some(
                    "spec.cidrs[0]: Invalid value: \"2001:DB8::/64\": CIDR not in RFC 5952 \
                     canonical format",
                ),
            ),
        ];
        for (cidrs, expected) in cases {
            let object = json!({"spec": {"cidrs": cidrs}});
            let found = texts(&ServiceCidr.validate_create(&context(), &object));
            assert_eq!(found.first().map(String::as_str), expected, "{object}");
        }
        let range = |cidrs: Tree| json!({"spec": {"cidrs": cidrs}});
        let update = |new: Tree, old: Tree| {
            ServiceCidr
                .validate_update(&context(), &range(new), &range(old))
                .len()
        };
        assert_eq!(update(json!(["10.0.0.0/8"]), json!(["10.0.0.0/8"])), 0);
        assert_eq!(update(json!(["11.0.0.0/8"]), json!(["10.0.0.0/8"])), 1);
        let both = json!(["10.0.0.0/8", "2001:db8::/64"]);
        assert_eq!(update(both.clone(), json!(["10.0.0.0/8"])), 0);
        assert_eq!(update(json!(["10.0.0.0/8"]), both), 1);
    }

    #[test]
    fn an_address_names_its_parent() {
        let cases = [
            (
                json!({"parentRef": {"resource": "services", "name": "a", "namespace": "n"}}),
                None,
            ),
            (json!({}), Some("spec.parentRef: Required value")),
            (
                json!({"parentRef": {"name": "a"}}),
                Some("spec.parentRef.resource: Required value"),
            ),
            (
                json!({"parentRef": {"resource": "services"}}),
                Some("spec.parentRef.name: Required value"),
            ),
            (
                json!({"parentRef": {"resource": "a/b", "name": "a"}}),
                Some("spec.parentRef.resource: Invalid value: \"a/b\": may not contain '/'"),
            ),
        ];
        for (spec, expected) in cases {
            let object = json!({"spec": spec});
            let found = texts(&IpAddress.validate_create(&context(), &object));
            assert_eq!(found.first().map(String::as_str), expected, "{object}");
        }
    }
}
