//! Watches against answers that a server might give: lists in pages, silence, faults, panics.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Response, StatusCode};

use super::*;

/// Answers requests one after the other and notes what was asked for.
#[derive(Default)]
struct Script {
    asked: Vec<String>,
    answers: VecDeque<(u16, String)>,
}

type Shared = Arc<Mutex<Script>>;

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Script> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn client(script: &Shared) -> Client {
    let script = Arc::clone(script);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let mut script = lock(&script);
        let query = request.uri().query().unwrap_or_default();
        let version = query
            .split('&')
            .find(|part| part.starts_with("resourceVersion="))
            .unwrap_or("list");
        script.asked.push(version.to_owned());
        let answer = script.answers.pop_front();
        async move {
            // Nothing more to say: the stream stays open.
            let Some((code, body)) = answer else {
                return std::future::pending().await;
            };
            let response = Response::builder().status(StatusCode::from_u16(code).expect("a code"));
            Ok::<_, std::convert::Infallible>(
                response
                    .body(Body::from(body.into_bytes()))
                    .expect("a response"),
            )
        }
    });
    Client::new(service, "default")
}

#[derive(Clone, Default)]
struct Notes {
    told: Arc<Mutex<Vec<String>>>,
    newest_only: bool,
}

#[derive(Deserialize)]
struct Named {
    metadata: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    resource_version: String,
}

impl Notes {
    fn note(&self, text: String) {
        assert!(!text.ends_with("bad"), "as the test wants it");
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }

    fn take(&self, what: &str, object: &[u8]) -> serde_json::Result<String> {
        let named: Named = decode(object)?;
        self.note(format!("{what} {}", named.metadata.name));
        Ok(named.metadata.resource_version)
    }
}

impl Sink for Notes {
    fn begin(&mut self) {
        self.note("begin".to_owned());
    }

    fn page(&mut self, body: &[u8]) -> serde_json::Result<ListEnd> {
        let page: Page<Named> = decode(body)?;
        page.items
            .into_iter()
            .flatten()
            .for_each(|named| self.note(format!("listed {}", named.metadata.name)));
        Ok(page.metadata)
    }

    fn complete(&mut self) {
        self.note("complete".to_owned());
    }

    fn wants_newest_only(&self) -> bool {
        self.newest_only
    }

    fn put(&mut self, object: &[u8]) -> serde_json::Result<String> {
        self.take("put", object)
    }

    fn gone(&mut self, object: &[u8]) -> serde_json::Result<String> {
        self.take("gone", object)
    }
}

fn object(name: &str, version: u32) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","managedFields":[{{"x":"]"}}],"resourceVersion":"{version}"}}}}"#
    )
}

fn event(kind: &str, name: &str, version: u32) -> String {
    format!(
        "{{\"type\":\"{kind}\",\"object\":{}}}\n",
        object(name, version)
    )
}

/// What is asked and what is told when the server gives these answers.
async fn followed(answers: &[(u16, String)]) -> (Vec<String>, Vec<String>) {
    followed_by(Notes::default(), answers).await
}

async fn followed_by(notes: Notes, answers: &[(u16, String)]) -> (Vec<String>, Vec<String>) {
    let script = Shared::default();
    lock(&script).answers = answers.iter().cloned().collect();
    let collection = Collection {
        path: "/api/v1/pods".to_owned(),
        fields: None,
        metadata_only: false,
    };
    let following = follow(
        client(&script),
        collection,
        Entropy::seeded(1),
        Box::new(notes.clone()),
    );
    let _ = tokio::time::timeout(Duration::from_secs(60), following).await;
    let asked = std::mem::take(&mut lock(&script).asked);
    let told = std::mem::take(&mut *notes.told.lock().unwrap_or_else(PoisonError::into_inner));
    (asked, told)
}

fn list(next: &str, names: &[&str]) -> (u16, String) {
    let items: Vec<String> = names.iter().map(|name| object(name, 1)).collect();
    (
        200,
        format!(
            r#"{{"metadata":{{"resourceVersion":"5","continue":"{next}"}},"items":[{}]}}"#,
            items.join(",")
        ),
    )
}

#[tokio::test(start_paused = true)]
async fn pages_are_listed_and_then_changes_follow_from_where_the_list_ends() {
    let changes = event("ADDED", "c", 6)
        + &event("DELETED", "a", 7)
        + "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}\n";
    let (asked, told) = followed(&[list("more", &["a"]), list("", &["b"]), (200, changes)]).await;
    assert_eq!(
        told,
        [
            "begin", "listed a", "listed b", "complete", "put c", "gone a"
        ]
    );
    assert_eq!(
        asked,
        ["list", "list", "resourceVersion=5", "resourceVersion=9"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_history_that_is_gone_means_a_new_list_and_any_other_error_does_not() {
    let error = |code: u16| {
        format!(
            "{{\"type\":\"ERROR\",\"object\":{{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":{code}}}}}\n"
        )
    };
    let (asked, told) = followed(&[
        list("", &[]),
        (200, error(500)),
        (200, error(410)),
        list("", &["a"]),
        (410, "gone".to_owned()),
        list("", &[]),
    ])
    .await;
    assert_eq!(
        asked,
        [
            "list",
            "resourceVersion=5",
            "resourceVersion=5",
            "list",
            "resourceVersion=5",
            "list",
            "resourceVersion=5"
        ]
    );
    assert_eq!(
        told,
        [
            "begin", "complete", "begin", "listed a", "complete", "begin", "complete"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_asked_again_with_growing_pauses() {
    let failures: Vec<_> = (0..3)
        .map(|_| (500, "down".to_owned()))
        .chain([list("", &["a"])])
        .collect();
    let (asked, told) = followed(&failures).await;
    assert_eq!(asked, ["list", "list", "list", "list", "resourceVersion=5"]);
    assert_eq!(told.last().map(String::as_str), Some("complete"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_over_one_object_leads_to_a_new_list_and_an_unreadable_object_is_left_out() {
    let unreadable = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":7}}}\n".to_owned();
    let changes = unreadable
        + &event("ADDED", "b", 6)
        + &event("ADDED", "bad", 7)
        + &event("ADDED", "never", 8);
    let (asked, told) = followed(&[list("", &["a"]), (200, changes), list("", &["c"])]).await;
    assert_eq!(
        told,
        [
            "begin", "listed a", "complete", "put b", "begin", "listed c", "complete"
        ]
    );
    assert_eq!(
        asked,
        ["list", "resourceVersion=5", "list", "resourceVersion=5"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_next_line_overtakes_is_told_to_those_who_want_all() {
    let line = |kind: &str, version: u32| {
        let metadata = format!(r#"{{"name":"a","uid":"1","resourceVersion":"{version}"}}"#);
        format!("{{\"type\":\"{kind}\",\"object\":{{\"metadata\":{metadata}}}}}\n")
    };
    let answers = [
        list("", &[]),
        (
            200,
            line("ADDED", 6) + &line("MODIFIED", 7) + &line("MODIFIED", 8) + &line("DELETED", 9),
        ),
    ];
    let newest = Notes {
        newest_only: true,
        ..Notes::default()
    };
    let (asked, told) = followed_by(newest, &answers).await;
    assert_eq!(
        told,
        ["begin", "complete", "put a", "gone a"],
        "that it came and that it went"
    );
    assert_eq!(asked, ["list", "resourceVersion=5", "resourceVersion=9"]);
    let (_, told) = followed(&answers).await;
    assert_eq!(
        told,
        ["begin", "complete", "put a", "put a", "put a", "gone a"]
    );
}
