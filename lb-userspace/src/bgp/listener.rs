//! Accepts connections and hands each to its peer's task; strangers are turned away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::route::RouteSet;
use super::status::Strangers;

/// Where the connections of a peer go.
pub(super) type Doors = BTreeMap<IpAddr, mpsc::Sender<TcpStream>>;

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
                open_door(&doors, &strangers, stream, remote.ip().to_canonical());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a BGP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn open_door(doors: &Doors, strangers: &Mutex<Strangers>, stream: TcpStream, remote: IpAddr) {
    match doors.get(&remote) {
        // A full queue means a peer that dials faster than its task runs; the connection is closed.
        Some(door) => drop(door.try_send(stream)),
        None => {
            let mut strangers = strangers.lock().unwrap_or_else(PoisonError::into_inner);
            if strangers.last != Some(remote) {
                tracing::warn!(%remote, "BGP connection refused: no peer of the configuration has this address");
            }
            strangers.connections += 1;
            strangers.last = Some(remote);
        }
    }
}
