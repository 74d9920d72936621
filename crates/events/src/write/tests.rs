//! Recorded events and the requests that the writer makes of them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use clock::Clock;
use http_body_util::BodyExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::pending::EventType;
use crate::recorder::EventBroadcaster;

/// A method, a path and a body.
type Call = (String, String, Value);

/// Records what a client asks for and answers with these codes, then with 200.
fn client(codes: &[u16]) -> (Client, Arc<Mutex<Vec<Call>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let codes = Arc::new(Mutex::new(codes.to_vec()));
    let log = Arc::clone(&calls);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (log, codes) = (Arc::clone(&log), Arc::clone(&codes));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            let mut codes = codes.lock().expect("lock");
            let code = if codes.is_empty() {
                200
            } else {
                codes.remove(0)
            };
            log.lock().expect("lock").push((
                parts.method.to_string(),
                parts.uri.path().to_owned(),
                body.clone(),
            ));
            let answer = if code == 200 {
                json!({"metadata": {}, "involvedObject": {}})
            } else {
                json!({"kind": "Status", "status": "Failure", "code": code,
                    "reason": "", "message": ""})
            };
            let response = http::Response::builder()
                .status(code)
                .body(Body::from(answer.to_string().into_bytes()));
            Ok::<_, Infallible>(response.expect("a response"))
        }
    });
    (Client::new(service, "default"), calls)
}

/// Records the events that `record` emits and returns the requests that follow.
async fn requests(codes: &[u16], record: impl FnOnce(&EventBroadcaster)) -> Vec<Call> {
    let (client, calls) = client(codes);
    let clock = Clock::starting_at(Timestamp::from_second(1_000_000_000).expect("a time"));
    let (broadcaster, writer) = EventBroadcaster::new(client, clock, None);
    record(&broadcaster);
    drop(broadcaster);
    writer.run(CancellationToken::new()).await;
    calls.lock().expect("lock").clone()
}

fn pod() -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "web-1", "namespace": "shop", "uid": "u"}}))
        .expect("a pod")
}

#[tokio::test(start_paused = true)]
async fn an_event_is_created_once_and_then_counted() {
    let calls = requests(&[], |broadcaster| {
        let recorder = broadcaster.recorder("kubelet").on_host("node-1".into());
        for _ in 0..2 {
            recorder.event(&pod(), EventType::Warning, "BackOff", "Back-off");
        }
    })
    .await;
    let [(method, path, created), (patch, patched, count)] = calls.as_slice() else {
        panic!("two requests expected: {calls:?}");
    };
    assert_eq!(
        (method.as_str(), path.as_str()),
        ("POST", "/api/v1/namespaces/shop/events")
    );
    let name = created["metadata"]["name"].as_str().expect("a name");
    assert_eq!(name, "web-1.de0b6b3a7640001");
    assert_eq!(
        created,
        &json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": "shop"},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod",
                "name": "web-1", "namespace": "shop", "uid": "u"},
            "type": "Warning", "reason": "BackOff", "message": "Back-off", "count": 1,
            "firstTimestamp": "2001-09-09T01:46:40Z", "lastTimestamp": "2001-09-09T01:46:40Z",
            "source": {"component": "kubelet", "host": "node-1"},
            "reportingComponent": "kubelet", "reportingInstance": "node-1",
        })
    );
    assert_eq!(patch, "PATCH");
    assert!(patched.ends_with(name), "{patched}");
    assert_eq!(
        count,
        &json!({"count": 2, "lastTimestamp": "2001-09-09T01:46:40Z"})
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_that_has_expired_is_created_again_and_counted_from_one() {
    let calls = requests(&[200, 404], |broadcaster| {
        let recorder = broadcaster.recorder("test");
        for _ in 0..3 {
            recorder.event(&pod(), EventType::Normal, "R", "m");
        }
    })
    .await;
    let methods: Vec<&str> = calls.iter().map(|(method, ..)| method.as_str()).collect();
    assert_eq!(methods, ["POST", "PATCH", "POST", "PATCH"]);
    let (_, path, body) = &calls[3];
    assert!(path.ends_with(calls[2].2["metadata"]["name"].as_str().expect("a name")));
    assert_eq!(body["count"], 2);
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_name_is_taken_gets_another_name() {
    let calls = requests(&[409], |broadcaster| {
        let recorder = broadcaster.recorder("test");
        recorder.event(&pod(), EventType::Normal, "R", "m");
    })
    .await;
    let names: Vec<&Value> = calls
        .iter()
        .map(|(_, _, body)| &body["metadata"]["name"])
        .collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_written_does_not_hold_up_the_next() {
    let calls = requests(&[500], |broadcaster| {
        let recorder = broadcaster.recorder("test");
        recorder.event(&pod(), EventType::Normal, "R", "first");
        recorder.event(&pod(), EventType::Normal, "R", "second");
    })
    .await;
    let messages: Vec<&Value> = calls.iter().map(|(_, _, body)| &body["message"]).collect();
    assert_eq!(messages, ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_about_an_object_without_a_namespace_goes_to_default() {
    let calls = requests(&[], |broadcaster| {
        let involved = ObjectReference {
            name: Some("n".repeat(253)),
            ..ObjectReference::default()
        };
        let recorder = broadcaster.recorder("test");
        recorder.event_about(involved, EventType::Normal, "R", "m");
    })
    .await;
    let (_, path, body) = &calls[0];
    assert_eq!(path, "/api/v1/namespaces/default/events");
    let name = body["metadata"]["name"].as_str().expect("a name");
    assert_eq!(name.len(), LONGEST_NAME);
}

#[tokio::test(start_paused = true)]
async fn an_event_with_an_action_has_an_event_time_and_no_count() {
    let calls = requests(&[], |broadcaster| {
        let recorder = broadcaster.recorder("default-scheduler");
        for _ in 0..2 {
            let bound = "Successfully assigned";
            recorder.event_with_action(&pod(), "Binding", EventType::Normal, "Scheduled", bound);
        }
    })
    .await;
    assert_eq!(calls.len(), 2);
    for (method, _, body) in &calls {
        assert_eq!(method, "POST");
        assert_eq!(body["action"], "Binding");
        assert_eq!(body["eventTime"], "2001-09-09T01:46:40.000000Z");
        assert_eq!(body["reportingInstance"], "default-scheduler-exeunt");
        assert_eq!(
            (&body["count"], &body["source"]),
            (&Value::Null, &Value::Null)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_object_leads_an_event_to_another_resource() {
    let odd: Pod = serde_json::from_value(json!({"metadata": {"name": "a/b",
        "namespace": "../../nodes?x"}}))
    .expect("a pod");
    let calls = requests(&[], |broadcaster| {
        let recorder = broadcaster.recorder("test");
        for _ in 0..2 {
            recorder.event(&odd, EventType::Normal, "R", "m");
        }
    })
    .await;
    let paths: Vec<&str> = calls.iter().map(|(_, path, _)| path.as_str()).collect();
    let events = "/api/v1/namespaces/..%2F..%2Fnodes%3Fx/events";
    assert_eq!(paths[0], events);
    assert!(
        paths[1].starts_with(&format!("{events}/a%2Fb.")),
        "{paths:?}"
    );
}
