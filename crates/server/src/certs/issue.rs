//! Issues certificates, and checks whether existing ones are still valid. Keys are ECDSA on P-256:
//! fast to generate, fast to sign with, and supported by every client.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{CertsError, Pair};

/// Lifetime of the authority.
const AUTHORITY_LASTS: SignedDuration = SignedDuration::from_hours(24 * 3650);
/// Lifetime of the certificates that the authority signs.
const CERTIFICATE_LASTS: SignedDuration = SignedDuration::from_hours(24 * 365);
/// A certificate that expires within this time is issued again.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Certificates become valid this long before they are issued, because clocks differ.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

/// The subject of a certificate.
pub(super) enum CertificateSubject<'a> {
    /// The server, with these names and addresses.
    Server {
        /// Host names and addresses.
        names: &'a BTreeSet<String>,
    },
    /// A client.
    Client {
        /// Common name, which is the name of the user.
        name: &'a str,
        /// Organization, which is the group of the user.
        group: &'a str,
    },
}

/// A certificate authority.
pub(super) struct Authority {
    pub(super) pair: Pair,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority.
    pub(super) fn make(now: Timestamp) -> Result<Self, CertsError> {
        let key = KeyPair::generate()?;
        let mut params = params(now, AUTHORITY_LASTS)?;
        // The name distinguishes authorities that were made at different times.
        params
            .distinguished_name
            .push(DnType::CommonName, format!("exeunt-ca@{}", now.as_second()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let pair = Pair {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        };
        Ok(Self {
            issuer: Issuer::new(params, key),
            pair,
        })
    }

    /// Uses an existing certificate and key.
    pub(super) fn of(pair: Pair, path: &Path) -> Result<Self, CertsError> {
        let unusable = |why: rcgen::Error| CertsError::Unusable {
            path: path.display().to_string(),
            why: why.to_string(),
        };
        let key = KeyPair::from_pem(&pair.key).map_err(unusable)?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key).map_err(unusable)?;
        Ok(Self { pair, issuer })
    }

    /// Issues a certificate with a new key.
    pub(super) fn issue(
        &self,
        subject: &CertificateSubject<'_>,
        now: Timestamp,
    ) -> Result<Pair, CertsError> {
        let key = KeyPair::generate()?;
        let mut params = params(now, CERTIFICATE_LASTS)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match subject {
            CertificateSubject::Server { names } => {
                params.subject_alt_names =
                    CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?
                        .subject_alt_names;
                params
                    .distinguished_name
                    .push(DnType::CommonName, "kube-apiserver");
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }
            CertificateSubject::Client { name, group } => {
                params
                    .distinguished_name
                    .push(DnType::OrganizationName, *group);
                params.distinguished_name.push(DnType::CommonName, *name);
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
        }
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

/// Generates a private key, as PEM.
pub(super) fn new_key() -> Result<String, CertsError> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// Checks that a file holds a private key, and returns the key.
pub(super) fn checked_key(key: String, path: &Path) -> Result<String, CertsError> {
    match KeyPair::from_pem(&key) {
        Ok(_) => Ok(key),
        Err(why) => Err(CertsError::Unusable {
            path: path.display().to_string(),
            why: why.to_string(),
        }),
    }
}

fn params(now: Timestamp, lasts: SignedDuration) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let instant = |at: Timestamp| std::time::SystemTime::from(at).into();
    params.not_before = instant(now.saturating_sub(CLOCK_SKEW).unwrap_or(now));
    params.not_after = instant(now.saturating_add(lasts).unwrap_or(now));
    Ok(params)
}

/// Returns whether a certificate is valid long enough to be kept. A certificate that does not parse
/// counts as valid: the code that uses it reports a better error.
pub(super) fn lasts(pair: &Pair, now: Timestamp) -> bool {
    with_parsed(pair, |certificate| ends_late(certificate, now)).unwrap_or(true)
}

fn ends_late(certificate: &X509Certificate<'_>, now: Timestamp) -> bool {
    let end = certificate.validity().not_after.timestamp();
    now.saturating_add(RENEW_BEFORE)
        .is_ok_and(|limit| end > limit.as_second())
}

/// Returns whether a certificate can be kept: it does not expire soon, this authority signed it,
/// the key belongs to it, and it has all names.
pub(super) fn is_good(
    pair: &Pair,
    authority: &Authority,
    subject: &CertificateSubject<'_>,
    now: Timestamp,
) -> bool {
    let Ok(key) = KeyPair::from_pem(&pair.key) else {
        return false;
    };
    let good = with_parsed(pair, |certificate| {
        let signed = with_parsed(&authority.pair, |ca| {
            certificate.verify_signature(Some(ca.public_key())).is_ok()
        });
        let own_key = *certificate.public_key().subject_public_key.data
            == *rcgen::PublicKeyData::der_bytes(&key);
        let named = match subject {
            CertificateSubject::Server { names } => names.is_subset(&names_of(certificate)),
            CertificateSubject::Client { .. } => true,
        };
        ends_late(certificate, now) && signed == Some(true) && own_key && named
    });
    good == Some(true)
}

fn with_parsed<T>(pair: &Pair, look: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let pem = pem::parse(&pair.certificate).ok()?;
    let (_, certificate) = X509Certificate::from_der(pem.contents()).ok()?;
    Some(look(&certificate))
}

fn names_of(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(found) = extension.parsed_extension() else {
            continue;
        };
        names.extend(found.general_names.iter().filter_map(|name| {
            match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(bytes) => match bytes.len() {
                    4 => <[u8; 4]>::try_from(*bytes)
                        .ok()
                        .map(|bytes| IpAddr::from(bytes).to_string()),
                    _ => <[u8; 16]>::try_from(*bytes)
                        .ok()
                        .map(|bytes| IpAddr::from(bytes).to_string()),
                },
                _ => None,
            }
        }));
    }
    names
}
