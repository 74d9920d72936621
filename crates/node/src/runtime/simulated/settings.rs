//! How the containers of a pod shall behave, read from the pod's annotations.
//!
//! `sim.exeunt.dev/SETTING` holds for the ordinary containers and sidecars of the pod,
//! `sim.exeunt.dev/SETTING.CONTAINER` for one container, whatever it is. A value that cannot be
//! read is reported and ignored.

use std::time::Duration;

use jiff::SignedDuration;

use crate::pod::view::{Container, PodView};

/// What all annotations of the simulated runtime begin with.
pub const ANNOTATION_PREFIX: &str = "sim.exeunt.dev/";

/// A day more than a century: longer waits are typing errors.
const LONGEST_SECONDS: f64 = 36_525.0 * 86_400.0;

/// How long a pod of a Job works when nobody says otherwise.
const JOB_RUNS: SignedDuration = SignedDuration::from_secs(1);

/// How one container shall behave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// Between the order and the start.
    pub(super) startup: SignedDuration,
    /// Between the start and readiness.
    pub(super) ready_after: SignedDuration,
    /// Never ready at all.
    pub(super) never_ready: bool,
    /// Between the stop signal and the exit.
    pub(super) stop: SignedDuration,
    /// Only a kill stops it.
    pub(super) ignores_stop: bool,
    /// Ends its work after this time.
    pub(super) run: Option<SignedDuration>,
    /// Breaks down after this time.
    pub(super) crash: Option<SignedDuration>,
    /// Exit code of whatever end but a kill.
    pub(super) exit_code: Option<i32>,
    /// How long the preStop hook takes.
    pub(super) hook: SignedDuration,
}

/// Settings of all containers of a pod, init containers first and ephemeral ones last, and what
/// could not be read.
pub(super) fn of_pod(pod: &PodView) -> (Vec<Settings>, Vec<String>) {
    let owned_by_job = pod
        .metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.kind == "Job" && owner.controller == Some(true));
    let inits = pod.spec.init_containers.iter().map(|container| {
        (
            container,
            container.restart_policy.as_deref() != Some("Always"),
        )
    });
    let mains = pod
        .spec
        .containers
        .iter()
        .map(|container| (container, false));
    let regular = inits.chain(mains).map(|(container, init)| {
        (
            container.name.as_str(),
            init,
            defaults(container, init, owned_by_job),
        )
    });
    let ephemeral = pod.spec.ephemeral_containers.iter().map(|container| {
        (
            container.name.as_str(),
            true,
            defaults(container, false, false),
        )
    });
    let mut settings: Vec<(&str, bool, Settings)> = regular.chain(ephemeral).collect();

    let ours = || {
        pod.metadata
            .annotations
            .iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.strip_prefix(ANNOTATION_PREFIX)?, value)))
    };
    let mut complaints = Vec::new();
    for (key, value) in ours().filter(|(key, _)| !key.contains('.')) {
        let targets = settings
            .iter_mut()
            .filter(|(_, apart, _)| !apart)
            .map(|(.., settings)| settings);
        complaints.extend(put(key, value, targets).err());
    }
    // The more specific annotations come second and win.
    for (key, value) in ours() {
        let Some((setting, container)) = key.split_once('.') else {
            continue;
        };
        let mut targets = settings
            .iter_mut()
            .filter(|(name, ..)| *name == container)
            .map(|(.., settings)| settings)
            .peekable();
        if targets.peek().is_none() {
            complaints.push(format!(
                "annotation {ANNOTATION_PREFIX}{key}: the pod has no container {container:?}"
            ));
        } else {
            complaints.extend(
                put(setting, value, targets)
                    .err()
                    .map(|error| format!("{error} (container {container:?})")),
            );
        }
    }
    (
        settings
            .into_iter()
            .map(|(.., settings)| settings)
            .collect(),
        complaints,
    )
}

fn defaults(container: &Container, init: bool, owned_by_job: bool) -> Settings {
    let probe_delay = container
        .readiness_probe
        .as_ref()
        .and_then(|probe| probe.initial_delay_seconds);
    let hook = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref())
        .and_then(|hook| hook.sleep.as_ref());
    Settings {
        ready_after: SignedDuration::from_secs(probe_delay.unwrap_or_default().max(0)),
        hook: SignedDuration::from_secs(hook.map_or(0, |sleep| sleep.seconds.max(0))),
        run: match (init, owned_by_job) {
            (true, _) => Some(SignedDuration::ZERO),
            (false, true) => Some(JOB_RUNS),
            (false, false) => None,
        },
        ..Settings::default()
    }
}

/// Puts one setting into all targets.
fn put<'a>(
    setting: &str,
    value: &str,
    targets: impl Iterator<Item = &'a mut Settings>,
) -> Result<(), String> {
    for target in targets {
        match setting {
            "startup-seconds" => target.startup = seconds(setting, value)?,
            "ready-after-seconds" => target.ready_after = seconds(setting, value)?,
            "stop-seconds" => target.stop = seconds(setting, value)?,
            "run-seconds" => target.run = Some(seconds(setting, value)?),
            "crash-after-seconds" => {
                target.crash = Some(seconds(setting, value)?);
                // The default end of an init container or a Job's pod must not come first; an
                // explicit run-seconds is read after this one.
                target.run = None;
            }
            "ignore-sigterm" => target.ignores_stop = boolean(setting, value)?,
            "never-ready" => target.never_ready = boolean(setting, value)?,
            "exit-code" => target.exit_code = Some(exit_code(setting, value)?),
            _ => {
                return Err(format!(
                    "annotation {ANNOTATION_PREFIX}{setting}: there is no such setting"
                ));
            }
        }
    }
    Ok(())
}

fn seconds(setting: &str, value: &str) -> Result<SignedDuration, String> {
    let parsed = value
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|seconds| (0.0..=LONGEST_SECONDS).contains(seconds));
    parsed
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .and_then(|time| SignedDuration::try_from(time).ok())
        .ok_or_else(|| wrong(setting, value, "a number of seconds such as 2 or 0.5"))
}

fn boolean(setting: &str, value: &str) -> Result<bool, String> {
    match value.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong(setting, value, "true or false")),
    }
}

fn exit_code(setting: &str, value: &str) -> Result<i32, String> {
    let parsed = value
        .trim()
        .parse::<i32>()
        .ok()
        .filter(|code| (0..=255).contains(code));
    parsed.ok_or_else(|| wrong(setting, value, "an exit code from 0 to 255"))
}

fn wrong(setting: &str, value: &str, wanted: &str) -> String {
    format!("annotation {ANNOTATION_PREFIX}{setting}: {value:?} is not {wanted}; it is ignored")
}
