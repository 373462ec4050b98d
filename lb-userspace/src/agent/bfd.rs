//! BFD beside BGP: the process that has the sessions, and what they mean for those of BGP.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::bfd::client::stop_left;
use crate::bfd::{Client, Hops, Launch, Order, Report, SessionConfig, SessionReport, State};
use crate::bgp::{Path, Speaker};
use crate::dataplane::guard::Watch;
use crate::model::{Bfd, Settings};
use crate::status::BfdStatus;

/// The BFD sessions of the node's peers.
#[derive(Debug)]
pub struct Detection {
    client: Arc<Client<Watch>>,
    peers: Vec<IpAddr>,
}

impl Detection {
    /// Has them run, by the process that a former agent has left or by a new one; none where no peer has BFD. `probes` are
    /// packets that the datapath sends to backends.
    pub async fn start(
        settings: &Settings,
        probes: watch::Receiver<Vec<Vec<u8>>>,
    ) -> Option<Detection> {
        let directory = absolute(&settings.node.runtime_dir);
        let sessions = sessions(settings);
        if sessions.is_empty() {
            stop_left(&directory).await;
            return None;
        }
        let peers = sessions.iter().map(|session| session.peer).collect();
        let interfaces = settings.node.interfaces.clone();
        let pin_dir = absolute(&settings.node.pin_dir);
        let order = move |packets: Vec<Vec<u8>>| Order::Run {
            sessions: sessions.clone(),
            watch: (!interfaces.is_empty()).then(|| Watch {
                pin_dir: pin_dir.clone(),
                interfaces: interfaces.clone(),
                packets,
            }),
        };
        let launch = Launch {
            program: vec![
                program(),
                "bfd".into(),
                "--runtime-dir".into(),
                directory.to_string_lossy().into_owned(),
            ],
            directory,
        };
        let client = Arc::new(Client::start(launch, order(Vec::new())));
        tokio::spawn(pass_on(Arc::downgrade(&client), probes, order));
        Some(Detection { client, peers })
    }

    /// Tells the speaker of every change, until the speaker or the agent ends.
    pub fn follow(&self, speaker: Arc<Mutex<Option<Speaker>>>) {
        let mut reports = self.client.reports();
        let peers = self.peers.clone();
        reports.mark_changed();
        tokio::spawn(async move {
            while reports.changed().await.is_ok() {
                let report = reports.borrow_and_update().clone();
                let speaker = speaker.lock().unwrap_or_else(PoisonError::into_inner);
                for peer in &peers {
                    let session = report.as_ref().and_then(|report| report.of(*peer));
                    if let Some(speaker) = speaker.as_ref() {
                        speaker.set_path((*peer).into(), session.map(path));
                    }
                }
            }
        });
    }

    /// Of every peer with BFD.
    pub fn status(&self) -> Vec<(IpAddr, BfdStatus)> {
        let report = self.client.reports().borrow().clone();
        let status = |peer: &IpAddr| (*peer, status(report.as_deref(), *peer));
        self.peers.iter().map(status).collect()
    }

    /// Tells the peers that BFD goes down for good, and ends the process.
    pub async fn stop(&self) {
        self.client.stop().await;
    }
}

/// Packets to probe with, as they change.
async fn pass_on(
    client: std::sync::Weak<Client<Watch>>,
    mut probes: watch::Receiver<Vec<Vec<u8>>>,
    order: impl Fn(Vec<Vec<u8>>) -> Order<Watch>,
) {
    while probes.changed().await.is_ok() {
        let packets = probes.borrow_and_update().clone();
        let Some(client) = client.upgrade() else {
            return;
        };
        client.order(order(packets));
    }
}

fn sessions(settings: &Settings) -> Vec<SessionConfig> {
    let peers = settings.bgp.iter().flat_map(|bgp| &bgp.peers);
    let session = |peer: IpAddr, bfd: &Bfd| SessionConfig {
        peer,
        local: None,
        hops: match bfd.multihop {
            None => Hops::Single,
            Some(ttl_min) => Hops::Multi { ttl_min },
        },
        interval_us: u32::try_from(bfd.interval.as_micros()).unwrap_or(u32::MAX),
        multiplier: bfd.multiplier,
    };
    let sessions = peers.filter_map(|peer| Some(session(peer.name.address()?, peer.bfd.as_ref()?)));
    sessions.collect()
}

/// AdminDown is the word of an operator, and none about the path (RFC 5882 section 4.2).
fn path(session: &SessionReport) -> Path {
    let wanted_down = [session.state, session.remote_state].contains(&State::AdminDown);
    Path {
        usable: session.state == State::Up || wanted_down,
        failures: session.failures,
    }
}

fn status(report: Option<&Report>, peer: IpAddr) -> BfdStatus {
    let Some((report, session)) = report.and_then(|r| Some((r, r.of(peer)?))) else {
        return BfdStatus::default();
    };
    let millis = |micros: Option<u64>| micros.map(|micros| micros / 1000);
    let up = session.state == State::Up;
    BfdStatus {
        state: session.state.to_string(),
        diagnostic: session.diagnostic.name().to_owned(),
        remote_state: session.remote_state.to_string(),
        remote_diagnostic: session.remote_diagnostic.name().to_owned(),
        remote_independent: session.remote_independent,
        since_secs: session.since_secs,
        transmit_interval_ms: millis(session.transmit_interval_us),
        detection_time_ms: millis(session.detection_time_us),
        failures: session.failures,
        sent: session.sent,
        unsent: session.unsent,
        received: session.received,
        discards: session.discards.clone(),
        problem: report
            .held_down
            .clone()
            .or_else(|| report.problem.clone())
            .filter(|_| !up),
    }
}

/// This program; by the kernel's name for it where an upgrade has replaced its file.
fn program() -> String {
    let path = std::env::current_exe().ok().filter(|path| path.exists());
    path.map_or("/proc/self/exe".into(), |path| {
        path.to_string_lossy().into_owned()
    })
}

fn absolute(path: &std::path::Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{TWO_VIPS, settings};

    #[test]
    fn sessions_of_peers_with_bfd_alone() {
        let text = format!(
            "[bgp]\nasn = 65001\n\
             [[bgp.peer]]\naddress = \"10.0.0.1\"\nasn = 65000\nbfd = {{}}\n\
             [[bgp.peer]]\naddress = \"10.0.0.2\"\nasn = 65000\n\
             [[bgp.peer]]\naddress = \"10.0.0.3\"\nasn = 65000\nbfd = {{ interval = \"50ms\", multihop = true }}\n{TWO_VIPS}"
        );
        let sessions = sessions(&settings(&text));
        let said = sessions.iter().map(|session| {
            let (peer, hops) = (session.peer.to_string(), session.hops);
            (peer, hops, session.interval_us, session.multiplier)
        });
        assert_eq!(
            said.collect::<Vec<_>>(),
            [
                ("10.0.0.1".to_owned(), Hops::Single, 300_000, 3),
                ("10.0.0.3".to_owned(), Hops::Multi { ttl_min: 1 }, 50_000, 3),
            ]
        );
    }
}
