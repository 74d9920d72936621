//! The hostile clients. Each kind repeats its attack until it is stopped.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::PostParams;
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// The bearer token of the hostile user.
pub(super) const TOKEN: &str = "mallory-token";

const NAMESPACE: &str = "hostile";
/// Connections that say nothing after the handshake.
const SILENT: usize = 200;
/// HTTP/2 connections with requests whose bodies never come, and requests on each.
const HANGING_CONNECTIONS: usize = 3;
const HANGING_REQUESTS: usize = 250;
/// Connections that ask for long lists and never read.
const SLOW_READERS: usize = 50;
/// Invalid labels of one object.
const INVALID_LABELS: usize = 100_000;
/// Config maps that make a list long, and the bytes of each.
const LISTED: usize = 8;
const LISTED_BYTES: usize = 500_000;

type Body = BoxBody<Bytes, Infallible>;
type Connector = HttpsConnector<HttpConnector>;

/// Lets the hostile user create and list config maps in a namespace of its own, so that its bodies
/// are decoded and its lists are long.
pub(super) async fn permit(client: &Client) {
    let options = PostParams::default();
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    Api::<Namespace>::all(client.clone())
        .create(&options, &namespace)
        .await
        .unwrap();
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "tenant"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "list"]}],
    }))
    .unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "tenant"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}],
    }))
    .unwrap();
    let roles = Api::<Role>::namespaced(client.clone(), NAMESPACE);
    roles.create(&options, &role).await.unwrap();
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), NAMESPACE);
    bindings.create(&options, &binding).await.unwrap();
    let maps = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    for number in 0..LISTED {
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": format!("long-{number}")},
            "data": {"text": "x".repeat(LISTED_BYTES)},
        }))
        .unwrap();
        maps.create(&options, &map).await.unwrap();
    }
}

/// What the hostile clients did.
#[derive(Debug, Default)]
struct Counts {
    silent: AtomicUsize,
    hanging: AtomicUsize,
    aliases: AtomicUsize,
    quadratic: AtomicUsize,
    slow: AtomicUsize,
}

/// The running hostile clients. Dropping them closes their connections.
pub(super) struct Attackers {
    clients: JoinSet<()>,
    counts: Arc<Counts>,
}

impl Attackers {
    /// Starts all kinds. Returns when every kind has begun, and all connections that are only held
    /// are open.
    pub(super) async fn start(kubeconfig: &Path, url: &str) -> Self {
        let uri: Uri = url.parse().unwrap();
        let tls = tls(kubeconfig);
        let mut attackers = Self {
            clients: JoinSet::new(),
            counts: Arc::default(),
        };
        let http1 = connector(&tls, "http/1.1");
        let http2 = || {
            HttpClient::builder(TokioExecutor::new())
                .http2_only(true)
                .build::<Connector, Body>(connector(&tls, "h2"))
        };
        for _ in 0..SILENT {
            attackers.hold(&http1, &uri, None).await;
        }
        for _ in 0..SLOW_READERS {
            let request = format!(
                "GET /api/v1/namespaces/{NAMESPACE}/configmaps HTTP/1.1\r\nhost: server\r\n\
                 authorization: Bearer {TOKEN}\r\naccept: application/json\r\n\r\n"
            );
            attackers.hold(&http1, &uri, Some(request)).await;
        }
        for _ in 0..HANGING_CONNECTIONS {
            attackers.hang(&http2(), &uri);
        }
        attackers.repeat(http2(), &uri, "application/yaml", aliases(), |counts| {
            &counts.aliases
        });
        attackers.repeat(
            http2(),
            &uri,
            "application/json",
            invalid_labels(),
            |counts| &counts.quadratic,
        );
        attackers
    }

    /// Opens a connection, sends at most the head of a request, and holds it without reading.
    async fn hold(&mut self, connector: &Connector, uri: &Uri, request: Option<String>) {
        let stream = connector.clone().oneshot(uri.clone()).await.unwrap();
        let mut stream = TokioIo::new(stream);
        let counter = if let Some(request) = request {
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            &self.counts.slow
        } else {
            &self.counts.silent
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.clients.spawn(async move {
            let _stream = stream;
            std::future::pending::<()>().await;
        });
    }

    /// Sends requests whose bodies never come over one connection. An answered one is sent again.
    fn hang(&mut self, client: &HttpClient<Connector, Body>, uri: &Uri) {
        for _ in 0..HANGING_REQUESTS {
            let (client, uri, counts) = (client.clone(), uri.clone(), Arc::clone(&self.counts));
            self.clients.spawn(async move {
                loop {
                    let never = StreamBody::new(futures::stream::pending());
                    let never = BodyExt::boxed(never);
                    counts.hanging.fetch_add(1, Ordering::Relaxed);
                    drop(
                        client
                            .request(create(&uri, "application/json", never))
                            .await,
                    );
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
    }

    /// Sends the same object again and again.
    fn repeat(
        &mut self,
        client: HttpClient<Connector, Body>,
        uri: &Uri,
        media_type: &'static str,
        body: String,
        counter: fn(&Counts) -> &AtomicUsize,
    ) {
        let (uri, counts, body) = (uri.clone(), Arc::clone(&self.counts), Bytes::from(body));
        self.clients.spawn(async move {
            loop {
                let body = Full::new(body.clone()).boxed();
                if let Ok(response) = client.request(create(&uri, media_type, body)).await {
                    let code = response.status().as_u16();
                    drop(response.into_body().collect().await);
                    assert!(
                        matches!(code, 400 | 413 | 422 | 429),
                        "answered with {code}"
                    );
                    counter(&counts).fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }

    /// Formats what the clients did.
    pub(super) fn counts(&self) -> String {
        let Counts {
            silent,
            hanging,
            aliases,
            quadratic,
            slow,
        } = &*self.counts;
        format!(
            "{} silent connections, {} slow readers, {} bodies that never came, {} bodies with \
             aliases, {} with invalid labels",
            silent.load(Ordering::Relaxed),
            slow.load(Ordering::Relaxed),
            hanging.load(Ordering::Relaxed),
            aliases.load(Ordering::Relaxed),
            quadratic.load(Ordering::Relaxed)
        )
    }

    /// Fails if a kind of attack did not take place.
    pub(super) fn assert_all_worked(&self) {
        let Counts {
            silent,
            hanging,
            aliases,
            quadratic,
            slow,
        } = &*self.counts;
        for counter in [silent, hanging, aliases, quadratic, slow] {
            assert!(counter.load(Ordering::Relaxed) > 0, "{}", self.counts());
        }
    }

    /// Closes all connections.
    pub(super) async fn stop(mut self) {
        self.clients.shutdown().await;
    }
}

/// Trusts the authority of the kubeconfig.
fn tls(kubeconfig: &Path) -> rustls::ClientConfig {
    let file = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let cluster = file.clusters[0].cluster.clone().unwrap();
    let data = cluster.certificate_authority_data.unwrap();
    let pem = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, data).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Connects with this protocol.
fn connector(tls: &rustls::ClientConfig, protocol: &str) -> Connector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    HttpsConnector::from((http, tls))
}

fn create(uri: &Uri, media_type: &str, body: Body) -> Request<Body> {
    let target = format!("{uri}api/v1/namespaces/{NAMESPACE}/configmaps");
    Request::post(target)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", media_type)
        .body(body)
        .unwrap()
}

/// YAML of 100 kB that would expand to gigabytes.
fn aliases() -> String {
    let mut text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-}\ndata:\n".to_owned();
    let _ = writeln!(text, "  a: &a \"{}\"", "x".repeat(100_000));
    for number in 0..10_000 {
        let _ = writeln!(text, "  k{number}: *a");
    }
    text
}

/// JSON of an object whose labels are all invalid.
fn invalid_labels() -> String {
    let labels: serde_json::Map<String, serde_json::Value> = (0..INVALID_LABELS)
        .map(|number| (format!("-{number}"), "?".into()))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"generateName": "l-", "labels": labels},
    })
    .to_string()
}
