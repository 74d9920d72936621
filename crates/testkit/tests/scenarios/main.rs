//! Scenarios of stuck and special drains: each runs on our own server with simulated nodes in
//! virtual time, and records what the tools print and do.
//!
//! A scenario is a file `data/TOOL/NAME.yaml`. The first document describes it and contains the
//! steps, the other documents are the initial objects. The output of the steps is compared with
//! `snapshots/TOOL__NAME.snap`; `INSTA_UPDATE=always` rewrites the snapshots, to be reviewed before
//! they are committed. Each tool lists its scenarios in a file of its own.
//!
//! To add a tool, add a step in `script.rs` that calls a function of a new file. The function takes
//! the world and the arguments of the step and returns the output.
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

/// Defines a test for each scenario of a tool, and one that finds files that are not listed.
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

fn directory(tool: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scenarios/data")
        .join(tool)
}

/// Runs a scenario and compares its output.
async fn check(tool: &str, name: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(directory(tool).join(format!("{name}.yaml")))?;
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
    let files = std::fs::read_dir(directory(tool)).expect("the directory of the tool");
    for file in files {
        let path = file.expect("an entry").path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        assert!(
            listed.contains(&name.as_str()),
            "{} is not listed as a test",
            path.display()
        );
    }
}
