//! Client certificates: the common name is the user, the organizations are the groups.
//!
//! The handshake takes any certificate whose key the client holds; whether our CA signed it is
//! judged afterwards, so that a stranger gets an answer (401) and not a broken connection.

use std::sync::Arc;

use registry::request::User;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::AUTHENTICATED;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// A caller inside this process, whose identity is given.
    Inside(Arc<User>),
    /// Showed a certificate of our CA.
    Certified(Arc<User>),
    /// Showed a certificate that does not count.
    Refused,
    /// Showed none.
    Unknown,
}

impl Peer {
    pub(super) fn user(&self) -> Option<&Arc<User>> {
        match self {
            Self::Inside(user) | Self::Certified(user) => Some(user),
            Self::Refused | Self::Unknown => None,
        }
    }

    /// What a caller inside this process is called where others have a user agent.
    pub(crate) fn agent(&self) -> &str {
        match self {
            Self::Inside(user) => user.name.strip_prefix("system:").unwrap_or(&user.name),
            Self::Certified(_) | Self::Refused | Self::Unknown => "",
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Refused)
    }

    /// Judges the certificates that a client showed.
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

/// The user that a certificate names.
fn user_of(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let organizations = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok());
    let groups = organizations
        .map(str::to_owned)
        .chain([AUTHENTICATED.to_owned()])
        .collect();
    (!name.is_empty()).then_some(User {
        name,
        uid: String::new(),
        groups,
    })
}

/// Asks for a certificate, takes none as well, and only checks that the client holds its key.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    inner: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifier {
    /// Judges by these roots.
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
        // `Peer::of` judges it: nothing believes the name in a certificate before.
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
