//! `exeunt drain`, `cordon`, `uncordon` and `evict`.

use ::drain::cordon::{self, Change};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;

use crate::cli::{Cordon, Drain, DryRun, Evict};
use crate::connect::{Connection, connect};
use crate::failure::Failure;
use crate::terminal::{remark, say};

/// Drains nodes.
pub(crate) async fn run(_arguments: &Drain) -> Result<(), Failure> {
    Err(Failure::new("exeunt drain is not built yet").hint("exeunt --help shows what there is"))
}

/// Evicts pods by name.
pub(crate) async fn evict(_arguments: &Evict) -> Result<(), Failure> {
    Err(Failure::new("exeunt evict is not built yet").hint("exeunt --help shows what there is"))
}

/// Cordons nodes, or uncordons them (`wish` is false): every one that can be, and then fails if one
/// could not.
pub(crate) async fn cordon(arguments: &Cordon, wish: bool) -> Result<(), Failure> {
    let connection = connect(&arguments.connect).await?;
    let nodes = find(&connection, &arguments.nodes, arguments.selector.as_deref()).await?;
    let verb = if wish { "cordon" } else { "uncordon" };
    let mut last = Ok(());
    for node in &nodes {
        let name = node.name_any();
        let change = match arguments.dry_run {
            DryRun::Client if cordon::is_cordoned(node) == wish => Ok(Change::Needless),
            DryRun::Client => Ok(Change::Made),
            asked => cordon::set(&connection.client, node, wish, asked == DryRun::Server).await,
        };
        match change {
            Ok(Change::Made) => say(&format!("node/{name} {verb}ed{}", suffix(arguments.dry_run))),
            Ok(Change::Needless) => say(&format!("node/{name} already {verb}ed{}", suffix(arguments.dry_run))),
            Err(error) => {
                // The last one ends the command; the others are told on the way.
                let failure = connection.failure(&format!("{verb} node {name:?}"), &error);
                if let Err(before) = std::mem::replace(&mut last, Err(failure)) {
                    remark(&before.render());
                }
            }
        }
    }
    last
}

async fn find(connection: &Connection, names: &[String], selector: Option<&str>) -> Result<Vec<Node>, Failure> {
    cordon::find(&connection.client, names, selector).await.map_err(|error| connection.failure("read the nodes", &error))
}

/// What kubectl appends to the lines of a dry run.
fn suffix(dry_run: DryRun) -> &'static str {
    match dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    }
}
