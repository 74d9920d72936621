//! Requests, usages, signers, lifetimes and conditions of certificate signing requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kinds::tree::json;
use rcgen::{CertificateParams, DnType, KeyPair};

use super::super::Gates;
use super::*;

fn context(subresource: &str) -> StrategyContext<'_> {
    StrategyContext {
        subresource,
        gates: Gates::default(),
        now: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// Returns the PEM of a request for a certificate of these organizations.
fn request_pem(organizations: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "ann");
    for organization in organizations {
        params
            .distinguished_name
            .push(DnType::OrganizationName, *organization);
    }
    let key = KeyPair::generate().expect("a key");
    let request = params.serialize_request(&key).expect("a request");
    request.pem().expect("PEM")
}

fn encoded(pem: &str) -> String {
    STANDARD.encode(pem)
}

/// Returns a valid object with one member of its spec replaced.
fn with(member: &str, value: Tree) -> Tree {
    let mut object = json!({"metadata": {"name": "c"}, "spec": {
        "request": encoded(&request_pem(&["dev"])), "signerName": "example.com/signer",
        "usages": ["client auth"]}});
    object["spec"][member] = value;
    object
}

#[track_caller]
fn check(object: &Tree, expected: &[&str]) {
    let faults = SigningRequest.validate_create(&context(""), object);
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(texts, expected);
}

#[test]
fn the_request_must_be_signed_by_its_own_key() {
    check(&with("expirationSeconds", 600.into()), &[]);
    let pem = request_pem(&[]);
    let der = ::pem::parse(&pem).expect("PEM").into_contents();
    // The signature is the last part, the subject and the key come first.
    let tampered = |at: usize| {
        let mut der = der.clone();
        der[at] ^= 1;
        ::pem::encode(&::pem::Pem::new("CERTIFICATE REQUEST", der))
    };
    let longer = ::pem::encode(&::pem::Pem::new(
        "CERTIFICATE REQUEST",
        [der.as_slice(), &[0]].concat(),
    ));
    let subject = der
        .windows(3)
        .position(|part| part == b"ann")
        .expect("the name");
    for (pem, detail) in [
        (String::new(), "PEM block type must be CERTIFICATE REQUEST"),
        (
            "garbage".to_owned(),
            "PEM block type must be CERTIFICATE REQUEST",
        ),
        (
            ::pem::encode(&::pem::Pem::new("CERTIFICATE", der.clone())),
            "PEM block type must be CERTIFICATE REQUEST",
        ),
        (
            ::pem::encode(&::pem::Pem::new("CERTIFICATE REQUEST", "nonsense")),
            "malformed certificate request",
        ),
        (longer, "malformed certificate request"),
        (
            tampered(subject),
            "x509: certificate request verification failure",
        ),
        (
            tampered(der.len() - 1),
            "x509: certificate request verification failure",
        ),
    ] {
        let object = with("request", encoded(&pem).into());
        let shown = format!("spec.request: Invalid value: {:?}: {detail}", encoded(&pem));
        check(&object, &[&shown]);
    }
}

#[test]
fn usages_are_known_and_named_once() {
    check(&with("usages", json!([])), &["spec.usages: Required value"]);
    check(
        &with("usages", Tree::Null),
        &["spec.usages: Required value"],
    );
    check(
        &with("usages", json!(["client auth", "signing", "client auth"])),
        &["spec.usages[2]: Duplicate value: \"client auth\""],
    );
    let faults = SigningRequest.validate_create(&context(""), &with("usages", json!(["all"])));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0]
            .to_string()
            .starts_with("spec.usages[0]: Unsupported value: \"all\": supported values: \"any\", "),
        "{}",
        faults[0]
    );
}

#[test]
fn a_signer_has_a_domain_and_a_path() {
    let long = format!("{}.com/x", "a".repeat(64));
    let form = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
    for (signer, details) in [
        ("kubernetes.io/kubelet-serving", &[][..]),
        (
            "example.com/shop.Signer",
            &["validating label \"Signer\": "],
        ),
        ("", &["Required value"]),
        ("example.com", &[form]),
        ("example.com/a/b", &[form]),
        (
            "example/a",
            &["should be a domain with at least two segments separated by dots"],
        ),
        ("Example.com/a", &["validating label \"Example\": "]),
        (
            "kubernetes.io/legacy-unknown",
            &["the legacy signerName is not allowed via this API version"],
        ),
        (long.as_str(), &["must be no more than 63 characters"]),
    ] {
        let object = with("signerName", signer.into());
        let faults = SigningRequest.validate_create(&context(""), &object);
        assert_eq!(faults.len(), details.len(), "{signer}: {faults:?}");
        for (fault, detail) in faults.iter().zip(details) {
            assert!(fault.to_string().contains(detail), "{fault}");
            assert_eq!(fault.field, "spec.signerName");
        }
    }
}

#[test]
fn a_lifetime_is_ten_minutes_or_more() {
    for seconds in [599, 0, -1] {
        let shown = format!(
            "spec.expirationSeconds: Invalid value: {seconds}: may not specify a duration less \
             than 600 seconds (10 minutes)"
        );
        check(&with("expirationSeconds", seconds.into()), &[&shown]);
    }
}

/// A stored request with these conditions and this certificate.
fn stored(kinds: &[&str], certificate: &str) -> Tree {
    let mut object = with("username", "ann".into());
    let conditions: Vec<Tree> = kinds
        .iter()
        .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": "then"}))
        .collect();
    object["status"] = json!({"conditions": conditions});
    if !certificate.is_empty() {
        object["status"]["certificate"] = encoded(certificate).into();
    }
    object
}

/// Updates `old` to the status of `new` through a subresource. Returns the result and the fields
/// of its faults.
fn updated(subresource: &str, old: &Tree, new: &Tree) -> (Tree, Vec<String>) {
    let mut next = old.clone();
    next["status"] = new["status"].clone();
    next["spec"]["signerName"] = "example.com/other".into();
    next["spec"]["username"] = "root".into();
    let context = context(subresource);
    SigningRequest.prepare_update(&context, &mut next, old);
    let faults = SigningRequest.validate_update(&context, &next, old);
    assert_eq!(next["spec"], old["spec"], "the spec is immutable");
    (next, faults.iter().map(ToString::to_string).collect())
}

fn certificate() -> String {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["a".to_owned()]).expect("a name");
    params.self_signed(&key).expect("a certificate").pem()
}

#[test]
fn each_subresource_writes_its_own_part() {
    let (pem, none) = (certificate(), stored(&[], ""));
    let (approved, issued) = (stored(&["Approved"], ""), stored(&["Approved"], &pem));
    let (next, faults) = updated("approval", &none, &issued);
    assert_eq!(faults, [""; 0]);
    assert_eq!(next["status"]["certificate"], Tree::Null);
    assert_eq!(said(&next, "Approved"), 1);
    let (_, faults) = updated("status", &none, &approved);
    assert_eq!(
        faults,
        [r#"status.conditions: Forbidden: updates may not add a condition of type "Approved""#]
    );
    let (next, faults) = updated("status", &approved, &issued);
    assert_eq!(faults, [""; 0]);
    assert_eq!(
        next["status"]["certificate"],
        issued["status"]["certificate"]
    );
    let failed = stored(&["Approved", "Failed"], "");
    assert_eq!(updated("status", &approved, &failed).1, [""; 0]);
    // What has been decided is not reworded by the signer.
    let mut reworded = issued.clone();
    reworded["status"]["conditions"][0]["reason"] = "mine".into();
    let (next, faults) = updated("status", &approved, &reworded);
    assert_eq!(faults, [""; 0]);
    assert_eq!(next["status"]["conditions"][0]["reason"], Tree::Null);
}

#[test]
fn decisions_and_certificates_are_final() {
    let (one, other) = (certificate(), certificate());
    let removed = |kind: &str| {
        format!("status.conditions: Forbidden: updates may not remove a condition of type {kind:?}")
    };
    let exclusive = "Approved and Denied conditions are mutually exclusive".to_owned();
    for (subresource, old, new, expected) in [
        (
            "approval",
            stored(&["Approved"], ""),
            stored(&["Approved", "Denied"], ""),
            vec![exclusive],
        ),
        (
            "approval",
            stored(&["Approved", "Denied"], ""),
            stored(&["Approved", "Denied"], ""),
            vec![],
        ),
        (
            "approval",
            stored(&["Denied"], ""),
            stored(&["Approved"], ""),
            vec![removed("Denied")],
        ),
        (
            "status",
            stored(&["Failed"], ""),
            stored(&[], ""),
            vec![removed("Failed")],
        ),
        (
            "status",
            stored(&["Approved"], &one),
            stored(&["Approved"], &other),
            vec!["updates may not modify existing certificate content".to_owned()],
        ),
        (
            "status",
            stored(&["Approved"], ""),
            stored(&["Approved"], "garbage"),
            vec!["must contain at least one CERTIFICATE PEM block".to_owned()],
        ),
        (
            "status",
            stored(&["Approved"], ""),
            stored(&["Approved"], &request_pem(&[])),
            vec![
                "only CERTIFICATE PEM blocks are allowed, found \"CERTIFICATE REQUEST\"".to_owned(),
            ],
        ),
    ] {
        let (_, faults) = updated(subresource, &old, &new);
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, expected) in faults.iter().zip(&expected) {
            assert!(fault.contains(expected.as_str()), "{fault}");
        }
    }
}

#[test]
fn conditions_are_true_typed_and_named_once() {
    let old = stored(&[], "");
    let check = |conditions: Tree, expected: &[&str]| {
        let mut new = old.clone();
        new["status"]["conditions"] = conditions;
        let (_, faults) = updated("approval", &old, &new);
        assert_eq!(faults, expected);
    };
    check(
        json!([{"type": "Approved"}]),
        &["status.conditions[0].status: Required value"],
    );
    check(
        json!([{"type": "Approved", "status": "False"}]),
        &["status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\""],
    );
    check(json!([{"type": "Mine", "status": "False"}]), &[]);
    check(
        json!([{"type": "Mine", "status": "no"}]),
        &[
            "status.conditions[0].status: Unsupported value: \"no\": supported values: \"False\", \
             \"True\", \"Unknown\"",
        ],
    );
    check(
        json!([{"status": "True"}]),
        &["status.conditions[0].type: Required value"],
    );
    check(
        json!([{"type": "Approved", "status": "True"}, {"type": "Approved", "status": "True"}]),
        &["status.conditions[1].type: Duplicate value: \"Approved\""],
    );
}

#[test]
fn a_condition_keeps_the_time_of_its_transition() {
    let old = stored(&["Approved"], "");
    let mut new = old.clone();
    new["status"]["conditions"] = json!([{"type": "Approved", "status": "True"},
        {"type": "Mine", "status": "True"}]);
    let (next, _) = updated("approval", &old, &new);
    let since = |index: usize| next["status"]["conditions"][index]["lastTransitionTime"].clone();
    assert_eq!(
        (since(0), since(1)),
        ("then".into(), "1970-01-01T00:00:00Z".into())
    );
}

#[test]
fn the_organizations_of_a_request_are_found() {
    let pem = request_pem(&["dev", "system:masters"]);
    let object = with("request", encoded(&pem).into());
    let found = organizations(&object).expect("a request");
    assert_eq!(found, ["system:masters"].as_slice());
}
