//! Counts what is encoded, with a real registry behind the server. Nothing here measures time.

use clock::{Clock, Entropy};
use http_body_util::BodyExt as _;
use registry::Registry;
use registry::request::User;
use store::Store;

use crate::auth::TokenFile;
use crate::service::{CallerService, Server, ServerConfig};
use crate::testing::{now, send};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const METADATA_LIST: &str =
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const METADATA: &str =
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct TestServer {
    server: Server,
    service: CallerService,
}

impl TestServer {
    /// Returns a server with three config maps.
    async fn new() -> Self {
        // `cluster` would bring its own copy of this crate, whose counters are private to it.
        let clock = Clock::starting_at(now());
        let registry = Registry::new(
            Store::open_memory(),
            clock.clone(),
            Entropy::seeded(1),
            registry::Options::default(),
        );
        registry
            .bootstrap()
            .await
            .expect("an empty store takes the first objects");
        let config = ServerConfig {
            resources: kinds::resources(),
            tokens: TokenFile::default(),
            accounts: None,
            anonymous: false,
            encodings_bytes: 256 * 1024 * 1024,
            clock,
            entropy: Entropy::seeded(1),
        };
        let server = Server::build(config, std::sync::Arc::new(registry));
        let user = User {
            name: "admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..User::default()
        };
        let world = Self {
            service: server.service_as(user),
            server,
        };
        for name in ["a", "b", "c"] {
            world
                .write(
                    "POST",
                    MAPS,
                    &format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"k":"v"}}}}"#),
                )
                .await;
        }
        world
    }

    async fn write(&self, method: &str, path: &str, body: &str) {
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let response = send(
            &self.service,
            &format!("{method} {path}"),
            &[("content-type", kind)],
            body.to_owned(),
        )
        .await;
        assert!(
            response.status().is_success(),
            "{method} {path}: {}",
            response.status()
        );
    }

    async fn get(&self, path: &str, accept: &str) -> Vec<u8> {
        let response = send(
            &self.service,
            &format!("GET {path}"),
            &[("accept", accept)],
            "",
        )
        .await;
        assert_eq!(response.status(), 200, "{path} {accept}");
        response
            .into_body()
            .collect()
            .await
            .expect("cannot fail")
            .to_bytes()
            .to_vec()
    }

    /// Returns the numbers of encodings and frames that a future makes, and its output.
    async fn made<T>(&self, what: impl Future<Output = T>) -> ((u64, u64), T) {
        let before = self.server.state.encodings.made();
        let outcome = what.await;
        let after = self.server.state.encodings.made();
        ((after.0 - before.0, after.1 - before.1), outcome)
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_list_encodes_nothing_in_any_format() {
    let world = TestServer::new().await;
    let count = 3;
    for accept in [PROTOBUF, METADATA_LIST, TABLE] {
        let (made, first) = world.made(world.get(MAPS, accept)).await;
        // The namespace's root certificate map may exist too.
        assert_eq!(made, (count, 0), "{accept}");
        let (made, second) = world.made(world.get(MAPS, accept)).await;
        assert_eq!((made, &second), ((0, 0), &first), "{accept}");
        let (made, _) = world
            .made(world.get(&format!("{MAPS}?limit=2"), accept))
            .await;
        assert_eq!(made, (0, 0), "a page of it, {accept}");
    }
    let (made, _) = world.made(world.get(&format!("{MAPS}/a"), PROTOBUF)).await;
    assert_eq!(made, (0, 0), "a single object of it");
    let (made, _) = world.made(world.get(MAPS, "application/json")).await;
    assert_eq!(made, (0, 0), "JSON is what is stored");
}

#[tokio::test(start_paused = true)]
async fn only_changed_objects_are_encoded() {
    let world = TestServer::new().await;
    let before = world.get(MAPS, PROTOBUF).await;
    world
        .write("PATCH", &format!("{MAPS}/b"), r#"{"data":{"k":"w"}}"#)
        .await;
    let (made, after) = world.made(world.get(MAPS, PROTOBUF)).await;
    assert_eq!(made, (1, 0));
    assert_ne!(before, after);
}

#[tokio::test(start_paused = true)]
async fn ages_in_tables_advance() {
    let world = TestServer::new().await;
    let age = async |seconds: u64| {
        tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
        let (made, table) = world.made(world.get(&format!("{MAPS}/a"), TABLE)).await;
        let table: kinds::Tree = serde_json::from_slice(&table).expect("JSON");
        (
            made.0,
            table["rows"][0]["cells"][2]
                .as_str()
                .expect("an age")
                .to_owned(),
        )
    };
    assert_eq!(age(0).await, (1, "0s".to_owned()));
    assert_eq!(age(0).await, (0, "0s".to_owned()));
    assert_eq!(age(700).await, (1, "11m".to_owned()));
    assert_eq!(
        age(10).await,
        (0, "11m".to_owned()),
        "minutes are shown, and the same one still runs"
    );
    assert_eq!(age(10).await, (1, "12m".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn watches_with_the_same_format_share_each_frame() {
    let world = TestServer::new().await;
    for (accept, encoded) in [("application/json", 0), (PROTOBUF, 3), (METADATA, 3)] {
        let path = format!("{MAPS}?watch=1&timeoutSeconds=1");
        let watch = || world.get(&path, accept);
        let (made, first) = world.made(watch()).await;
        assert_eq!(made, (encoded, 3), "{accept}");
        let (made, second) = world.made(watch()).await;
        assert_eq!((made, &second), ((0, 0), &first), "{accept}");
    }
    let (made, _) = world.made(world.get(MAPS, PROTOBUF)).await;
    assert_eq!(made, (0, 0), "a list shares with the watches");
}

#[tokio::test(start_paused = true)]
async fn an_object_in_another_version_is_encoded_once() {
    let world = TestServer::new().await;
    let event = r#"{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","namespace":"default","name":"p"},"reason":"r","message":"m"}"#;
    world
        .write("POST", "/api/v1/namespaces/default/events", event)
        .await;
    let newer = "/apis/events.k8s.io/v1/namespaces/default/events";
    let (made, first) = world.made(world.get(newer, PROTOBUF)).await;
    assert_eq!(made, (1, 0));
    let (made, second) = world.made(world.get(newer, PROTOBUF)).await;
    assert_eq!(
        (made, second),
        ((0, 0), first),
        "the converted object is the same bytes"
    );
    let (made, _) = world
        .made(world.get("/api/v1/namespaces/default/events", PROTOBUF))
        .await;
    assert_eq!(made, (1, 0), "another version is another message");
}

#[tokio::test(start_paused = true)]
async fn metrics_report_the_use_of_encodings() {
    let world = TestServer::new().await;
    for _ in 0..2 {
        world.get(MAPS, PROTOBUF).await;
    }
    let text = String::from_utf8(world.get("/metrics", "*/*").await).expect("text");
    for line in [
        "exeunt_encodings_made_total{of=\"object\"} 3\n",
        "exeunt_encodings_shared_total{of=\"object\"} 3\n",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
}
