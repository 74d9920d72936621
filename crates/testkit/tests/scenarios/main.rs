//! Stuck and special drains, each made on our own server with simulated nodes in virtual time, and
//! what the tools say or do there.
//!
//! A scenario is a file `data/TOOL/NAME.yaml`: the first document tells what it is about and the
//! steps, the documents after it are objects that are there from the start. What the steps print is
//! one text, compared as a whole with `snapshots/TOOL__NAME.snap`; `INSTA_UPDATE=always` writes it
//! anew, to be read before it is committed. Each tool lists its scenarios in a file of its own.
//!
//! To add a tool: a step in `script.rs` that calls a function of a new file, which takes the world
//! and the step's arguments and gives text.
//!
//! Read next: `script.rs` for the steps, `world.rs` for what they do to the cluster.

mod drain;
mod explain;
mod lint;
mod masks;
mod pace;
mod plan;
mod script;
mod world;

use std::path::PathBuf;

/// One test for each scenario of a tool, and one that finds files which nobody listed.
macro_rules! scenarios {
    ($tool:literal: $($name:ident,)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() -> anyhow::Result<()> {
                Box::pin(crate::check($tool, stringify!($name))).await
            }
        )*

        #[test]
        fn every_file_is_listed() {
            crate::check_listed($tool, &[$(stringify!($name)),*]);
        }
    };
}
pub(crate) use scenarios;

fn folder(tool: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scenarios/data")
        .join(tool)
}

/// Plays a scenario and compares what it printed.
async fn check(tool: &str, name: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(folder(tool).join(format!("{name}.yaml")))?;
    let printed = masks::same_moments(&Box::pin(script::play(&text)).await?);
    let settings = {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_snapshot_path("snapshots");
        settings
    };
    settings.bind(|| insta::assert_snapshot!(format!("{tool}__{name}"), printed));
    Ok(())
}

fn check_listed(tool: &str, listed: &[&str]) {
    let files = std::fs::read_dir(folder(tool)).expect("the folder of the tool");
    for file in files {
        let path = file.expect("an entry").path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        assert!(
            listed.contains(&name.as_str()),
            "{} is no test: list it",
            path.display()
        );
    }
}
