//! Validation of `Role` and `ClusterRole`.
//!
//! Each rule has verbs and either resources or non-resource URLs. Only cluster roles may have URLs.

use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::checks::Faults;
use super::meta::invalid_text;
use super::path::Path;
use super::{Strategy, StrategyContext, selector};
use crate::tree::{at, is_empty, list};

pub(crate) struct Role {
    /// Whether the strategy is for roles, not cluster roles.
    pub(crate) is_namespaced: bool,
}

impl Strategy for Role {
    fn name_faults(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        self.faults(object, false)
    }

    fn validate_update(
        &self,
        _context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        // A stored selector that an earlier version accepted must not block other changes.
        let lenient = selectors(old).iter().any(|selector| {
            let mut strict = FieldErrors::default();
            selector::faults(selector, &SELECTORS, false, &mut strict);
            let mut lenient = FieldErrors::default();
            selector::faults(selector, &SELECTORS, true, &mut lenient);
            strict.total() > lenient.total()
        });
        self.faults(new, lenient)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

const RULES: Path<'static> = Path::root("rules");
const SELECTORS: Path<'static> = Path::root("aggregationRule.clusterRoleSelectors");

impl Role {
    /// Returns the faults of a role. `lenient` skips the values of selectors.
    fn faults(&self, object: &Tree, lenient: bool) -> FieldErrors {
        let mut out = FieldErrors::default();
        for (index, rule) in list(object, &["rules"]).iter().enumerate() {
            rule_faults(rule, self.is_namespaced, &RULES.index(index), &mut out);
        }
        if self.is_namespaced || at(object, &["aggregationRule"]).is_null() {
            return out;
        }
        if selectors(object).is_empty() {
            out.push(FieldError::required(
                SELECTORS,
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            ));
        }
        for (index, one) in selectors(object).iter().enumerate() {
            let path = SELECTORS.index(index);
            selector::faults(one, &path, lenient, &mut out);
            // Upstream converts the selector as well, and reports the failure without its value.
            let mut strict = FieldErrors::default();
            selector::faults(one, &path, false, &mut strict);
            if !strict.is_empty() {
                out.push(invalid_text(path, "null", "invalid label selector."));
            }
        }
        out
    }
}

fn selectors(object: &Tree) -> &[Tree] {
    list(object, &["aggregationRule", "clusterRoleSelectors"])
}

fn rule_faults(rule: &Tree, is_namespaced: bool, path: &Path<'_>, out: &mut Faults) {
    if list(rule, &["verbs"]).is_empty() {
        out.push(FieldError::required(
            path.child("verbs"),
            "verbs must contain at least one value",
        ));
    }
    let urls = at(rule, &["nonResourceURLs"]);
    if !is_empty(urls) {
        let path = path.child("nonResourceURLs");
        if is_namespaced {
            out.push(FieldError::invalid(
                path,
                urls,
                "namespaced rules cannot apply to non-resource URLs",
            ));
        }
        if ["apiGroups", "resources", "resourceNames"]
            .iter()
            .any(|member| !is_empty(at(rule, &[member])))
        {
            out.push(FieldError::invalid(
                path,
                urls,
                "rules cannot apply to both regular resources and non-resource URLs",
            ));
        }
        return;
    }
    for (member, what) in [("apiGroups", "api group"), ("resources", "resource")] {
        if list(rule, &[member]).is_empty() {
            let detail = format!("resource rules must supply at least one {what}");
            out.push(FieldError::required(path.child(member), &detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;
    use crate::strategy::Gates;

    #[test]
    fn an_aggregation_needs_selectors_that_are_valid() {
        let check = |selectors: Tree, expected: &[&str]| {
            let context = StrategyContext {
                subresource: "",
                gates: Gates::default(),
                now: jiff::Timestamp::UNIX_EPOCH,
            };
            let object = json!({"aggregationRule": {"clusterRoleSelectors": selectors}});
            let cluster = Role {
                is_namespaced: false,
            };
            let faults = cluster.validate_create(&context, &object);
            let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{object}");
        };
        check(json!([{"matchLabels": {"a": "b"}}]), &[]);
        check(
            json!([]),
            &[
                "aggregationRule.clusterRoleSelectors: Required value: at least one \
                 clusterRoleSelector required if aggregationRule is non-nil",
            ],
        );
        check(
            json!([{"matchExpressions": [{"key": "a", "operator": "In"}]}]),
            &[
                "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values: Required \
                 value: must be specified when `operator` is 'In' or 'NotIn'",
                "aggregationRule.clusterRoleSelectors[0]: Invalid value: \"null\": invalid label \
                 selector.",
            ],
        );
    }

    #[test]
    fn a_rule_requires_verbs_and_either_resources_or_paths() {
        let check = |is_namespaced: bool, rule: Tree, expected: &[&str]| {
            let context = StrategyContext {
                subresource: "",
                gates: Gates::default(),
                now: jiff::Timestamp::UNIX_EPOCH,
            };
            let faults =
                Role { is_namespaced }.validate_create(&context, &json!({"rules": [rule]}));
            let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{rule}");
        };
        check(
            true,
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}),
            &[],
        );
        check(
            true,
            json!({"verbs": []}),
            &[
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        );
        let path = || json!({"verbs": ["get"], "nonResourceURLs": ["/x"]});
        check(false, path(), &[]);
        check(
            true,
            path(),
            &[
                "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
            ],
        );
        let mut both = path();
        both["resources"] = json!(["pods"]);
        let fault = "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources and non-resource URLs";
        check(false, both, &[fault]);
    }
}
