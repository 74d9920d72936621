//! Making certificates, and judging whether those at hand are still good. ECDSA on P-256: quick to
//! make, quick to sign with, taken by every client.

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

/// How long the authority lasts.
const AUTHORITY_LASTS: SignedDuration = SignedDuration::from_hours(24 * 3650);
/// How long what it signs lasts.
const CERTIFICATE_LASTS: SignedDuration = SignedDuration::from_hours(24 * 365);
/// A certificate that ends sooner than this is made anew.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Certificates begin a little before they are made: clocks differ.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

/// Whom a certificate is for.
pub(super) enum Subject<'a> {
    /// The server, under these names and addresses.
    Server {
        /// Host names and addresses.
        names: &'a BTreeSet<String>,
    },
    /// A client.
    Client {
        /// Common name: the user.
        name: &'a str,
        /// Organization: the group.
        group: &'a str,
    },
}

/// A certificate authority.
pub(super) struct Authority {
    pub(super) pair: Pair,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub(super) fn make(now: Timestamp) -> Result<Self, CertsError> {
        let key = KeyPair::generate()?;
        let mut params = params(now, AUTHORITY_LASTS)?;
        // The name tells authorities of different starts apart.
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

    /// The one whose certificate and key these are.
    pub(super) fn of(pair: Pair, path: &Path) -> Result<Self, CertsError> {
        let unusable = |why: rcgen::Error| CertsError::Unusable {
            path: path.display().to_string(),
            why: why.to_string(),
        };
        let key = KeyPair::from_pem(&pair.key).map_err(unusable)?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key).map_err(unusable)?;
        Ok(Self { pair, issuer })
    }

    /// Signs a new certificate.
    pub(super) fn issue(&self, subject: &Subject<'_>, now: Timestamp) -> Result<Pair, CertsError> {
        let key = KeyPair::generate()?;
        let mut params = params(now, CERTIFICATE_LASTS)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match subject {
            Subject::Server { names } => {
                params.subject_alt_names =
                    CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?
                        .subject_alt_names;
                params
                    .distinguished_name
                    .push(DnType::CommonName, "kube-apiserver");
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }
            Subject::Client { name, group } => {
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

/// A new private key, as PEM.
pub(super) fn new_key() -> Result<String, CertsError> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// A private key that was read, when it is one.
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

/// Whether a certificate lasts long enough to be kept. One that cannot be read is left for its
/// user to complain about.
pub(super) fn lasts(pair: &Pair, now: Timestamp) -> bool {
    with_parsed(pair, |certificate| ends_late(certificate, now)).unwrap_or(true)
}

fn ends_late(certificate: &X509Certificate<'_>, now: Timestamp) -> bool {
    let end = certificate.validity().not_after.timestamp();
    now.saturating_add(RENEW_BEFORE)
        .is_ok_and(|limit| end > limit.as_second())
}

/// Whether a certificate can be kept: it lasts, this authority signed it, its key belongs to it,
/// and it has all the names.
pub(super) fn is_good(
    pair: &Pair,
    authority: &Authority,
    subject: &Subject<'_>,
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
            Subject::Server { names } => names.is_subset(&names_of(certificate)),
            Subject::Client { .. } => true,
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
