//! The node agent: joins configuration, checks, next hops, datapath and BGP, and ends in one of two ways.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | [`core`] | decisions: desired state, what can be served, the operator's word | yes |
//! | [`capacity`] | what a pool can do, and what that means for a service | yes |
//! | [`pool`] | one pool: inputs and health to rows | yes |
//! | [`ways`] | next hops and tunnel sources as far as they are known | yes |
//! | [`tunnels`] | what routers may speak of | yes |
//! | [`clock`] | whether somebody has set the wall clock | yes |
//! | [`adopt`] | what a running datapath tells the agent that takes it over | yes |
//! | [`overrides`] | what the operator says about backends | yes |
//! | [`attacked`] | services whose attack mode the operator has switched | yes |
//! | [`withdrawn`] | services that the operator has withdrawn | yes |
//! | [`peers`] | BGP peers that the operator has shut down | yes |
//! | [`serving`] | from what services can to what is announced | yes |
//! | [`diff`] | what another configuration would change | yes |
//! | [`reload`] | a configuration on its way into force | yes |
//! | [`state`] | what survives a reboot | the type |
//! | [`start`] | everything that can be refused, in order | no |
//! | [`reconcile`] | the loop: derive, plan, apply, probe, publish | no |
//! | [`wake`] | telling the loop that something may differ | no |
//! | [`report`] | status, counters, explanations | yes, but for map reads |
//! | [`checks`] | how the checks do, one check out of turn | yes |
//! | [`both`] | LB node and backend on one box: their answers as one | yes |
//! | [`bfd`] | BFD beside BGP: the process, and what its sessions mean | no |
//! | [`announce`] | the speaker from the configuration | no |
//! | [`node`] | the agent as the API sees it | no |
//! | [`leave`] | signals; stop and handover | no |
//!
//! *Stop* (SIGTERM, SIGINT): graceful shutdown community, wait until the routers have moved the traffic, withdraw, Cease, forward
//! what still comes, remove the datapath; a second signal ends the waiting. *Handover* (`anylb restart`): everything just ends,
//! the datapath stays and BGP graceful restart keeps the routes; a crash is the same without the order.

#![forbid(unsafe_code)]

pub mod adopt;
pub mod announce;
pub mod attacked;
pub mod bandwidth;
pub mod bfd;
pub mod both;
pub mod capacity;
pub mod checks;
pub mod clock;
pub mod core;
pub mod diff;
pub mod hold;
pub mod leave;
pub mod node;
pub mod overrides;
pub mod peers;
pub mod pool;
pub mod reconcile;
pub mod reload;
pub mod report;
pub mod serving;
pub mod start;
pub mod state;
#[cfg(test)]
mod testing;
pub mod tunnels;
pub mod wake;
pub mod ways;
pub mod withdrawn;

use std::path::{Path, PathBuf};

use crate::backend;
use crate::bgp::SpeakerError;
use crate::config;
use crate::dataplane::{BpfLog, DataplaneError, keep_tables_apart};
use crate::model::Settings;
use crate::status::Exit;

/// Why the agent did not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has errors; all of them, rendered.
    #[error("{0}")]
    Config(String),
    /// The file is for another role.
    #[error(
        "{0}: there is nothing for `anylb run` in it: no [[pool]]; a backend runs `anylb backend run`"
    )]
    NoPools(PathBuf),
    /// The datapath.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// The remembered state.
    #[error(transparent)]
    State(#[from] state::StateError),
    /// The speaker.
    #[error(transparent)]
    Speaker(#[from] SpeakerError),
    /// The backend on the same box.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// A socket, a signal handler, a thread.
    #[error("{0}")]
    Start(String),
}

impl Error {
    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::NoPools(_) => Exit::ConfigInvalid,
            Self::Backend(error) => error.exit(),
            Self::Dataplane(_) | Self::State(_) | Self::Speaker(_) | Self::Start(_) => Exit::Failed,
        }
    }
}

/// Runs until it is told to stop or to hand over.
pub async fn run(config: PathBuf, log: BpfLog) -> Result<(), Error> {
    keep_tables_apart();
    let settings = load(&config).map_err(Error::Config)?;
    if settings.pools.is_empty() {
        return Err(Error::NoPools(config));
    }
    start::start(config, settings, log).await?.run().await
}

fn load(path: &Path) -> Result<Settings, String> {
    config::load(path).map_err(|diagnostics| diagnostics.render(false))
}
