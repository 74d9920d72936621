//! What the names of every kind must be, as a table. A kind that the table lacks fails the test.

use kinds::Tree;
use kinds::tree::json;

use super::{ON, context};
use crate::kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A DNS subdomain.
    Subdomain,
    /// A DNS label.
    Label,
    /// Whatever is one segment of a path.
    Segment,
    /// An IP address in canonical form.
    Address,
    /// A DNS subdomain of at most 63 characters, in either case.
    Driver,
    /// A DNS subdomain of at most 52 characters, because the names of jobs are derived from it.
    CronJob,
    /// What the object itself demands: `plural.group`, `version.group`.
    Own,
}

use Rule::{Address, CronJob, Driver, Label, Own, Segment, Subdomain};

const TABLE: &[(&str, &[(&str, Rule)])] = &[
    (
        "",
        &[
            ("configmaps", Subdomain),
            ("endpoints", Subdomain),
            ("events", Segment),
            ("limitranges", Subdomain),
            ("namespaces", Label),
            ("nodes", Subdomain),
            ("persistentvolumeclaims", Subdomain),
            ("persistentvolumes", Subdomain),
            ("pods", Subdomain),
            ("podtemplates", Subdomain),
            ("replicationcontrollers", Subdomain),
            ("resourcequotas", Subdomain),
            ("secrets", Subdomain),
            ("serviceaccounts", Subdomain),
            ("services", Label),
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &[
            ("mutatingadmissionpolicies", Subdomain),
            ("mutatingadmissionpolicybindings", Subdomain),
            ("mutatingwebhookconfigurations", Subdomain),
            ("validatingadmissionpolicies", Subdomain),
            ("validatingadmissionpolicybindings", Subdomain),
            ("validatingwebhookconfigurations", Subdomain),
        ],
    ),
    (
        "apiextensions.k8s.io",
        &[("customresourcedefinitions", Own)],
    ),
    ("apiregistration.k8s.io", &[("apiservices", Own)]),
    (
        "apps",
        &[
            ("controllerrevisions", Subdomain),
            ("daemonsets", Subdomain),
            ("deployments", Subdomain),
            ("replicasets", Subdomain),
            ("statefulsets", Label),
        ],
    ),
    ("autoscaling", &[("horizontalpodautoscalers", Subdomain)]),
    ("batch", &[("cronjobs", CronJob), ("jobs", Subdomain)]),
    (
        "certificates.k8s.io",
        &[("certificatesigningrequests", Segment)],
    ),
    ("coordination.k8s.io", &[("leases", Subdomain)]),
    ("discovery.k8s.io", &[("endpointslices", Subdomain)]),
    ("events.k8s.io", &[("events", Segment)]),
    (
        "flowcontrol.apiserver.k8s.io",
        &[
            ("flowschemas", Subdomain),
            ("prioritylevelconfigurations", Subdomain),
        ],
    ),
    (
        "networking.k8s.io",
        &[
            ("ingressclasses", Subdomain),
            ("ingresses", Subdomain),
            ("ipaddresses", Address),
            ("networkpolicies", Subdomain),
            ("servicecidrs", Subdomain),
        ],
    ),
    ("node.k8s.io", &[("runtimeclasses", Subdomain)]),
    ("policy", &[("poddisruptionbudgets", Segment)]),
    (
        "rbac.authorization.k8s.io",
        &[
            ("clusterrolebindings", Segment),
            ("clusterroles", Segment),
            ("rolebindings", Segment),
            ("roles", Segment),
        ],
    ),
    (
        "resource.k8s.io",
        &[
            ("deviceclasses", Subdomain),
            ("devicetaintrules", Subdomain),
            ("resourceclaims", Subdomain),
            ("resourceclaimtemplates", Subdomain),
            ("resourceslices", Subdomain),
        ],
    ),
    ("scheduling.k8s.io", &[("priorityclasses", Subdomain)]),
    (
        "storage.k8s.io",
        &[
            ("csidrivers", Driver),
            ("csinodes", Subdomain),
            ("csistoragecapacities", Subdomain),
            ("storageclasses", Subdomain),
            ("volumeattachments", Subdomain),
            ("volumeattributesclasses", Subdomain),
        ],
    ),
];

/// The names that are tried, with the rules that accept them.
fn samples() -> Vec<(String, &'static [Rule])> {
    let of = |name: &str, rules: &'static [Rule]| (name.to_owned(), rules);
    vec![
        of("web", &[Subdomain, Label, Segment, Driver, CronJob]),
        of("web-1", &[Subdomain, Label, Segment, Driver, CronJob]),
        of("1web", &[Subdomain, Label, Segment, Driver, CronJob]),
        of("web.shop", &[Subdomain, Segment, Driver, CronJob]),
        of("Web.shop", &[Segment, Driver]),
        of("web_1", &[Segment]),
        of("-web", &[Segment]),
        of("system:web", &[Segment]),
        of("a/b", &[]),
        of("a%b", &[]),
        of("10.0.0.1", &[Subdomain, Segment, Driver, CronJob, Address]),
        of("2001:db8::1", &[Segment, Address]),
        of("2001:DB8::1", &[Segment]),
        of("2001:db8:0::1", &[Segment]),
        of("10.0.0.01", &[Subdomain, Segment, Driver, CronJob]),
        (
            "a".repeat(52),
            &[Subdomain, Label, Segment, Driver, CronJob],
        ),
        ("a".repeat(53), &[Subdomain, Label, Segment, Driver]),
        ("a".repeat(64), &[Subdomain, Segment]),
        ("a".repeat(254), &[Segment]),
    ]
}

#[test]
fn names_are_what_each_kind_demands() {
    for resource in kinds::resources().iter().filter(|resource| resource.stored) {
        let (group, plural) = (resource.group.as_str(), resource.plural.as_str());
        let kinds_of_group = TABLE.iter().find(|(name, _)| *name == group);
        let rule = kinds_of_group
            .and_then(|(_, kinds)| kinds.iter().find(|(name, _)| *name == plural))
            .map(|(_, rule)| *rule);
        let rule = rule.unwrap_or_else(|| panic!("no rule for {plural}.{group}"));
        if rule == Own {
            continue;
        }
        let rules = kind::request_rules(&resource.into());
        for (name, accepting) in samples() {
            let mut object = json!({"metadata": {"name": name.clone(), "resourceVersion": "7"}});
            if resource.namespaced {
                object["metadata"]["namespace"] = Tree::from("n");
            }
            let faults = rules.validate_create(&context("", ON), &object);
            let is_refused = faults
                .iter()
                .any(|fault| matches!(fault.field.as_str(), "metadata.name" | "name"));
            let expected = !accepting.contains(&rule);
            if expected && !is_refused && !faults.is_empty() && rule == Segment {
                // The check that all kinds share comes after those of the kind.
                continue;
            }
            assert_eq!(
                is_refused, expected,
                "{plural}.{group} {name:?}: {faults:?}"
            );
        }
    }
}
