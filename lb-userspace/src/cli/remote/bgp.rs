//! `anylb bgp`.

use super::super::args::BgpCommand;
use super::super::client::Client;
use super::super::error::CliError;
use super::super::output::{Answer, Style};
use super::super::show;
use super::change;
use crate::bgp::PeerName;
use crate::status::{Command, Envelope, PeerDetail, PeerList, Refusal};

pub(super) async fn answer(
    client: &Client,
    command: BgpCommand,
    style: Style,
) -> Result<Answer, CliError> {
    match command {
        BgpCommand::Peers => peers(client, style).await,
        BgpCommand::Peer(args) => peer(client, args.peer, style).await,
        BgpCommand::Routes { peer } => routes(client, peer, style).await,
        BgpCommand::Shutdown(args) => {
            let command = Command::ShutDownPeer {
                peer: args.peer,
                message: args.message,
            };
            change(client, command, style).await
        }
        BgpCommand::Enable(args) => {
            change(client, Command::EnablePeer { peer: args.peer }, style).await
        }
        BgpCommand::Refresh(args) => {
            change(client, Command::RefreshPeer { peer: args.peer }, style).await
        }
    }
}

async fn peers(client: &Client, style: Style) -> Result<Answer, CliError> {
    let Envelope {
        generation, body, ..
    } = client.status().await?;
    let list = PeerList {
        peers: body.peers,
        ranges: body.ranges,
        strangers: body.strangers,
    };
    Answer::new(style, &Envelope::new(generation, list), |list| {
        show::bgp::table(list, style)
    })
}

async fn peer(client: &Client, address: PeerName, style: Style) -> Result<Answer, CliError> {
    let envelope = client.status().await?;
    let mut peers = envelope.body.peers;
    only(&mut peers, address, |peer| peer.address)?;
    let detail = Envelope::new(envelope.generation, PeerDetail::of(peers.remove(0)));
    Answer::new(style, &detail, |detail| show::peer::table(detail, style))
}

async fn routes(client: &Client, peer: Option<PeerName>, style: Style) -> Result<Answer, CliError> {
    let mut envelope = client.routes().await?;
    if let Some(peer) = peer {
        only(&mut envelope.body.peers, peer, |found| found.address)?;
    }
    Answer::new(style, &envelope, |list| show::routes::table(list, style))
}

/// Leaves the one of that address.
fn only<T>(
    list: &mut Vec<T>,
    peer: PeerName,
    address: impl Fn(&T) -> PeerName,
) -> Result<(), Refusal> {
    let known: Vec<String> = list.iter().map(|one| address(one).to_string()).collect();
    list.retain(|one| address(one) == peer);
    match list.is_empty() {
        true => Err(Refusal::no_peer(peer, &known)),
        false => Ok(()),
    }
}
