//! What `exeunt lint` finds in these situations.

use std::time::Duration;

use drain::cluster::{Scope, Snapshot};
use drain::lint::{Options, Sources, lint, text};

use crate::scenarios;
use crate::world::World;

pub(crate) async fn run(world: &World) -> anyhow::Result<String> {
    let snapshot = Snapshot::read(
        &world.client(),
        &Scope::Cluster,
        world.cluster.clock().now(),
    )
    .await?;
    let findings = lint(
        &snapshot,
        &Sources::default(),
        &Options {
            max_grace: Duration::from_secs(600),
        },
    );
    Ok(format!("$ exeunt lint -A\n{}", text(&findings)))
}

scenarios! { "lint":
    a_cluster_in_which_an_application_crashes,
    a_quiet_cluster,
}
