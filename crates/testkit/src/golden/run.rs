//! Sends the requests of a transcript and compares the responses.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use clock::{Clock, Entropy};
use regex::Regex;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::path::dig;
use super::{
    HttpResponse, RecordedScenario, Report, Transcript, TranscriptStep, Transport, answer, compare,
    mask,
};

/// Pause between two requests of a step that waits.
const PAUSE: Duration = Duration::from_millis(50);
/// Simulated latency of a request.
const ROUND_TRIP: Duration = Duration::from_millis(2);
/// Interval at which the node without an agent renews its status.
const BEAT: Duration = Duration::from_secs(8);
/// Headers that are always compared.
const KEPT: [&str; 5] = [
    "content-type",
    "retry-after",
    "warning",
    "allow",
    "content-encoding",
];

/// Replays the scenarios whose names contain `only` (empty: all).
pub async fn replay(
    transport: &Transport,
    transcript: &Transcript,
    only: &str,
    clock: &Clock,
    entropy: &Entropy,
) -> Report {
    let run = Replay {
        transport,
        clock,
        entropy,
    };
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "wire-node"}});
    run.json("POST", "/api/v1/nodes", None, Some(node)).await;
    run.wake_node().await;
    tokio::select! {
        report = run.scenarios(transcript, only) => report,
        () = run.keep_node_alive() => Report::default(),
    }
}

struct Replay<'a> {
    transport: &'a Transport,
    clock: &'a Clock,
    entropy: &'a Entropy,
}

pub(super) type Variables = BTreeMap<String, Value>;

impl Replay<'_> {
    async fn scenarios(&self, transcript: &Transcript, only: &str) -> Report {
        let mut report = Report::default();
        for scenario in transcript
            .scenarios
            .iter()
            .filter(|scenario| scenario.name.contains(only))
        {
            let found = self.scenario(scenario).await;
            report.compared += found.compared;
            report.right += found.right;
            report.differences.extend(
                found
                    .differences
                    .into_iter()
                    .map(|line| format!("{} / {}: {line}", transcript.area, scenario.name)),
            );
        }
        report
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        body: Option<Bytes>,
    ) -> HttpResponse {
        // Over a network a response takes time, in which controllers continue.
        tokio::time::sleep(ROUND_TRIP).await;
        let mut request = http::Request::builder().method(method).uri(escaped(path));
        let given = |name: &str| headers.keys().any(|key| key.eq_ignore_ascii_case(name));
        if !given("accept") {
            request = request.header("Accept", "application/json");
        }
        if body.is_some() && !given("content-type") {
            request = request.header("Content-Type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        match request.body(body.unwrap_or_default()) {
            Ok(request) => answer::unzipped((self.transport)(request).await),
            Err(error) => HttpResponse {
                body: error.to_string().into(),
                ..HttpResponse::default()
            },
        }
    }

    async fn json(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        let headers = content_type
            .map(|kind| ("Content-Type".to_owned(), kind.to_owned()))
            .into_iter()
            .collect();
        let answer = self
            .call(
                method,
                path,
                &headers,
                body.map(|body| body.to_string().into()),
            )
            .await;
        (
            answer.code,
            serde_json::from_slice(&answer.body).unwrap_or_default(),
        )
    }

    async fn scenario(&self, scenario: &RecordedScenario) -> Report {
        let namespace = format!("w{}", &self.entropy.uid()[..8]);
        let mut report = Report::default();
        let body =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let (code, answer) = self
            .json("POST", "/api/v1/namespaces", None, Some(body))
            .await;
        if code != 201 {
            report.differences.push(format!(
                "cannot make a namespace: {code} {}",
                compare::short(&answer)
            ));
            report.compared = scenario.steps.len();
            return report;
        }
        self.wait_for_account(&namespace).await;
        let mut variables = Variables::from([("ns".to_owned(), json!(namespace))]);
        for (place, step) in scenario.steps.iter().enumerate() {
            let now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            variables.insert("now".to_owned(), json!(now));
            let label = format!("step {} {}", place + 1, step.ask);
            let lines = self
                .step(step, &namespace, &mut variables, &mut report)
                .await;
            report
                .differences
                .extend(lines.into_iter().map(|line| format!("{label}: {line}")));
        }
        self.json(
            "DELETE",
            &format!("/api/v1/namespaces/{namespace}"),
            None,
            Some(json!({"gracePeriodSeconds": 0})),
        )
        .await;
        self.clear_pods(&namespace).await;
        report
    }

    /// Waits for the default service account, without which pods are refused.
    async fn wait_for_account(&self, namespace: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        for _ in 0..100 {
            if self.json("GET", &path, None, None).await.0 == 200 {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Deletes leftover pods with grace period 0: the node has no agent that would stop them.
    async fn clear_pods(&self, namespace: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let (_, list) = self.json("GET", &path, None, None).await;
        for pod in list
            .get("items")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if let (Some(name), true) = (
                pod["metadata"]["name"].as_str(),
                pod["metadata"]["finalizers"].is_array(),
            ) {
                let patch = json!({"metadata": {"finalizers": null}});
                self.json(
                    "PATCH",
                    &format!("{path}/{name}"),
                    Some("application/merge-patch+json"),
                    Some(patch),
                )
                .await;
            }
        }
        self.json(
            "DELETE",
            &format!("{path}?gracePeriodSeconds=0"),
            None,
            None,
        )
        .await;
    }

    /// Waits until the node lifecycle controller reports the node as Ready.
    async fn wake_node(&self) {
        for _ in 0..30 {
            if self.beat().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Renews the status of the node, without which its pods would become unready.
    async fn keep_node_alive(&self) {
        loop {
            tokio::time::sleep(BEAT).await;
            self.beat().await;
        }
    }

    /// Reports the node as Ready; returns whether it was Ready before.
    async fn beat(&self) -> bool {
        let (_, node) = self
            .json("GET", "/api/v1/nodes/wire-node", None, None)
            .await;
        let now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let ready = json!({
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        });
        let patch = json!({"status": {"conditions": [ready]}});
        self.json(
            "PATCH",
            "/api/v1/nodes/wire-node/status",
            Some("application/strategic-merge-patch+json"),
            Some(patch),
        )
        .await;
        let taints = node["spec"]["taints"].as_array().into_iter().flatten();
        let keys: Vec<&str> = taints.filter_map(|taint| taint["key"].as_str()).collect();
        let tainted = keys
            .iter()
            .any(|key| key.contains("unreachable") || key.contains("not-ready"));
        !tainted && dig(&node, "status.conditions[?type=Ready].status") == "True"
    }

    async fn step(
        &self,
        step: &TranscriptStep,
        namespace: &str,
        variables: &mut Variables,
        report: &mut Report,
    ) -> Vec<String> {
        let ask = fill_text(&step.ask, variables);
        let (method, path) = ask.split_once(' ').unwrap_or((&ask, "/"));
        if method == "SLEEP" {
            tokio::time::sleep(Duration::from_secs_f64(path.parse().unwrap_or(0.0))).await;
            return Vec::new();
        }
        let want = step
            .until
            .as_ref()
            .map(|until| fill(until, variables))
            .unwrap_or(json!({}));
        let (answer, body, shown) = self.ask(step, method, path, &want, variables).await;
        for (name, place) in &step.save {
            let value = place
                .strip_prefix('@')
                .map(|header| json!(answer.headers.get(header)));
            variables.insert(name.clone(), value.unwrap_or_else(|| dig(&body, place)));
        }
        let mut lines = Vec::new();
        if !shown {
            let seen: Map<String, Value> = want
                .as_object()
                .into_iter()
                .flatten()
                .map(|(path, _)| (path.clone(), dig(&body, path)))
                .collect();
            lines.push(format!(
                "never showed {}: {}",
                compare::short(&want),
                compare::short(&Value::Object(seen))
            ));
        }
        match step.check.as_ref() {
            Some(check) if check == "any" => {}
            Some(Value::Bool(false)) => {
                if answer.code >= 400 || answer.code == 0 {
                    lines.push(format!(
                        "preparation failed: {} {}",
                        answer.code,
                        compare::short(&body)
                    ));
                }
            }
            check => {
                let got = seen(step, check, &answer, &body, namespace, variables);
                let found =
                    compare::differences(step.expect.as_ref().unwrap_or(&Value::Null), &got, "");
                report.compared += 1;
                report.right += usize::from(found.is_empty());
                lines.extend(found);
            }
        }
        lines
    }

    /// Repeats the request until the response contains `until` or the limit has passed; returns the
    /// last response.
    async fn ask(
        &self,
        step: &TranscriptStep,
        method: &str,
        path: &str,
        want: &Value,
        variables: &Variables,
    ) -> (HttpResponse, Value, bool) {
        let deadline = Instant::now() + Duration::from_secs_f64(step.within);
        let headers = step
            .headers
            .iter()
            .flatten()
            .map(|(name, value)| (name.clone(), fill_text(value, variables)))
            .collect();
        loop {
            let body = step.body.as_ref().map(|body| body.encoded(variables));
            let answer = self.call(method, path, &headers, body).await;
            let seen = answer::parse(step, &answer);
            let shown = want
                .as_object()
                .into_iter()
                .flatten()
                .all(|(path, value)| holds(value, &dig(&seen, path)));
            if shown || Instant::now() > deadline {
                return (answer, seen, shown);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Returns the part of a response that is compared.
fn seen(
    step: &TranscriptStep,
    check: Option<&Value>,
    answer: &HttpResponse,
    body: &Value,
    namespace: &str,
    variables: &Variables,
) -> Value {
    let kept = |name: &str| KEPT.contains(&name) || step.keep.iter().any(|keep| keep == name);
    let headers: Map<String, Value> = answer
        .headers
        .iter()
        .filter(|(name, _)| kept(name))
        .map(|(name, value)| (name.clone(), json!(mask::text(value, namespace))))
        .collect();
    let picked = if step.raw {
        Value::String(String::from_utf8_lossy(&answer.body).into_owned())
    } else if step.fields.is_empty() {
        body.clone()
    } else {
        step.fields
            .iter()
            .map(|field| (field.clone(), dig(body, field)))
            .collect::<Map<_, _>>()
            .into()
    };
    let mut headers = Value::Object(headers);
    let mut picked = mask::document(&picked, namespace, step.managed);
    let hidden = step.hide.iter().filter_map(|name| {
        let value = variables
            .get(name)
            .map(plain)
            .filter(|text| !text.is_empty())?;
        Some((regex::escape(&value), format!("<{name}>")))
    });
    for (pattern, mask) in hidden.chain(
        step.mask
            .iter()
            .map(|(pattern, mask)| (pattern.clone(), back_references(mask))),
    ) {
        if let Ok(pattern) = Regex::new(&pattern) {
            rewrite(&mut picked, &pattern, &mask);
            rewrite(&mut headers, &pattern, &mask);
        }
    }
    match check {
        Some(check) if check == "code" => json!({"code": answer.code}),
        Some(check) if check == "head" => json!({"code": answer.code, "headers": headers}),
        _ => json!({"code": answer.code, "headers": headers, "body": picked}),
    }
}

/// The masks of the transcripts use `\1` for a group.
fn back_references(mask: &str) -> String {
    (1..=9).fold(mask.replace('$', "$$"), |mask, group| {
        mask.replace(&format!("\\{group}"), &format!("${{{group}}}"))
    })
}

/// Escapes the characters of a recorded path that HTTP does not allow.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'>' | b'<' | b'"' | b' ' | b'{' | b'}' | b'|' | b'\\' | b'^' | b'`' | 128.. => {
                out.push_str(&format!("%{byte:02X}"))
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

fn rewrite(value: &mut Value, pattern: &Regex, mask: &str) {
    match value {
        Value::String(text) => *text = pattern.replace_all(text, mask).into_owned(),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| rewrite(item, pattern, mask)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| rewrite(member, pattern, mask)),
        _ => {}
    }
}

fn holds(want: &Value, got: &Value) -> bool {
    if let Some((operator, value)) = want
        .as_object()
        .filter(|members| members.len() == 1)
        .and_then(|members| members.iter().next())
    {
        match operator.as_str() {
            "not" => return got != value,
            "re" => {
                return got
                    .as_str()
                    .zip(value.as_str())
                    .is_some_and(|(got, value)| {
                        Regex::new(value).is_ok_and(|value| value.is_match(got))
                    });
            }
            "ge" => {
                return got
                    .as_f64()
                    .zip(value.as_f64())
                    .is_some_and(|(got, value)| got >= value);
            }
            _ => {}
        }
    }
    want == got
}

pub(super) fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn fill_text(text: &str, variables: &Variables) -> String {
    variables
        .iter()
        .fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("${{{name}}}"), &plain(value))
        })
}

fn fill(value: &Value, variables: &Variables) -> Value {
    match value {
        Value::String(text) => {
            let whole = text
                .strip_prefix("${")
                .and_then(|rest| rest.strip_suffix('}'))
                .and_then(|name| variables.get(name));
            whole
                .cloned()
                .unwrap_or_else(|| Value::String(fill_text(text, variables)))
        }
        Value::Array(items) => items.iter().map(|item| fill(item, variables)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (fill_text(key, variables), fill(value, variables)))
            .collect(),
        other => other.clone(),
    }
}
