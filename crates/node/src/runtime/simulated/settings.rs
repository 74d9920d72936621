//! The behavior of simulated containers, from the annotations of their pod.
//!
//! `sim.exeunt.dev/SETTING` applies to the main containers of the pod and, but for `run-seconds`,
//! to its sidecars; `sim.exeunt.dev/SETTING.CONTAINER` to one container of any role. An invalid
//! value is reported and ignored.

use std::time::Duration;

use jiff::SignedDuration;

use crate::wire::view::{ContainerView, PodView};

/// The prefix of all annotations that the simulated runtime reads.
pub const ANNOTATION_PREFIX: &str = "sim.exeunt.dev/";

/// The largest accepted duration, 100 years. Longer ones are typing errors.
const LONGEST_SECONDS: f64 = 36_525.0 * 86_400.0;

/// The default running time of the main containers of a Job's pod.
const JOB_RUNS: SignedDuration = SignedDuration::from_secs(1);

/// The behavior of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// The time from the request to the start.
    pub(super) startup: SignedDuration,
    /// The time from the start to readiness.
    pub(super) ready_after: SignedDuration,
    /// True when the readiness probe never passes.
    pub(super) never_ready: bool,
    /// The time from the stop signal to the exit.
    pub(super) stop: SignedDuration,
    /// True when only a kill ends the container.
    pub(super) ignores_stop: bool,
    /// The time from the start to an exit with code 0.
    pub(super) run: Option<SignedDuration>,
    /// The time from the start to an exit with code 1.
    pub(super) crash: Option<SignedDuration>,
    /// The exit code of every exit but a kill.
    pub(super) exit_code: Option<i32>,
    /// The duration of the preStop hook.
    pub(super) hook: SignedDuration,
}

/// Returns the settings of all containers of a pod by index, and a warning for each invalid
/// annotation.
pub(super) fn of_pod(pod: &PodView) -> (Vec<Settings>, Vec<String>) {
    let owned_by_job = pod
        .metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.kind == "Job" && owner.controller == Some(true));
    let inits = pod.spec.init_containers.iter().map(|container| {
        if container.restart_policy.as_deref() == Some("Always") {
            (container, AnnotationScope::Sidecar)
        } else {
            (container, AnnotationScope::ByNameOnly)
        }
    });
    let mains = pod
        .spec
        .containers
        .iter()
        .map(|container| (container, AnnotationScope::Main));
    let regular = inits.chain(mains).map(|(container, role)| {
        let run = match role {
            AnnotationScope::ByNameOnly => Some(SignedDuration::ZERO),
            AnnotationScope::Main if owned_by_job => Some(JOB_RUNS),
            AnnotationScope::Main | AnnotationScope::Sidecar => None,
        };
        (container.name.as_str(), role, defaults(container, run))
    });
    let ephemeral = pod.spec.ephemeral_containers.iter().map(|container| {
        (
            container.name.as_str(),
            AnnotationScope::ByNameOnly,
            defaults(container, None),
        )
    });
    let mut settings: Vec<(&str, AnnotationScope, Settings)> = regular.chain(ephemeral).collect();

    let ours = || {
        pod.metadata
            .annotations
            .iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.strip_prefix(ANNOTATION_PREFIX)?, value)))
    };
    let mut warnings = Vec::new();
    for (key, value) in ours().filter(|(key, _)| !key.contains('.')) {
        let targets = settings
            .iter_mut()
            .filter(|(_, role, _)| role.takes(key))
            .map(|(.., settings)| settings);
        warnings.extend(put(key, value, targets).err());
    }
    // The more specific annotations are applied second and win.
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
            warnings.push(format!(
                "annotation {ANNOTATION_PREFIX}{key}: the pod has no container {container:?}"
            ));
        } else {
            warnings.extend(
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
        warnings,
    )
}

/// Which annotations without a container's name apply to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnnotationScope {
    /// All of them.
    Main,
    /// All but the running time: a sidecar runs until the main containers have ended.
    Sidecar,
    /// None: init and ephemeral containers.
    ByNameOnly,
}

impl AnnotationScope {
    fn takes(self, setting: &str) -> bool {
        match self {
            Self::Main => true,
            Self::Sidecar => setting != "run-seconds",
            Self::ByNameOnly => false,
        }
    }
}

/// The settings without annotations. `run` is the time until the container exits by itself.
fn defaults(container: &ContainerView, run: Option<SignedDuration>) -> Settings {
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
        run,
        ..Settings::default()
    }
}

/// Applies one setting to all targets.
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
                // The default running time of init containers and Jobs must not end the container
                // first. An explicit run-seconds is applied later, because annotations are sorted.
                target.run = None;
            }
            "ignore-sigterm" => target.ignores_stop = boolean(setting, value)?,
            "never-ready" => target.never_ready = boolean(setting, value)?,
            "exit-code" => target.exit_code = Some(exit_code(setting, value)?),
            _ => {
                return Err(format!(
                    "annotation {ANNOTATION_PREFIX}{setting}: unknown setting"
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
        .ok_or_else(|| invalid(setting, value, "a number of seconds such as 2 or 0.5"))
}

fn boolean(setting: &str, value: &str) -> Result<bool, String> {
    match value.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(setting, value, "true or false")),
    }
}

fn exit_code(setting: &str, value: &str) -> Result<i32, String> {
    let parsed = value
        .trim()
        .parse::<i32>()
        .ok()
        .filter(|code| (0..=255).contains(code));
    parsed.ok_or_else(|| invalid(setting, value, "an exit code from 0 to 255"))
}

fn invalid(setting: &str, value: &str, wanted: &str) -> String {
    format!("annotation {ANNOTATION_PREFIX}{setting}: {value:?} is ignored: expected {wanted}")
}
