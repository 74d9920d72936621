//! Client certificates: the common name is the user, the organizations are the groups.
//!
//! The TLS handshake accepts any certificate whose key the client holds. Whether our authority
//! signed it is checked afterwards, so that clients with a foreign certificate get a 401 and not a
//! broken connection.

use std::sync::Arc;

use registry::request::User;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::AUTHENTICATED;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// A caller inside this process, with the identity that its service was made for.
    Inside(Arc<User>),
    /// The client presented a valid certificate of our authority.
    Certified(Arc<User>),
    /// The client presented a certificate that is not valid.
    Refused,
    /// The client presented no certificate.
    Unknown,
}

impl Peer {
    pub(super) fn user(&self) -> Option<&Arc<User>> {
        match self {
            Self::Inside(user) | Self::Certified(user) => Some(user),
            Self::Refused | Self::Unknown => None,
        }
    }

    /// Returns the user agent of a caller inside this process, which sends no such header.
    pub(crate) fn agent(&self) -> &str {
        match self {
            Self::Inside(user) => user.name.strip_prefix("system:").unwrap_or(&user.name),
            Self::Certified(_) | Self::Refused | Self::Unknown => "",
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Refused)
    }

    /// Verifies the certificates that a client presented.
    pub(crate) fn of(
        shown: Option<&[CertificateDer<'_>]>,
        verifier: &ClientVerifier,
        now: UnixTime,
    ) -> Self {
        let Some([leaf, others @ ..]) = shown else {
            return Self::Unknown;
        };
        match verifier.inner.verify_client_cert(leaf, others, now) {
            Ok(_) => user_of(leaf).map_or(Self::Refused, |user| Self::Certified(Arc::new(user))),
            Err(_) => Self::Refused,
        }
    }
}

/// Returns the user of a certificate; `None` without a common name.
fn user_of(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = certificate.subject();
    // Of several common names the last one counts, as in Go. A signer that checks names by Go's
    // rules must not be deceived by another order.
    let name = subject.iter_common_name().last()?.as_str().ok()?.to_owned();
    let organizations = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok());
    let groups = organizations
        .map(str::to_owned)
        .chain([AUTHENTICATED.to_owned()])
        .collect();
    (!name.is_empty()).then_some(User {
        name,
        groups,
        ..User::default()
    })
}

/// Requests a client certificate, does without one, and checks only that the client holds the key.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    inner: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifier {
    /// Verifies certificates against these roots.
    pub(crate) fn new(
        roots: RootCertStore,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Self, rustls::Error> {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let inner = builder
            .allow_unauthenticated()
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(Self { inner })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // `Peer::of` verifies the certificate before anything uses the name in it.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
