//! The steps of a scenario.

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::world::{Target, World};
use crate::{drain, explain, lint, masks, plan};

/// The first document of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// One sentence about what is special.
    about: String,
    /// Simulated nodes, `node-1` and so on.
    #[serde(default)]
    nodes: usize,
    /// Whether controllers and scheduler run. Without them, statuses stay as they are written.
    #[serde(default = "yes")]
    controllers: bool,
    /// Whether refused evictions emit events, which Kubernetes does not do.
    #[serde(default)]
    events: bool,
    steps: Vec<Step>,
}

fn yes() -> bool {
    true
}

/// One step. Objects are named `kind/name` or `namespace/kind/name`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Step {
    /// Creates an object and sets its status, if it has one.
    Create(Value),
    /// Waits until a member has a value, at most ten minutes: `{of: pdb/web, path:
    /// /status/currentHealthy, is: 3}`.
    Wait(Wait),
    /// Waits this many seconds.
    Pass(u64),
    /// A merge patch: `{of: pod/web-0, with: {…}}`, of the status with `status: true`.
    Patch(Patch),
    /// Deletes an object with its own grace period.
    Delete(Target),
    /// Evicts a pod and prints the response.
    Evict(Target),
    /// Prints the output of `exeunt explain`.
    Explain(explain::Arguments),
    /// Prints the output of `exeunt lint -A`.
    Lint,
    /// Drains nodes or evicts pods and prints the events with their times.
    Drain(Box<drain::Arguments>),
    /// Prints the output of `exeunt plan`.
    Plan(plan::Arguments),
    /// Prints the output of `exeunt plan`, drains as planned, and fails if the forecast is wrong.
    Forecast(plan::Arguments),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    of: Target,
    path: String,
    is: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Patch {
    of: Target,
    #[serde(default)]
    status: bool,
    with: Value,
}

/// Runs a scenario; returns the output of its steps.
pub(crate) async fn play(text: &str) -> anyhow::Result<String> {
    let mut documents = documents(text)?.into_iter();
    let scenario: Scenario = serde_json::from_value(documents.next().context("an empty file")?)
        .context("the first document")?;
    let world = World::start(scenario.nodes, scenario.controllers, scenario.events).await?;
    for object in documents {
        world.create(&object).await?;
    }
    let printed = format!(
        "{}\n{}",
        scenario.about,
        play_steps(&world, &scenario.steps).await?
    );
    world.stop().await?;
    Ok(masks::generated_names(&printed))
}

/// Runs steps in order; returns their output.
pub(crate) async fn play_steps(world: &World, steps: &[Step]) -> anyhow::Result<String> {
    let mut printed = String::new();
    for (index, step) in steps.iter().enumerate() {
        let said = Box::pin(take(world, step))
            .await
            .with_context(|| format!("step {}: {step:?}", index + 1))?;
        if let Some(said) = said {
            printed.push('\n');
            printed.push_str(said.trim_end());
            printed.push('\n');
        }
    }
    Ok(printed)
}

/// Runs one step; returns its output.
async fn take(world: &World, step: &Step) -> anyhow::Result<Option<String>> {
    match step {
        Step::Create(object) => world.create(object).await?,
        Step::Wait(wait) => world.wait(&wait.of, &wait.path, &wait.is).await?,
        Step::Pass(seconds) => tokio::time::sleep(std::time::Duration::from_secs(*seconds)).await,
        Step::Patch(patch) => world.patch(&patch.of, &patch.with, patch.status).await?,
        Step::Delete(target) => world.delete(target).await?,
        Step::Evict(target) => return Ok(Some(world.evict(target).await?)),
        Step::Lint => return Ok(Some(lint::run(world).await?)),
        Step::Drain(arguments) => return Ok(Some(Box::pin(drain::run(world, arguments)).await?)),
        Step::Plan(arguments) => return Ok(Some(plan::run(world, arguments).await?)),
        Step::Forecast(arguments) => {
            return Ok(Some(Box::pin(plan::forecast(world, arguments)).await?));
        }
        Step::Explain(arguments) => return Ok(Some(explain::run(world, arguments).await?)),
    }
    Ok(None)
}

fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for document in text.split("\n---\n") {
        let (json, faults) = kinds::yaml::to_json(document.as_bytes())?;
        if !faults.is_empty() {
            bail!("{faults:?} in {document}");
        }
        found.push(serde_json::from_slice(&json)?);
    }
    Ok(found)
}
