//! The reflector against responses that a server might give: pages, silence, errors, panics.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Response, StatusCode};

use super::*;

/// Responds to requests one after the other and records what was asked for.
#[derive(Default)]
struct Script {
    asked: Vec<String>,
    answers: VecDeque<(u16, String)>,
}

type SharedScript = Arc<Mutex<Script>>;

fn lock(shared: &SharedScript) -> std::sync::MutexGuard<'_, Script> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn client(script: &SharedScript) -> Client {
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
            // The stream stays open without further events.
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
struct RecordingSink {
    calls: Arc<Mutex<Vec<String>>>,
    newest_only: bool,
}

#[derive(Deserialize)]
struct NamedObject {
    metadata: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    resource_version: String,
}

impl RecordingSink {
    fn record(&self, text: String) {
        assert!(!text.ends_with("bad"), "as the test wants it");
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }

    fn take(&self, what: &str, object: &[u8]) -> serde_json::Result<String> {
        let named: NamedObject = decode(object)?;
        self.record(format!("{what} {}", named.metadata.name));
        Ok(named.metadata.resource_version)
    }
}

impl WatchSink for RecordingSink {
    fn list_started(&mut self) {
        self.record("begin".to_owned());
    }

    fn list_page(&mut self, body: &[u8]) -> serde_json::Result<PageMeta> {
        let page: ListPage<NamedObject> = decode(body)?;
        page.items
            .into_iter()
            .flatten()
            .for_each(|named| self.record(format!("listed {}", named.metadata.name)));
        Ok(page.metadata)
    }

    fn list_completed(&mut self) {
        self.record("complete".to_owned());
    }

    fn skips_superseded(&self) -> bool {
        self.newest_only
    }

    fn applied(&mut self, object: &[u8]) -> serde_json::Result<String> {
        self.take("put", object)
    }

    fn deleted(&mut self, object: &[u8]) -> serde_json::Result<String> {
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

/// Returns the requests and the calls of the sink when the server gives these responses.
async fn followed(answers: &[(u16, String)]) -> (Vec<String>, Vec<String>) {
    followed_by(RecordingSink::default(), answers).await
}

async fn followed_by(sink: RecordingSink, answers: &[(u16, String)]) -> (Vec<String>, Vec<String>) {
    let script = SharedScript::default();
    lock(&script).answers = answers.iter().cloned().collect();
    let collection = WatchedCollection {
        path: "/api/v1/pods".to_owned(),
        fields: None,
        metadata_only: false,
    };
    let following = reflect(
        client(&script),
        collection,
        Entropy::seeded(1),
        Box::new(sink.clone()),
    );
    let _ = tokio::time::timeout(Duration::from_secs(60), following).await;
    let asked = std::mem::take(&mut lock(&script).asked);
    let calls = std::mem::take(&mut *sink.calls.lock().unwrap_or_else(PoisonError::into_inner));
    (asked, calls)
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
async fn changes_are_watched_from_the_version_of_the_list() {
    let changes = event("ADDED", "c", 6)
        + &event("DELETED", "a", 7)
        + "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}\n";
    let (asked, calls) = followed(&[list("more", &["a"]), list("", &["b"]), (200, changes)]).await;
    assert_eq!(
        calls,
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
async fn an_expired_resource_version_leads_to_a_new_list_and_other_errors_do_not() {
    let error = |code: u16| {
        format!(
            "{{\"type\":\"ERROR\",\"object\":{{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":{code}}}}}\n"
        )
    };
    let (asked, calls) = followed(&[
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
        calls,
        [
            "begin", "complete", "begin", "listed a", "complete", "begin", "complete"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn requests_to_a_failing_server_are_retried_with_growing_pauses() {
    let failures: Vec<_> = (0..3)
        .map(|_| (500, "down".to_owned()))
        .chain([list("", &["a"])])
        .collect();
    let (asked, calls) = followed(&failures).await;
    assert_eq!(asked, ["list", "list", "list", "list", "resourceVersion=5"]);
    assert_eq!(calls.last().map(String::as_str), Some("complete"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_leads_to_a_new_list_and_an_undecodable_object_is_skipped() {
    let unreadable = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":7}}}\n".to_owned();
    let changes = unreadable
        + &event("ADDED", "b", 6)
        + &event("ADDED", "bad", 7)
        + &event("ADDED", "never", 8);
    let (asked, calls) = followed(&[list("", &["a"]), (200, changes), list("", &["c"])]).await;
    assert_eq!(
        calls,
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
async fn a_superseded_state_reaches_only_sinks_that_want_every_state() {
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
    let newest = RecordingSink {
        newest_only: true,
        ..RecordingSink::default()
    };
    let (asked, calls) = followed_by(newest, &answers).await;
    assert_eq!(
        calls,
        ["begin", "complete", "put a", "gone a"],
        "that it came and that it went"
    );
    assert_eq!(asked, ["list", "resourceVersion=5", "resourceVersion=9"]);
    let (_, calls) = followed(&answers).await;
    assert_eq!(
        calls,
        ["begin", "complete", "put a", "put a", "put a", "gone a"]
    );
}

/// Follows a server that answers each request with `answer` after a millisecond, for a minute.
/// Returns the number of requests.
async fn requests_in_a_minute(
    answer: impl Fn(&str, usize) -> String + Send + Clone + 'static,
) -> usize {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (answer, count) = (answer.clone(), Arc::clone(&count));
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let number = {
                let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
                *count += 1;
                *count
            };
            let body = answer(request.uri().query().unwrap_or_default(), number);
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(body.into_bytes())))
        }
    });
    let collection = WatchedCollection {
        path: "/api/v1/pods".to_owned(),
        fields: None,
        metadata_only: false,
    };
    let client = Client::new(service, "default");
    let sink = Box::new(RecordingSink::default());
    let following = reflect(client, collection, Entropy::seeded(1), sink);
    drop(tokio::time::timeout(Duration::from_secs(60), following).await);
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    *asked
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_followed_by_growing_pauses() {
    for with_event in [false, true] {
        let asked = requests_in_a_minute(move |query, number| {
            let version = u32::try_from(number).unwrap_or(0) + 10;
            match (query.contains("watch=true"), with_event) {
                (false, _) => list("", &["a"]).1,
                (true, false) => String::new(),
                (true, true) => event("MODIFIED", "a", version),
            }
        })
        .await;
        assert!((5..40).contains(&asked), "{asked} requests, {with_event}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_continues_with_itself_is_given_up() {
    let asked = requests_in_a_minute(|_, _| list("again", &["a"]).1).await;
    assert!((5..40).contains(&asked), "{asked} requests");
}
