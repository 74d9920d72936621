//! Clients whose certificate is of X.509 version 1.
//!
//! `openssl x509 -req` makes such certificates without an `-extfile`, and kubectl sends them.
//! rustls reads the certificate of a client only to compare its key, with a parser that knows
//! version 3 alone. A client need not read its own certificate: here it is loaded without that
//! comparison, and the server decides about it. Everything else is as `kube` does it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _, RustlsTlsError};
use kube::config::AuthInfo;
use kube::{Client, Config, Error};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// A client, and what error messages need to know about it.
pub(super) struct BuiltClient {
    pub(super) client: Client,
    /// Whether the user's certificate is of X.509 version 1, which some servers refuse.
    pub(super) version_1: bool,
}

/// Builds the client of a configuration.
pub(super) fn build(config: Config) -> Result<BuiltClient, Error> {
    match ClientBuilder::try_from(config.clone()) {
        Ok(builder) => Ok(BuiltClient {
            client: builder.build(),
            version_1: false,
        }),
        Err(error) if is_version_1(&error) => match load(&config.auth_info) {
            Some(identity) => Ok(BuiltClient {
                client: with_identity(config, identity)?,
                version_1: true,
            }),
            // It comes from a credential plugin, which kube does not hand out.
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Returns whether the client's own certificate is refused for its version.
pub(super) fn is_version_1(error: &Error) -> bool {
    let Error::RustlsTls(RustlsTlsError::InvalidPrivateKey(error)) = error else {
        return false;
    };
    let rustls::Error::InvalidCertificate(why) = error else {
        return false;
    };
    // The error type of the parser is not public.
    format!("{why:?}").contains("UnsupportedCertVersion")
}

/// Certificates and key, as PEM.
struct ClientIdentity {
    certificates: Vec<u8>,
    key: Vec<u8>,
}

/// Reads the identity of the kubeconfig. As kube and kubectl do, data takes precedence over files.
fn load(auth: &AuthInfo) -> Option<ClientIdentity> {
    let read = |data: Option<&str>, file: Option<&String>| match (data, file) {
        (Some(data), _) => STANDARD.decode(data).ok(),
        (None, Some(file)) => std::fs::read(file).ok(),
        (None, None) => None,
    };
    // The field of the key hides its contents from everything but serialization.
    let exposed = serde_json::to_value(auth).ok()?;
    Some(ClientIdentity {
        certificates: read(
            auth.client_certificate_data.as_deref(),
            auth.client_certificate.as_ref(),
        )?,
        key: read(
            exposed["client-key-data"].as_str(),
            auth.client_key.as_ref(),
        )?,
    })
}

fn with_identity(config: Config, identity: ClientIdentity) -> Result<Client, Error> {
    let pem_error = |error| Error::RustlsTls(RustlsTlsError::InvalidIdentityPem(error));
    let key_error = |error| Error::RustlsTls(RustlsTlsError::InvalidPrivateKey(error));
    let certificates = CertificateDer::pem_slice_iter(&identity.certificates)
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem_error)?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(pem_error)?;

    let mut bare = config;
    bare.auth_info.client_certificate = None;
    bare.auth_info.client_certificate_data = None;
    bare.auth_info.client_key = None;
    bare.auth_info.client_key_data = None;
    let mut tls = bare.rustls_client_config()?;
    let provider = tls.crypto_provider().key_provider;
    let key = provider.load_private_key(key).map_err(key_error)?;
    tls.client_auth_cert_resolver =
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(certificates, key)));

    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(bare.connect_timeout);
    let https = match &bare.tls_server_name {
        None => HttpsConnector::from((http, tls)),
        Some(name) => {
            let name = name.clone().try_into();
            let name =
                name.map_err(|error| Error::RustlsTls(RustlsTlsError::InvalidServerName(error)))?;
            HttpsConnector::new(
                http,
                tls,
                false,
                Arc::new(FixedServerNameResolver::new(name)),
            )
        }
    };
    let http =
        hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(https);
    let service = tower::ServiceBuilder::new()
        .layer(bare.base_uri_layer())
        .option_layer(bare.auth_layer()?)
        .layer(bare.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(Client::new(service, bare.default_namespace))
}
