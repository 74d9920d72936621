//! The certificates of a server: its authority, its serving certificate, and the client certificate
//! of the administrator.
//!
//! All are PEM files in a directory and are used again after a restart. A certificate is issued
//! again if it is missing, expires soon, was signed by another authority, or lacks a name under
//! which clients reach the server. The authority is replaced only if it is missing or expires soon,
//! because clients have to trust it.

mod issue;
mod pending;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::FileError;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::auth::ClientVerifier;
use issue::{Authority, CertificateSubject};
use pending::PendingFiles;

/// An error in loading or making certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file or directory could not be read or written, or others could have changed it.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file exists but holds no usable certificate or key.
    #[error("cannot use {path}: {why}")]
    Unusable {
        /// Path of the file.
        path: String,
        /// The error of the parser.
        why: String,
    },
    /// A certificate or key could not be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// TLS rejects the certificates.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Pair(certificate and key)")
    }
}

/// Everything that a server needs for TLS, and its administrator to connect.
#[derive(Clone)]
pub struct Certs {
    /// Certificate of the authority, as PEM.
    pub authority: String,
    /// Serving certificate.
    pub serving: Pair,
    /// Client certificate of the administrator (`kubernetes-admin` in `system:masters`).
    pub admin: Pair,
    /// Private key that signs service account tokens, as PEM.
    pub accounts_key: String,
}

/// The certificates of a directory, of which some may not be written yet.
#[derive(Clone, Debug)]
pub struct LoadedCerts {
    /// The certificates.
    pub certs: Certs,
    dir: PathBuf,
    made: PendingFiles,
}

impl LoadedCerts {
    /// Writes those that were made. Does nothing if all were read.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self) -> Result<(), CertsError> {
        self.made.write(&self.dir)
    }
}

impl std::fmt::Debug for Certs {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Certs")
    }
}

/// Host names of every server, in addition to the addresses on which it listens.
const NAMES: [&str; 5] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];
/// First address of the service network, to which `kubernetes.default.svc` resolves.
const SERVICE_ADDRESS: &str = "10.96.0.1";

impl Certs {
    /// Reads the certificates of a directory, and makes those that are missing or no longer valid.
    /// `names` are additional host names and addresses of the server.
    ///
    /// # Errors
    /// A file cannot be read or written, or holds no usable certificate or key.
    pub fn load_or_make(dir: &Path, names: &[String], now: Timestamp) -> Result<Self, CertsError> {
        let loaded = Self::load(dir, names, now)?;
        loaded.write()?;
        Ok(loaded.certs)
    }

    /// Like [`Certs::load_or_make`], but changes nothing on disk until [`LoadedCerts::write`] is
    /// called, so that a start that fails elsewhere leaves the directory as it was.
    ///
    /// # Errors
    /// A file cannot be read, or holds no usable certificate or key.
    pub fn load(dir: &Path, names: &[String], now: Timestamp) -> Result<LoadedCerts, CertsError> {
        if dir.exists() {
            files::private_dir(dir)?;
        }
        let mut made = PendingFiles::default();
        let authority = match pending::read_pair(dir, "ca")? {
            Some(pair) if issue::lasts(&pair, now) => Authority::of(pair, &dir.join("ca.crt"))?,
            _ => {
                let authority = Authority::make(now)?;
                made.add_pair(dir, "ca", &authority.pair);
                authority
            }
        };
        let names = all_names(names);
        let mut fresh = |name: &'static str, subject: &CertificateSubject<'_>| {
            if let Some(pair) = pending::read_pair(dir, name)?
                && issue::is_good(&pair, &authority, subject, now)
            {
                return Ok(pair);
            }
            let pair = authority.issue(subject, now)?;
            made.add_pair(dir, name, &pair);
            Ok::<_, CertsError>(pair)
        };
        let serving = fresh("apiserver", &CertificateSubject::Server { names: &names })?;
        let admin = fresh("admin", &ADMIN)?;
        let accounts_key = match pending::read_key(dir, "sa")? {
            Some(key) => issue::checked_key(key, &dir.join("sa.key"))?,
            None => {
                let key = issue::new_key()?;
                made.add_key(dir, "sa", &key);
                key
            }
        };
        let certs = Self {
            authority: authority.pair.certificate.clone(),
            serving,
            admin,
            accounts_key,
        };
        Ok(LoadedCerts {
            certs,
            dir: dir.to_owned(),
            made,
        })
    }

    /// Makes certificates without writing any file.
    ///
    /// # Errors
    /// What the cryptography library reports.
    pub fn make(names: &[String], now: Timestamp) -> Result<Self, CertsError> {
        let authority = Authority::make(now)?;
        let names = all_names(names);
        let serving = authority.issue(&CertificateSubject::Server { names: &names }, now)?;
        let admin = authority.issue(&ADMIN, now)?;
        Ok(Self {
            authority: authority.pair.certificate,
            serving,
            admin,
            accounts_key: issue::new_key()?,
        })
    }

    /// Returns the TLS configuration of a server with these certificates, and the verifier of
    /// client certificates.
    pub(crate) fn tls(&self) -> Result<(rustls::ServerConfig, Arc<ClientVerifier>), CertsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authority)? {
            roots.add(certificate)?;
        }
        let verifier = Arc::new(ClientVerifier::new(roots, provider.clone())?);
        let key = PrivateKeyDer::from_pem_slice(self.serving.key.as_bytes())
            .map_err(|error| unusable("the serving key", error))?;
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(certificates(&self.serving.certificate)?, key)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((tls, verifier))
    }
}

const ADMIN: CertificateSubject<'_> = CertificateSubject::Client {
    name: "kubernetes-admin",
    group: "system:masters",
};

fn all_names(names: &[String]) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = NAMES.iter().map(|&name| name.to_owned()).collect();
    all.extend(["127.0.0.1", "::1", SERVICE_ADDRESS].map(str::to_owned));
    // An address can be written in several ways; the certificate holds the canonical one.
    all.extend(names.iter().filter(|name| !name.is_empty()).map(|name| {
        name.parse::<IpAddr>()
            .map_or_else(|_| name.clone(), |ip| ip.to_string())
    }));
    all
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertsError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unusable("a certificate", error))
}

fn unusable(what: &str, why: impl std::fmt::Display) -> CertsError {
    CertsError::Unusable {
        path: what.to_owned(),
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn certificates_survive_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Certs::load_or_make(dir.path(), &["10.0.0.5".to_owned()], now()).expect("made");
        let second =
            Certs::load_or_make(dir.path(), &["10.0.0.5".to_owned()], now()).expect("read");
        assert_eq!(first.serving.certificate, second.serving.certificate);
        assert_eq!(first.admin.certificate, second.admin.certificate);
        assert_eq!(
            first.accounts_key, second.accounts_key,
            "tokens stay good over a restart"
        );
        first.tls().expect("TLS takes them");
    }

    #[test]
    fn a_new_address_or_an_expiry_renews_only_the_affected_certificate() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Certs::load_or_make(dir.path(), &[], now()).expect("made");
        let moved =
            Certs::load_or_make(dir.path(), &["10.0.0.5".to_owned()], now()).expect("renewed");
        assert_ne!(first.serving.certificate, moved.serving.certificate);
        assert_eq!(
            (&first.admin.certificate, &first.authority),
            (&moved.admin.certificate, &moved.authority)
        );
        let later = now().saturating_add((24 * 355).hours()).expect("a time");
        let renewed = Certs::load_or_make(dir.path(), &[], later).expect("renewed");
        assert_ne!(renewed.admin.certificate, moved.admin.certificate);
        assert_eq!(renewed.authority, moved.authority);
    }

    #[test]
    fn certificates_of_another_authority_are_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Certs::load_or_make(dir.path(), &[], now()).expect("made");
        std::fs::remove_file(dir.path().join("ca.crt")).expect("removed");
        std::fs::remove_file(dir.path().join("ca.key")).expect("removed");
        let second = Certs::load_or_make(dir.path(), &[], now()).expect("made");
        assert_ne!(first.authority, second.authority);
        assert_ne!(first.serving.certificate, second.serving.certificate);
    }

    #[test]
    fn the_error_names_an_unusable_file_and_the_file_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        Certs::load_or_make(dir.path(), &[], now()).expect("made");
        std::fs::write(dir.path().join("ca.key"), "rubbish").expect("written");
        let error = Certs::load_or_make(dir.path(), &[], now()).expect_err("must be refused");
        assert!(error.to_string().contains("ca."), "{error}");
        assert_eq!(
            std::fs::read_to_string(dir.path().join("ca.key")).expect("read"),
            "rubbish"
        );
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_keys() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        Certs::load_or_make(dir.path(), &[], now()).expect("made");
        for key in ["ca.key", "apiserver.key", "admin.key", "sa.key"] {
            let mode = std::fs::metadata(dir.path().join(key))
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }
}
