//! The PEM and DER in certificate signing requests: the request itself (RFC 2986) and the issued
//! certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kinds::Tree;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::error::X509Error;
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::FromDer as _;

use crate::tree::text;

/// Why PEM data is refused. The messages are upstream's where it has its own.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PemFault {
    /// The data has no block of this type first.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    NoRequest,
    /// The block is no PKCS #10 request.
    #[error("malformed certificate request")]
    MalformedRequest,
    /// The signature is by an algorithm that is not known here.
    #[error("x509: cannot verify signature: algorithm unimplemented")]
    UnknownAlgorithm,
    /// The signature is not by the key in the request.
    #[error("x509: certificate request verification failure")]
    WrongSignature,
    /// A block of another type among certificates.
    #[error("only CERTIFICATE PEM blocks are allowed, found {0:?}")]
    NoCertificate(String),
    /// A block with headers.
    #[error("no PEM block headers are permitted")]
    Headers,
    /// The block is no certificate.
    #[error("x509: malformed certificate")]
    MalformedCertificate,
    /// No block at all.
    #[error("must contain at least one CERTIFICATE PEM block")]
    Empty,
}

/// Returns the bytes of a base64 field; none for a field that is no base64, which the decoder of
/// the body has refused before.
fn bytes(object: &Tree, path: &[&str]) -> Vec<u8> {
    STANDARD.decode(text(object, path)).unwrap_or_default()
}

/// Returns the DER of the request in `spec.request`.
fn request_der(object: &Tree) -> Result<Vec<u8>, PemFault> {
    let block = ::pem::parse(bytes(object, &["spec", "request"])).ok();
    let block = block.filter(|block| block.tag() == "CERTIFICATE REQUEST");
    Ok(block.ok_or(PemFault::NoRequest)?.into_contents())
}

fn parse(der: &[u8]) -> Result<X509CertificationRequest<'_>, PemFault> {
    match X509CertificationRequest::from_der(der) {
        Ok(([], request)) => Ok(request),
        _ => Err(PemFault::MalformedRequest),
    }
}

/// Checks the request of an object, and that whoever made it holds its key.
pub(super) fn check_request(object: &Tree) -> Result<(), PemFault> {
    let der = request_der(object)?;
    parse(&der)?
        .verify_signature()
        .map_err(|error| match error {
            X509Error::SignatureUnsupportedAlgorithm => PemFault::UnknownAlgorithm,
            _ => PemFault::WrongSignature,
        })
}

/// Returns the organizations that the request of an object asks for, which become groups.
pub(crate) fn organizations(object: &Tree) -> Result<Vec<String>, PemFault> {
    let der = request_der(object)?;
    let request = parse(&der)?;
    let subject = &request.certification_request_info.subject;
    // A name that is not text in this library is compared as bytes, so that it hides nothing.
    let text = |organization: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        organization.as_str().map_or_else(
            |_| String::from_utf8_lossy(organization.as_slice()).into_owned(),
            str::to_owned,
        )
    };
    Ok(subject.iter_organization().map(text).collect())
}

/// Returns the common name that the request of an object asks for. Of several the last one counts,
/// as in Go.
pub(crate) fn common_name(object: &Tree) -> Result<String, PemFault> {
    let der = request_der(object)?;
    let request = parse(&der)?;
    let subject = &request.certification_request_info.subject;
    let name = subject.iter_common_name().last();
    Ok(name
        .and_then(|name| name.as_str().ok())
        .unwrap_or_default()
        .to_owned())
}

/// Checks `status.certificate`, which may be empty.
pub(super) fn check_certificate(object: &Tree) -> Result<(), PemFault> {
    let bytes = bytes(object, &["status", "certificate"]);
    if bytes.is_empty() {
        return Ok(());
    }
    let blocks = ::pem::parse_many(bytes).map_err(|_| PemFault::Empty)?;
    if blocks.is_empty() {
        return Err(PemFault::Empty);
    }
    for block in blocks {
        if block.tag() != "CERTIFICATE" {
            return Err(PemFault::NoCertificate(block.tag().to_owned()));
        }
        if block.headers().iter().next().is_some() {
            return Err(PemFault::Headers);
        }
        let mut rest = block.contents();
        while !rest.is_empty() {
            (rest, _) = parse_x509_certificate(rest).map_err(|_| PemFault::MalformedCertificate)?;
        }
    }
    Ok(())
}
