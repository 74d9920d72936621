//! Rows of workloads, autoscalers and disruption budgets.

use kinds::Tree;
use kinds::duration::human_age;
use kinds::tree::json;

use super::cells::{
    AgeClock, age, condition, containers, items, name, number, pairs, seconds, selector, since,
    text, text_or,
};

const TEMPLATE: &str = "/spec/template/spec/containers";

fn with_containers(mut cells: Vec<Tree>, object: &Tree, pointer: &str) -> Vec<Tree> {
    cells.extend(containers(object, pointer));
    cells
}

pub(super) fn deployment(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let ready = format!(
        "{}/{}",
        number(object, "/status/readyReplicas"),
        number(object, "/spec/replicas")
    );
    let (updated, available) = (
        number(object, "/status/updatedReplicas"),
        number(object, "/status/availableReplicas"),
    );
    let cells = vec![
        name(object),
        json!(ready),
        json!(updated),
        json!(available),
        age(object, now),
    ];
    let mut cells = with_containers(cells, object, TEMPLATE);
    cells.push(selector(object, "/spec/selector"));
    cells
}

/// Returns the cells of a ReplicaSet or ReplicationController. The selector of the latter is a
/// plain map.
pub(super) fn replicas(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let count = |pointer: &str| json!(number(object, pointer));
    let cells = vec![
        name(object),
        count("/spec/replicas"),
        count("/status/replicas"),
        count("/status/readyReplicas"),
        age(object, now),
    ];
    let mut cells = with_containers(cells, object, TEMPLATE);
    let plain = text(object, "/kind") == "ReplicationController";
    cells.push(if plain {
        pairs(object, "/spec/selector")
    } else {
        selector(object, "/spec/selector")
    });
    cells
}

/// Returns the cells of the `scale` of any resource.
pub(super) fn scale(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let count = |pointer: &str| json!(number(object, pointer));
    vec![
        name(object),
        count("/spec/replicas"),
        count("/status/replicas"),
        age(object, now),
    ]
}

pub(super) fn stateful_set(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let ready = format!(
        "{}/{}",
        number(object, "/status/readyReplicas"),
        number(object, "/spec/replicas")
    );
    with_containers(
        vec![name(object), json!(ready), age(object, now)],
        object,
        TEMPLATE,
    )
}

pub(super) fn daemon_set(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let count = |member: &str| json!(number(object, &format!("/status/{member}")));
    let cells = vec![
        name(object),
        count("desiredNumberScheduled"),
        count("currentNumberScheduled"),
        count("numberReady"),
        count("updatedNumberScheduled"),
        count("numberAvailable"),
        pairs(object, "/spec/template/spec/nodeSelector"),
        age(object, now),
    ];
    let mut cells = with_containers(cells, object, TEMPLATE);
    cells.push(selector(object, "/spec/selector"));
    cells
}

pub(super) fn job(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let succeeded = number(object, "/status/succeeded");
    let completions = match (
        object.pointer("/spec/completions").and_then(Tree::as_i64),
        number(object, "/spec/parallelism"),
    ) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let started = seconds(text(object, "/status/startTime"));
    let duration = match (started, seconds(text(object, "/status/completionTime"))) {
        (None, _) => String::new(),
        (Some(started), Some(ended)) => human_age(ended - started),
        (Some(started), None) => now.age(started),
    };
    let cells = vec![
        name(object),
        json!(job_status(object)),
        json!(completions),
        json!(duration),
        age(object, now),
    ];
    let mut cells = with_containers(cells, object, TEMPLATE);
    cells.push(selector(object, "/spec/selector"));
    cells
}

fn job_status(job: &Tree) -> &'static str {
    let holds =
        |kind: &str| condition(job, kind).is_some_and(|condition| condition["status"] == "True");
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if !text(job, "/metadata/deletionTimestamp").is_empty() {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

pub(super) fn cron_job(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let last = text(object, "/status/lastScheduleTime");
    let last = if last.is_empty() {
        "<none>".to_owned()
    } else {
        since(object, "/status/lastScheduleTime", now)
    };
    let cells = vec![
        name(object),
        json!(text(object, "/spec/schedule")),
        text_or(object, "/spec/timeZone", "<none>"),
        json!(
            object
                .pointer("/spec/suspend")
                .and_then(Tree::as_bool)
                .unwrap_or_default()
        ),
        json!(items(object, "/status/active").len()),
        json!(last),
        age(object, now),
    ];
    let mut cells = with_containers(
        cells,
        object,
        "/spec/jobTemplate/spec/template/spec/containers",
    );
    cells.push(selector(object, "/spec/jobTemplate/spec/selector"));
    cells
}

pub(super) fn autoscaler(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let reference = format!(
        "{}/{}",
        text(object, "/spec/scaleTargetRef/kind"),
        text(object, "/spec/scaleTargetRef/name")
    );
    let least = object.pointer("/spec/minReplicas").and_then(Tree::as_i64);
    vec![
        name(object),
        json!(reference),
        json!(targets(object)),
        json!(least.map_or_else(|| "<unset>".to_owned(), |least| least.to_string())),
        json!(number(object, "/spec/maxReplicas")),
        json!(number(object, "/status/currentReplicas")),
        age(object, now),
    ]
}

/// Returns the utilization of resources, the metric of nearly every autoscaler.
fn targets(object: &Tree) -> String {
    let wanted = items(object, "/spec/metrics");
    let current = items(object, "/status/currentMetrics");
    let one = |(place, metric): (usize, &Tree)| {
        let resource = text(metric, "/resource/name");
        let target = metric
            .pointer("/resource/target/averageUtilization")
            .and_then(Tree::as_i64);
        let is = current
            .get(place)
            .and_then(|metric| metric.pointer("/resource/current/averageUtilization"))
            .and_then(Tree::as_i64);
        let percent = |value: Option<i64>| {
            value.map_or_else(|| "<unknown>".to_owned(), |value| format!("{value}%"))
        };
        match target {
            Some(_) => format!("{resource}: {}/{}", percent(is), percent(target)),
            None => format!("{}: <unknown>", text(metric, "/type")),
        }
    };
    let texts: Vec<String> = wanted.iter().enumerate().map(one).collect();
    super::cells::some(&texts, 2)
}

pub(super) fn controller_revision(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let owner = items(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner["controller"] == true);
    let owner = owner.map_or_else(
        || "<none>".to_owned(),
        |owner| {
            let kind = text(owner, "/kind").to_lowercase();
            let group = text(owner, "/apiVersion")
                .split_once('/')
                .map_or(String::new(), |(group, _)| format!(".{group}"));
            format!("{kind}{group}/{}", text(owner, "/name"))
        },
    );
    vec![
        name(object),
        json!(owner),
        json!(number(object, "/revision")),
        age(object, now),
    ]
}

pub(super) fn budget(object: &Tree, now: &AgeClock) -> Vec<Tree> {
    let limit = |pointer: &str| match object.pointer(pointer) {
        Some(text @ Tree::String(_)) => text.clone(),
        Some(Tree::Number(number)) => json!(number.to_string()),
        _ => json!("N/A"),
    };
    vec![
        name(object),
        limit("/spec/minAvailable"),
        limit("/spec/maxUnavailable"),
        json!(number(object, "/status/disruptionsAllowed")),
        age(object, now),
    ]
}
