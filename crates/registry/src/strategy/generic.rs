//! The default strategy for kinds without rules of their own, and semantic equality.
//!
//! The default strategy fills in the defaults of `defaults` and validates metadata only. Semantic
//! equality decides whether an update changed an object: it treats absent and zero alike where Go
//! does.

use kinds::facts::{Shape, Type};
use kinds::status::{FieldError, FieldErrors};
use kinds::{Tree, names};

use super::meta::invalid_text;
use super::{Strategy, StrategyContext, defaults};
use crate::tree::{at, text};

/// Validates structure and metadata only.
struct Generic {
    /// Fills in the defaults of the kind.
    defaults: fn(&mut Tree),
    names: NameForm,
    generation: bool,
    create_on_update: bool,
    unconditional: bool,
    returns_object: bool,
}

/// What the names of a kind must be.
#[derive(Clone, Copy)]
enum NameForm {
    /// DNS subdomains.
    Subdomain,
    /// Valid path segments.
    Segment,
    /// Names of storage drivers: DNS subdomains of at most 63 characters, in either case.
    Driver,
}

const PLAIN: Generic = Generic {
    defaults: |_| {},
    names: NameForm::Subdomain,
    generation: false,
    create_on_update: false,
    unconditional: true,
    returns_object: false,
};
static COMMON: Generic = PLAIN;
static COUNTED: Generic = Generic {
    generation: true,
    ..PLAIN
};
static DRIVERS: Generic = Generic {
    defaults: defaults::csi_driver,
    names: NameForm::Driver,
    unconditional: false,
    ..PLAIN
};
static POLICIES: Generic = Generic {
    defaults: defaults::admission_policy,
    generation: true,
    unconditional: false,
    ..PLAIN
};
static POLICY_BINDINGS: Generic = Generic {
    defaults: defaults::policy_binding,
    ..POLICIES_WITHOUT_DEFAULTS
};
const POLICIES_WITHOUT_DEFAULTS: Generic = Generic {
    generation: true,
    unconditional: false,
    ..PLAIN
};
static FLOW_SCHEMAS: Generic = Generic {
    defaults: defaults::flow_schema,
    generation: true,
    ..PLAIN
};
static PRIORITY_LEVELS: Generic = Generic {
    defaults: defaults::priority_level,
    generation: true,
    ..PLAIN
};
static CLAIMS: Generic = Generic {
    defaults: defaults::resource_claim,
    ..PLAIN
};
static CLAIM_TEMPLATES: Generic = Generic {
    defaults: defaults::resource_claim_template,
    ..PLAIN
};
static RETURNING: Generic = Generic {
    returns_object: true,
    unconditional: false,
    ..PLAIN
};
static ROLES: Generic = Generic {
    names: NameForm::Segment,
    create_on_update: true,
    ..PLAIN
};

/// Returns the strategy of a kind that has none of its own.
pub(crate) fn of(group: &str, plural: &str) -> &'static dyn Strategy {
    match (group, plural) {
        ("rbac.authorization.k8s.io", _) => &ROLES,
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &FLOW_SCHEMAS,
        ("flowcontrol.apiserver.k8s.io", _) => &PRIORITY_LEVELS,
        ("resource.k8s.io", "deviceclasses" | "resourceslices") => &COUNTED,
        ("resource.k8s.io", "resourceclaims") => &CLAIMS,
        ("resource.k8s.io", "resourceclaimtemplates") => &CLAIM_TEMPLATES,
        (
            "admissionregistration.k8s.io",
            "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings",
        ) => &POLICY_BINDINGS,
        ("admissionregistration.k8s.io", _) => &POLICIES,
        ("storage.k8s.io", "csidrivers") => &DRIVERS,
        ("storage.k8s.io", "csinodes" | "volumeattachments") => &RETURNING,
        _ => &COMMON,
    }
}

impl Strategy for Generic {
    fn default(&self, object: &mut Tree) {
        (self.defaults)(object);
    }

    fn name_faults(&self, name: &str) -> Vec<String> {
        match self.names {
            NameForm::Subdomain => names::dns_subdomain(name),
            NameForm::Segment => names::path_segment(name),
            // Reported by `validate_create`, under another field.
            NameForm::Driver => Vec::new(),
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        if matches!(self.names, NameForm::Driver) {
            driver_name(text(object, &["metadata", "name"]), &mut out);
        }
        out
    }

    fn has_generation(&self) -> bool {
        self.generation
    }

    fn raises_generation(&self, ty: &'static Type, new: &Tree, old: &Tree) -> bool {
        // Kinds without a `spec` have their content at the top level.
        let content = ty
            .fields
            .iter()
            .filter(|field| !matches!(field.name, "apiVersion" | "kind" | "metadata" | "status"));
        content
            .into_iter()
            .any(|field| !same_part(ty, &[field.name], new, old))
    }

    fn allow_create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn allow_unconditional_update(&self) -> bool {
        self.unconditional
    }

    fn returns_deleted_object(&self) -> bool {
        self.returns_object
    }
}

fn driver_name(name: &str, out: &mut FieldErrors) {
    if name.len() > names::LABEL_LIMIT {
        out.push(FieldError::too_long("name", names::LABEL_LIMIT));
    }
    out.extend(
        names::dns_subdomain(&name.to_lowercase())
            .into_iter()
            .map(|fault| invalid_text("name", name, fault)),
    );
}

/// Compares the part at `path` of two objects of type `ty`. Absent equals any value that a Go
/// struct cannot distinguish from it.
pub(crate) fn same_part(ty: &'static Type, path: &[&str], one: &Tree, other: &Tree) -> bool {
    let (one, other) = (at(one, path), at(other, path));
    let mut ty = ty;
    for (index, name) in path.iter().enumerate() {
        let Some(field) = ty.field(name) else {
            return one == other;
        };
        match &field.shape {
            _ if index + 1 == path.len() => return kinds::json::equal_member(one, other, field),
            Shape::Object(inner) => ty = inner,
            _ => return one == other,
        }
    }
    let empty = Tree::Object(kinds::tree::Map::new());
    let present = |tree| {
        if matches!(tree, &Tree::Null) {
            &empty
        } else {
            tree
        }
    };
    kinds::json::equal(present(one), present(other), ty)
}

/// Compares the part at `path` of two objects, given the full name of their type.
pub(crate) fn same(type_name: &str, path: &[&str], one: &Tree, other: &Tree) -> bool {
    match kinds::type_named(type_name) {
        Some(ty) => same_part(ty, path, one, other),
        None => at(one, path) == at(other, path),
    }
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    #[test]
    fn values_that_go_cannot_distinguish_are_equal() {
        const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";
        const BUDGET: &str = "io.k8s.api.policy.v1.PodDisruptionBudget";
        let check = |name: &str, path: &[&str], one: Tree, two: Tree, expected: bool| {
            assert_eq!(same(name, path, &one, &two), expected, "{one} {two}");
            assert_eq!(same(name, path, &two, &one), expected, "{two} {one}");
        };
        check(
            POD_SPEC,
            &[],
            json!({"hostNetwork": false, "tolerations": []}),
            json!({}),
            true,
        );
        check(
            POD_SPEC,
            &[],
            json!({"automountServiceAccountToken": false}),
            json!({}),
            false,
        );
        check(
            BUDGET,
            &["spec"],
            json!({"spec": {"selector": {}}}),
            json!({"spec": {}}),
            false,
        );
        check(
            BUDGET,
            &["spec"],
            json!({"spec": {"selector": {"matchLabels": {}}}}),
            json!({"spec": {"selector": {}}}),
            true,
        );
        check(BUDGET, &["spec"], json!({}), json!({"spec": {}}), true);
        check(
            BUDGET,
            &["metadata", "labels"],
            json!({"metadata": {"labels": {}}}),
            json!({}),
            true,
        );
    }
}
