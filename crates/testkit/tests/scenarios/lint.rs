//! What `exeunt lint` finds in each scenario.

use std::time::Duration;

use drain::cluster::{ClusterSnapshot, NamespaceScope};
use drain::lint::{LintOptions, SourceMap, lint, text};

use crate::scenarios;
use crate::world::World;

pub(crate) async fn run(world: &World) -> anyhow::Result<String> {
    let snapshot = ClusterSnapshot::read(
        &world.client(),
        &NamespaceScope::Cluster,
        world.cluster.clock().now(),
    )
    .await?;
    let findings = lint(
        &snapshot,
        &SourceMap::default(),
        &LintOptions {
            max_grace: Duration::from_secs(600),
        },
    );
    Ok(format!("$ exeunt lint -A\n{}", text(&findings, true)))
}

scenarios! { "lint":
    a_cluster_in_which_an_application_crashes,
    a_quiet_cluster,
}
