//! Accepts connections and hands each to its peer's task; strangers are turned away.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::config::{PeerConfig, SpeakerConfig};
use super::interface_name::InterfaceName;
use super::peer_name::PeerName;
use super::range::Range;
use super::remote::{Absence, Remote};
use super::rib::Tables;
use super::route::RouteSet;
use super::status::Strangers;
use super::transport;

/// Where the connections of a peer go.
#[derive(Default)]
pub(super) struct Doors {
    /// Peers that have an address, which win.
    pub named: BTreeMap<PeerName, mpsc::Sender<TcpStream>>,
    /// Peers whose address is found on an interface, and what it is now.
    pub found: BTreeMap<InterfaceName, (mpsc::Sender<TcpStream>, Found)>,
    /// The longest prefix first, which wins.
    pub ranges: Vec<Arc<Range>>,
}

type Found = watch::Receiver<Result<Remote, Absence>>;

impl Doors {
    /// One for whoever comes from inside `net`.
    pub fn add_range(
        &mut self,
        net: IpNet,
        config: &PeerConfig,
        speaker: &Arc<SpeakerConfig>,
        routes: &watch::Receiver<Option<Arc<RouteSet>>>,
        tables: &Arc<Tables>,
    ) {
        let range = Range::new(
            net,
            config.clone(),
            speaker.clone(),
            routes.clone(),
            tables.clone(),
        );
        self.ranges.push(Arc::new(range));
        self.ranges
            .sort_by_key(|range| (Reverse(range.net.prefix_len()), range.net));
    }

    fn door_of(&self, remote: PeerName) -> Option<&mpsc::Sender<TcpStream>> {
        let found = || match remote {
            PeerName::LinkLocal(address, interface) => {
                let (door, found) = self.found.get(&interface)?;
                let router = found.borrow().ok()?.address;
                (router == address).then_some(door)
            }
            PeerName::Address(_) | PeerName::Interface(_) | PeerName::Range(_) => None,
        };
        self.named.get(&remote).or_else(found)
    }

    fn range_of(&self, remote: PeerName) -> Option<(&Arc<Range>, IpAddr)> {
        let address = remote.address()?;
        let mut ranges = self.ranges.iter();
        let range = ranges.find(|range| range.net.contains(&address))?;
        Some((range, address))
    }

    /// Who may come, in words.
    fn expected(&self) -> String {
        let named = self.named.keys().map(ToString::to_string);
        let found = self.found.iter().map(|(interface, (_, found))| {
            let remote = *found.borrow();
            match remote {
                Ok(remote) => format!("{}%{interface}", remote.address),
                Err(absence) => format!("{interface} ({absence})"),
            }
        });
        let ranges = self.ranges.iter().map(|range| range.net.to_string());
        let all = named.chain(found).chain(ranges);
        all.collect::<Vec<_>>().join(", ")
    }
}

/// Pause after a failed accept; it fails at once as long as there are no descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Until its task is aborted. Accepts nothing before the first route set is known: whoever connects earlier waits in
/// the backlog, without an OPEN of ours.
pub(super) async fn run(
    listener: Arc<TcpListener>,
    doors: Arc<Doors>,
    strangers: Arc<Mutex<Strangers>>,
    mut routes: watch::Receiver<Option<Arc<RouteSet>>>,
) {
    if routes.wait_for(Option::is_some).await.is_err() {
        return;
    }
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                open_door(&doors, &strangers, stream, transport::name_of(remote));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a BGP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn open_door(doors: &Doors, strangers: &Mutex<Strangers>, stream: TcpStream, remote: PeerName) {
    if let Some(door) = doors.door_of(remote) {
        // A full queue means a peer that dials faster than its task runs; the connection is closed.
        return drop(door.try_send(stream));
    }
    if let Some((range, address)) = doors.range_of(remote) {
        return range.take(stream, address);
    }
    let mut strangers = strangers.lock().unwrap_or_else(PoisonError::into_inner);
    if strangers.last != Some(remote) {
        let expected = doors.expected();
        tracing::warn!(%remote, expected, "BGP connection refused: no peer of the configuration has this address");
    }
    strangers.connections += 1;
    strangers.last = Some(remote);
}
