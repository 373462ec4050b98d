//! `anylb router-config`.

use std::net::IpAddr;

use serde::Serialize;

use super::args::RouterConfigArgs;
use super::error::CliError;
use super::local::invalid;
use super::output::{Answer, Style};
use super::router_config::plan::{Plan, Wanted};
use super::router_config::text;
use crate::bgp::PeerName;
use crate::config;
use crate::model::Settings;
use crate::netlink::address::local_address_for;
use crate::status::Envelope;

#[derive(Serialize)]
struct RouterConfig {
    platform: &'static str,
    text: String,
}

/// No agent is asked, so its generation is 0.
pub(super) fn run(args: RouterConfigArgs, style: Style) -> Result<Answer, CliError> {
    let settings = match config::load(&args.config) {
        Ok(settings) => settings,
        Err(errors) => return invalid(errors, style),
    };
    let wanted = Wanted {
        nodes: match args.node.is_empty() {
            true => own_addresses(&settings, &args.peer)?,
            false => args.node,
        },
        peers: args.peer,
        interfaces: args.interface,
        show_secrets: args.show_secrets,
    };
    let plan = Plan::new(&settings, &wanted)?;
    args.platform.can_say(&plan)?;
    let made = RouterConfig {
        platform: args.platform.as_str(),
        text: text(args.platform, &plan),
    };
    Answer::new(style, &Envelope::new(0, made), |made| made.text.clone())
}

/// This host's towards the router, where it is the node; nothing where the kernel has no way there.
fn own_addresses(settings: &Settings, chosen: &[PeerName]) -> Result<Vec<IpAddr>, CliError> {
    let peers = settings.bgp.iter().flat_map(|bgp| &bgp.peers);
    let peers: Vec<IpAddr> = peers
        .filter(|peer| chosen.is_empty() || chosen.contains(&peer.name))
        .filter_map(|peer| peer.name.first_address())
        .collect();
    let addresses = super::role::runtime()?.block_on(async {
        let mut addresses = Vec::new();
        for peer in peers {
            addresses.extend(local_address_for(peer).await.ok());
        }
        addresses
    });
    Ok(addresses)
}
