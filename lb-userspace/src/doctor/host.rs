//! Finding out: kernel, interface, ways, peers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::facts::{
    Backend, ConfigFile, Facts, HashFields, Interface, Nic, Peer, PeerState, Pool, Way,
};
use super::{clock, rss};
use crate::config;
use crate::dataplane::{features, maps, privileges};
use crate::health::{NetworkProbe, Outcome, Probe as _};
use crate::model::{BackendHook, BgpPeer, Settings};
use crate::netlink::{Neighbour, Resolution, Unresolved, address, nic};
use crate::path_mtu;
use crate::status::PeerStatus;

/// Checks of backends under way at once.
const AT_ONCE: usize = 64;
/// Time for a peer to take a connection.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Pins, unless the file says otherwise.
const PIN_DIR: &str = "/sys/fs/bpf/anylb";

/// Looks at this host: at `interface`, or else at those of the file. `sessions`: what a running agent says of its peers.
pub async fn examine(
    interface: Option<String>,
    path: &Path,
    sessions: Option<Vec<PeerStatus>>,
) -> Facts {
    let (file, settings) = read(path);
    let named = settings
        .iter()
        .flat_map(|settings| settings.node.interfaces.clone());
    let names: Vec<String> = match interface {
        Some(name) => vec![name],
        None => named.collect(),
    };
    let mut interfaces = Vec::new();
    for name in names {
        interfaces.push(look_at(name).await);
    }
    let backend = settings
        .as_ref()
        .is_some_and(|settings| settings.backend.is_some());
    let tc = settings
        .as_ref()
        .and_then(|settings| settings.backend.as_ref())
        .is_some_and(|backend| backend.hook == BackendHook::Tc);
    let pin_dir = settings
        .as_ref()
        .map(|settings| settings.node.pin_dir.clone());
    let pin_dir = pin_dir.unwrap_or_else(|| PathBuf::from(PIN_DIR));
    Facts {
        kernel: kernel_release(),
        privileged: privileges::check().is_ok(),
        path_mtu: path_mtu::try_to_listen().map_err(|error| error.to_string()),
        features: features::features(backend),
        backend,
        tc,
        jit: number("/proc/sys/net/core/bpf_jit_enable").map(|level| level > 0),
        bpf_fs: maps::on_bpf_fs(&pin_dir),
        pin_dir,
        clock: clock::synchronized(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        file,
        interfaces,
        pools: pools(settings.as_ref()).await,
        peers: peers(settings.as_ref(), sessions).await,
    }
}

fn read(path: &Path) -> (ConfigFile, Option<Settings>) {
    if !path.exists() {
        return (ConfigFile::Missing(path.into()), None);
    }
    match config::load(path) {
        Ok(settings) => (ConfigFile::Good(path.into()), Some(settings)),
        Err(errors) => (ConfigFile::Bad(path.into(), errors.errors().len()), None),
    }
}

fn kernel_release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

fn number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

async fn look_at(name: String) -> Interface {
    let Ok(link) = address::interface(&name).await else {
        return Interface { name, nic: None };
    };
    let sysfs = Path::new("/sys/class/net").join(&name);
    let driver = std::fs::read_link(sysfs.join("device/driver")).ok();
    let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let nic = Nic {
        up: link.up,
        ethernet: link.mac.is_some(),
        mtu: link.mtu,
        driver,
        // A refusal is silence: it is said as "does not tell".
        xdp: nic::xdp_features(link.ifindex).await.unwrap_or_default(),
        offloads: nic::offloads(link.ifindex).await.unwrap_or_default(),
        queues: receive_queues(&sysfs),
        udp_fields: [false, true].map(|v6| rss::udp_fields(&name, v6).map(HashFields)),
        rp_filter: rp_filter(&name),
    };
    Interface {
        name,
        nic: Some(nic),
    }
}

/// The stricter of what is set for all and for this one.
fn rp_filter(interface: &str) -> Option<u64> {
    let set = |name: &str| number(&format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
    set("all").max(set(interface))
}

fn receive_queues(sysfs: &Path) -> Option<usize> {
    let entries = std::fs::read_dir(sysfs.join("queues")).ok()?.flatten();
    let names = entries.map(|entry| entry.file_name());
    Some(
        names
            .filter(|name| name.to_string_lossy().starts_with("rx-"))
            .count(),
    )
}

async fn pools(settings: Option<&Settings>) -> Vec<Pool> {
    let mut all = Vec::new();
    let probe = NetworkProbe::default();
    for pool in settings.iter().flat_map(|settings| settings.pools.values()) {
        let checked = pool.backends.iter().map(async |backend| Backend {
            address: backend.address,
            way: way(backend.address).await,
            answer: match probe.probe(backend.address, &pool.check).await {
                Outcome::Success => Ok(()),
                Outcome::Failure(failure) => Err(failure.to_string()),
                Outcome::Inconclusive(why) => Err(format!("not checked: {why}")),
            },
        });
        let checked = futures_util::stream::iter(checked).buffered(AT_ONCE);
        let mut backends: Vec<Backend> = checked.collect().await;
        blame_neighbours(&mut backends).await;
        all.push(Pool {
            name: pool.name.clone(),
            mode: pool.mode,
            overhead: pool.overhead(),
            backends,
        });
    }
    all
}

/// The checks have made the kernel ask for the neighbours: who has not answered stands in the way.
async fn blame_neighbours(backends: &mut [Backend]) {
    let mut known = BTreeMap::new();
    for backend in backends {
        let Ok(way) = &backend.way else {
            continue;
        };
        if !known.contains_key(&way.interface) {
            known.insert(way.interface.clone(), neighbours(&way.interface).await);
        }
        let found = known[&way.interface].get(&way.neighbour);
        if found.is_some_and(|found| found.resolution == Resolution::Failed) {
            backend.way = Err(Unresolved::NeighbourFailed(way.neighbour).to_string());
        }
    }
}

/// Of an interface that is gone, none.
async fn neighbours(interface: &str) -> BTreeMap<IpAddr, Neighbour> {
    let Ok(index) = nix::net::if_::if_nametoindex(interface) else {
        return BTreeMap::new();
    };
    nic::neighbours(index).await.unwrap_or_default()
}

async fn way(target: IpAddr) -> Result<Way, String> {
    let route = nic::route(target)
        .await
        .map_err(|error| error.to_string())?;
    let route = route.map_err(|reason| reason.to_string())?;
    let interface = nix::net::if_::if_indextoname(route.ifindex)
        .map(|name| name.to_string_lossy().into_owned())
        .map_err(|error| format!("interface {}: {error}", route.ifindex))?;
    let link = address::mtu(&interface)
        .await
        .map_err(|error| error.to_string())?;
    Ok(Way {
        neighbour: route.neighbour_of(target),
        mtu: route.mtu.map_or(link, |mtu| mtu.min(link)),
        interface,
    })
}

async fn peers(settings: Option<&Settings>, sessions: Option<Vec<PeerStatus>>) -> Vec<Peer> {
    if let Some(sessions) = sessions {
        let told = sessions.into_iter().map(|session| Peer {
            address: session.address,
            state: PeerState::Session(session.state, session.last_failure),
        });
        return told.collect();
    }
    let mut all = Vec::new();
    let bgp = settings.and_then(|settings| settings.bgp.as_ref());
    for peer in bgp.iter().flat_map(|bgp| &bgp.peers) {
        all.push(Peer {
            address: peer.name,
            state: try_peer(peer).await,
        });
    }
    all
}

/// No agent has a session, so that a connection disturbs none.
async fn try_peer(peer: &BgpPeer) -> PeerState {
    let Some(address) = peer.name.first_address() else {
        return PeerState::Unknown;
    };
    let link = peer.name.interface();
    if link.is_none() && !matches!(nic::route(address).await, Ok(Ok(_))) {
        return PeerState::NoRoute;
    }
    if peer.passive {
        return PeerState::Passive;
    }
    if peer.password.is_some() || peer.ttl_security.is_some() {
        return PeerState::Guarded;
    }
    let destination = match (address, link) {
        (IpAddr::V6(v6), Some(link)) => match nix::net::if_::if_nametoindex(link.as_str()) {
            Ok(index) => SocketAddrV6::new(v6, peer.port, 0, index).into(),
            Err(_) => return PeerState::NoRoute,
        },
        (address, _) => SocketAddr::new(address, peer.port),
    };
    match timeout(CONNECT_TIME, TcpStream::connect(destination)).await {
        Ok(Ok(_)) => PeerState::Answers,
        Ok(Err(error)) => PeerState::Silent(error.to_string()),
        Err(_) => PeerState::Silent("no answer".to_owned()),
    }
}
