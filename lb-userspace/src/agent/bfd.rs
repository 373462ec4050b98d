//! BFD beside BGP: the process that has the sessions, and what they mean for those of BGP.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

use crate::bfd::client::stop_left;
use crate::bfd::{
    Client, Diagnostic, Ends, Hops, Launch, Order, Report, SessionConfig, SessionReport, State,
};
use crate::bgp::{Path, PeerName, Remote, Speaker};
use crate::dataplane::guard::Watch;
use crate::model::{Bfd, Settings};
use crate::status::BfdStatus;

/// Why there is no session with a peer.
const UNKNOWN: &str = "its address is not known yet";

/// The BFD sessions of the node's peers.
#[derive(Debug)]
pub struct Detection {
    client: Arc<Client<Watch>>,
    peers: Vec<PeerName>,
}

impl Detection {
    /// Has them run, by the process that a former agent has left or by a new one; none where no peer has BFD. `probes` are
    /// packets that the datapath sends to backends; `speaker` finds the peers that are known by their interface.
    pub async fn start(
        settings: &Settings,
        probes: watch::Receiver<Vec<Vec<u8>>>,
        speaker: Option<&Speaker>,
    ) -> Option<Detection> {
        let directory = absolute(&settings.node.runtime_dir);
        let peers = watched(settings).map(|(peer, _)| peer);
        let peers: Vec<PeerName> = peers.collect();
        if peers.is_empty() {
            stop_left(&directory).await;
            return None;
        }
        let interfaces = settings.node.interfaces.clone();
        let order = Order::Run {
            sessions: watched(settings).map(session).collect(),
            watch: (!interfaces.is_empty()).then(|| Watch {
                pin_dir: absolute(&settings.node.pin_dir),
                interfaces,
                packets: Vec::new(),
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
        let client = Arc::new(Client::start(launch, order));
        let to = || Arc::downgrade(&client);
        tokio::spawn(pass_on(to(), probes, |probes, order| {
            if let Order::Run {
                watch: Some(watch), ..
            } = order
            {
                watch.packets = probes;
            }
        }));
        for peer in &peers {
            if let Some(found) = speaker.and_then(|speaker| speaker.found(*peer)) {
                let name = peer.to_string();
                tokio::spawn(pass_on(to(), found, move |remote, order| {
                    if let (Ok(remote), Order::Run { sessions, .. }) = (remote, order) {
                        found_at(sessions, &name, remote);
                    }
                }));
            }
        }
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
                    let session = report
                        .as_deref()
                        .and_then(|report| session_of(report, *peer));
                    if let Some(speaker) = speaker.as_ref() {
                        speaker.set_path(*peer, session.map(path));
                    }
                }
            }
        });
    }

    /// Of every peer with BFD.
    pub fn status(&self) -> Vec<(PeerName, BfdStatus)> {
        let report = self.client.reports().borrow().clone();
        let status = |peer: &PeerName| (*peer, status(report.as_deref(), *peer));
        self.peers.iter().map(status).collect()
    }

    /// Tells the peers that BFD goes down for good, and ends the process.
    pub async fn stop(&self) {
        self.client.stop().await;
    }
}

/// Has every value put into the order, until its source or the agent ends.
async fn pass_on<T: Clone>(
    client: Weak<Client<Watch>>,
    mut values: watch::Receiver<T>,
    put: impl Fn(T, &mut Order<Watch>),
) {
    values.mark_changed();
    while values.changed().await.is_ok() {
        let value = values.borrow_and_update().clone();
        let Some(client) = client.upgrade() else {
            return;
        };
        client.amend(|order| put(value, order));
    }
}

/// The peer on the interface of this name.
fn found_at(sessions: &mut [SessionConfig], name: &str, remote: Remote) {
    let mut sessions = sessions.iter_mut();
    if let Some(session) = sessions.find(|session| session.name == name) {
        session.ends = Some(Ends {
            peer: remote.address,
            local: remote.source.map(IpAddr::V6),
            interface: Some(name.to_owned()),
        });
    }
}

/// Peers with BFD.
fn watched(settings: &Settings) -> impl Iterator<Item = (PeerName, &Bfd)> {
    let peers = settings.bgp.iter().flat_map(|bgp| &bgp.peers);
    peers.filter_map(|peer| Some((peer.name, peer.bfd.as_ref()?)))
}

fn session((peer, bfd): (PeerName, &Bfd)) -> SessionConfig {
    SessionConfig {
        name: peer.to_string(),
        ends: peer.first_address().map(|address| Ends {
            interface: peer.interface().map(|interface| interface.to_string()),
            ..Ends::to(address)
        }),
        hops: match bfd.multihop {
            None => Hops::Single,
            Some(ttl_min) => Hops::Multi { ttl_min },
        },
        interval_us: u32::try_from(bfd.interval.as_micros()).unwrap_or(u32::MAX),
        multiplier: bfd.multiplier,
    }
}

fn session_of(report: &Report, peer: PeerName) -> Option<&SessionReport> {
    report.of(&peer.to_string())
}

/// AdminDown is the word of an operator, and none about the path (RFC 5882 section 4.2).
fn path(session: &SessionReport) -> Path {
    let wanted_down = [session.state, session.remote_state].contains(&State::AdminDown);
    Path {
        usable: session.state == State::Up || wanted_down,
        failures: session.failures,
    }
}

fn status(report: Option<&Report>, peer: PeerName) -> BfdStatus {
    let Some(report) = report else {
        return BfdStatus::default();
    };
    let Some(session) = session_of(report, peer) else {
        return BfdStatus {
            state: State::Down.to_string(),
            diagnostic: Diagnostic::NONE.name().to_owned(),
            problem: Some(UNKNOWN.to_owned()),
            ..BfdStatus::default()
        };
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

    fn peers(text: &str) -> Vec<SessionConfig> {
        let text = format!("[bgp]\nasn = 65001\n{text}{TWO_VIPS}");
        watched(&settings(&text)).map(session).collect()
    }

    #[test]
    fn sessions_of_peers_with_bfd_alone() {
        let sessions = peers(
            "[[bgp.peer]]\naddress = \"10.0.0.1\"\nasn = 65000\nbfd = {}\n\
             [[bgp.peer]]\naddress = \"10.0.0.2\"\nasn = 65000\n\
             [[bgp.peer]]\naddress = \"10.0.0.3\"\nasn = 65000\nbfd = { interval = \"50ms\", multihop = true }\n",
        );
        let said = sessions.iter().map(|session| {
            let ends = session.ends.as_ref().expect("an address");
            assert_eq!((ends.local, &ends.interface), (None, &None));
            let (peer, hops) = (ends.peer.to_string(), session.hops);
            assert_eq!(session.name, peer);
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

    #[test]
    fn a_peer_on_a_link_is_watched_there_once_its_address_is_known() {
        let mut sessions = peers(
            "[[bgp.peer]]\naddress = \"fe80::1%eth0\"\nasn = 65000\nbfd = {}\n\
             [[bgp.peer]]\ninterface = \"eth0\"\nasn = 65000\nbfd = {}\n",
        );
        let ends = |peer: &str, local: Option<&str>| {
            let address = |text: &str| text.parse().expect("an address");
            Some(Ends {
                peer: address(peer),
                local: local.map(address),
                interface: Some("eth0".to_owned()),
            })
        };
        assert_eq!(sessions[0].name, "fe80::1%eth0");
        assert_eq!(sessions[0].ends, ends("fe80::1", None));
        assert_eq!(
            (sessions[1].name.as_str(), &sessions[1].ends),
            ("eth0", &None)
        );
        let remote = Remote {
            address: "fe80::9".parse().expect("an address"),
            source: "fe80::2".parse().ok(),
        };
        found_at(&mut sessions, "eth0", remote);
        assert_eq!(sessions[0].ends, ends("fe80::1", None));
        assert_eq!(sessions[1].ends, ends("fe80::9", Some("fe80::2")));
    }
}
