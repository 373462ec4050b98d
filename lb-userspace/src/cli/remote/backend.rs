//! `anylb backend`, the running agent asked.

use super::super::args::{BackendArgs, BackendAsk, OverrideArgs, Weight, WeightArgs};
use super::super::client::Client;
use super::super::drain::{self, World};
use super::super::error::CliError;
use super::super::output::{Answer, Style};
use super::super::show;
use super::change;
use crate::model::{AdminState, PoolName};
use crate::status::{BackendList, Command, Envelope, NodeStatus, PoolBackend, Refusal};

/// Asks `client` and makes the answer.
pub(super) async fn answer(
    client: &Client,
    ask: BackendAsk,
    style: Style,
) -> Result<Answer, CliError> {
    match ask {
        BackendAsk::List { pool } => list(client, pool.map(PoolName), style).await,
        BackendAsk::Drain(args) => drain::answer(client, args, World::real(), style).await,
        BackendAsk::Disable(OverrideArgs { backend, persist }) => {
            let command = set_admin(backend, AdminState::Disabled, persist);
            change(client, command, style).await
        }
        BackendAsk::Ready(backend) => {
            change(client, set_admin(backend, AdminState::Ready, false), style).await
        }
        BackendAsk::Weight(args) => change(client, set_weight(args), style).await,
    }
}

async fn list(client: &Client, pool: Option<PoolName>, style: Style) -> Result<Answer, CliError> {
    let envelope = client.status().await?;
    let backends = select_backends(envelope.body, pool)?;
    let list = Envelope::new(envelope.generation, BackendList { backends });
    Answer::new(style, &list, |list| show::backend::table(list, style))
}

/// The backends of `pool`, or of all pools.
pub(super) fn select_backends(
    node: NodeStatus,
    pool: Option<PoolName>,
) -> Result<Vec<PoolBackend>, CliError> {
    if let Some(pool) = pool.as_ref().filter(|pool| !node.pools.contains_key(pool)) {
        let names: Vec<&str> = node.pools.keys().map(|name| name.0.as_str()).collect();
        return Err(Refusal::not_found(match names.is_empty() {
            true => format!("there is no pool {pool}: this node has none"),
            false => format!(
                "there is no pool {pool}: this node has {}",
                names.join(", ")
            ),
        })
        .into());
    }
    Ok(node
        .pools
        .into_iter()
        .filter(|(name, _)| pool.as_ref().is_none_or(|pool| pool == name))
        .flat_map(|(name, pool)| {
            pool.backends.into_iter().map(move |backend| PoolBackend {
                pool: name.clone(),
                backend,
            })
        })
        .collect())
}

fn set_admin(args: BackendArgs, admin: AdminState, persist: bool) -> Command {
    Command::SetAdmin {
        pool: args.pool.map(PoolName),
        backend: args.backend,
        admin,
        persist,
    }
}

fn set_weight(args: WeightArgs) -> Command {
    Command::SetWeight {
        pool: args.backend.pool.map(PoolName),
        backend: args.backend.backend,
        weight: match args.weight {
            Weight::This(weight) => Some(weight),
            Weight::Configured => None,
        },
        persist: args.persist,
    }
}
