//! The steps of a scenario, and how they are read and played.

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::world::{Target, World};
use crate::{drain, explain, lint, masks, plan};

/// The first document of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// One sentence: what is special here.
    about: String,
    /// Simulated nodes, `node-1` and so on.
    #[serde(default)]
    nodes: usize,
    /// False leaves out controllers and scheduler, so that statuses stay as they are written.
    #[serde(default = "yes")]
    controllers: bool,
    /// True writes the events about refused evictions that Kubernetes does not have.
    #[serde(default)]
    events: bool,
    steps: Vec<Step>,
}

fn yes() -> bool {
    true
}

/// One step. Targets are written `kind/name` or `namespace/kind/name`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Step {
    /// Creates an object, and sets its status if it has one.
    Create(Value),
    /// Waits until a member has a value, at most ten minutes: `{of: pdb/web, path:
    /// /status/currentHealthy, is: 3}`.
    Wait(Wait),
    /// Lets so many seconds pass.
    Pass(u64),
    /// A merge patch: `{of: pod/web-0, with: {…}}`, of the status with `status: true`.
    Patch(Patch),
    /// Deletes an object, with its own grace.
    Delete(Target),
    /// Evicts a pod, and prints the answer.
    Evict(Target),
    /// Prints what `exeunt explain` says.
    Explain(explain::Arguments),
    /// Prints what `exeunt lint -A` says.
    Lint,
    /// Drains nodes or evicts pods, and prints what happens and when.
    Drain(Box<drain::Arguments>),
    /// Prints what `exeunt plan` says.
    Plan(plan::Arguments),
    /// The same, then drains as planned; fails when that does not take as long as forecast.
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

/// Plays a file's text; gives what its steps print.
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

/// Takes steps one after the other; gives what they print.
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

/// Takes one step; gives what it prints.
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
