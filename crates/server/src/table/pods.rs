//! Rows of pods. The STATUS column summarizes phase, reasons and container states.

use kinds::Tree;
use kinds::tree::json;

use super::cells::{
    AgeClock, age, condition, containers, items, name, pairs, seconds, text, text_or,
};

/// Counts over the containers of a pod.
struct Containers {
    total: usize,
    ready: usize,
    restarts: i64,
    last_restart: Option<i64>,
    status: String,
}

/// Returns the cells of a pod.
pub(super) fn pod(pod: &Tree, now: &AgeClock) -> Vec<Tree> {
    let mut found = Containers {
        total: 0,
        ready: 0,
        restarts: 0,
        last_restart: None,
        status: first_text(pod),
    };
    found.total = items(pod, "/spec/containers").len()
        + items(pod, "/spec/initContainers")
            .iter()
            .filter(|spec| restartable(spec))
            .count();
    let initializing = walk_init(pod, &mut found);
    if !initializing
        || condition(pod, "Initialized").is_some_and(|condition| condition["status"] == "True")
    {
        walk_regular(pod, &mut found);
    }
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        if text(pod, "/status/reason") == "NodeLost" {
            "Unknown".clone_into(&mut found.status);
        } else if !finished(pod) {
            "Terminating".clone_into(&mut found.status);
        }
    }
    let restarts = match found.last_restart {
        Some(then) if found.restarts != 0 => format!("{} ({} ago)", found.restarts, now.age(then)),
        _ => found.restarts.to_string(),
    };
    vec![
        name(pod),
        json!(format!("{}/{}", found.ready, found.total)),
        json!(found.status),
        json!(restarts),
        age(pod, now),
        text_or(
            pod,
            "/status/podIPs/0/ip",
            text_or(pod, "/status/podIP", "<none>")
                .as_str()
                .unwrap_or("<none>"),
        ),
        text_or(pod, "/spec/nodeName", "<none>"),
        text_or(pod, "/status/nominatedNodeName", "<none>"),
        gates(pod),
    ]
}

/// Returns the row conditions. Finished pods have one, so that clients can hide them.
pub(super) fn conditions(pod: &Tree) -> Option<Tree> {
    let (reason, message) = match text(pod, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

fn finished(pod: &Tree) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn first_text(pod: &Tree) -> String {
    let gated = condition(pod, "PodScheduled")
        .is_some_and(|condition| condition["reason"] == "SchedulingGated");
    let reason = text(pod, "/status/reason");
    let text = if gated {
        "SchedulingGated"
    } else if reason.is_empty() {
        text(pod, "/status/phase")
    } else {
        reason
    };
    text.to_owned()
}

fn restartable(spec: &Tree) -> bool {
    spec["restartPolicy"] == "Always"
}

/// Returns whether an init container has not finished. The status then describes it.
fn walk_init(pod: &Tree, found: &mut Containers) -> bool {
    let specs = items(pod, "/spec/initContainers");
    let sidecar = |status: &Tree| {
        specs
            .iter()
            .any(|spec| spec["name"] == status["name"] && restartable(spec))
    };
    for (place, status) in items(pod, "/status/initContainerStatuses")
        .iter()
        .enumerate()
    {
        count_restart(status, found);
        let terminated = status.pointer("/state/terminated");
        if terminated.is_some_and(|terminated| terminated["exitCode"] == 0) {
            continue;
        }
        if sidecar(status) && status["started"] == true {
            found.ready += usize::from(status["ready"] == true);
            continue;
        }
        let waiting = text(status, "/state/waiting/reason");
        found.status = match terminated {
            Some(terminated) => format!("Init:{}", ended(terminated)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => {
                format!("Init:{waiting}")
            }
            None => format!("Init:{place}/{}", specs.len()),
        };
        return true;
    }
    false
}

fn walk_regular(pod: &Tree, found: &mut Containers) {
    let specs = items(pod, "/spec/initContainers");
    // After initialization only sidecars and regular containers count.
    (found.restarts, found.last_restart) = (0, None);
    for status in items(pod, "/status/initContainerStatuses") {
        if specs
            .iter()
            .any(|spec| spec["name"] == status["name"] && restartable(spec))
        {
            count_restart(status, found);
        }
    }
    let mut running = false;
    let mut failed = String::new();
    for status in items(pod, "/status/containerStatuses").iter().rev() {
        count_restart(status, found);
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut found.status);
        } else if let Some(terminated) = status.pointer("/state/terminated") {
            found.status = ended(terminated);
            if terminated["exitCode"] != 0 {
                found.status.clone_into(&mut failed);
            }
        } else if status["ready"] == true && status.pointer("/state/running").is_some() {
            running = true;
            found.ready += 1;
        }
    }
    if found.status == "Completed" {
        let ready = condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True");
        if running && ready {
            "Running".clone_into(&mut found.status);
        } else if !failed.is_empty() {
            found.status = failed;
        } else if running {
            "NotReady".clone_into(&mut found.status);
        }
    }
}

fn count_restart(status: &Tree, found: &mut Containers) {
    found.restarts += status["restartCount"].as_i64().unwrap_or_default();
    let last = seconds(text(status, "/lastState/terminated/finishedAt"));
    found.last_restart = found.last_restart.max(last);
}

fn ended(terminated: &Tree) -> String {
    let reason = text(terminated, "/reason");
    let signal = terminated["signal"].as_i64().unwrap_or_default();
    match (reason.is_empty(), signal) {
        (false, _) => reason.to_owned(),
        (true, 0) => format!(
            "ExitCode:{}",
            terminated["exitCode"].as_i64().unwrap_or_default()
        ),
        (true, signal) => format!("Signal:{signal}"),
    }
}

fn gates(pod: &Tree) -> Tree {
    let gates = items(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return json!("<none>");
    }
    let open = |gate: &&Tree| {
        let kind = gate["conditionType"].as_str().unwrap_or_default();
        condition(pod, kind).is_some_and(|condition| condition["status"] == "True")
    };
    json!(format!(
        "{}/{}",
        gates.iter().filter(open).count(),
        gates.len()
    ))
}

/// Returns the cells of a pod template.
pub(super) fn template(template: &Tree, _now: &AgeClock) -> Vec<Tree> {
    let [names, images] = containers(template, "/template/spec/containers");
    vec![
        name(template),
        names,
        images,
        pairs(template, "/template/metadata/labels"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Tree, status: Tree, deleted: bool) -> String {
        let mut object = json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let cells = pod(&object, &AgeClock::at(0));
        format!(
            "{} {} {}",
            cells[1].as_str().unwrap(),
            cells[2].as_str().unwrap(),
            cells[3].as_str().unwrap()
        )
    }

    #[test]
    fn the_status_summarizes_phase_reasons_and_containers() {
        let one = json!({"containers": [{"name": "c"}]});
        let running = json!({"phase": "Running",
            "containerStatuses": [{"name": "c", "ready": true, "restartCount": 0,
            "state": {"running": {}}}]});
        assert_eq!(check(one.clone(), running.clone(), false), "1/1 Running 0");
        assert_eq!(check(one.clone(), running, true), "1/1 Terminating 0");
        let crashing = json!({"phase": "Running",
            "containerStatuses": [{"name": "c", "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
        assert_eq!(
            check(one.clone(), crashing, false),
            "0/1 CrashLoopBackOff 3"
        );
        let done = json!({"phase": "Succeeded",
            "containerStatuses": [{"name": "c",
            "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]});
        assert_eq!(check(one.clone(), done.clone(), false), "0/1 Completed 0");
        assert_eq!(check(one, done, true), "0/1 Completed 0");
        let init = json!({"initContainers": [{"name": "i"}, {"name": "j"}],
            "containers": [{"name": "c"}]});
        let second = json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "state": {"terminated": {"exitCode": 0}}},
                {"name": "j", "state": {"waiting": {"reason": "PodInitializing"}}}]});
        assert_eq!(check(init, second, false), "0/1 Init:1/2 0");
    }
}
