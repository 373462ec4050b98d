//! Accepts connections and hands each to its peer's task; strangers are turned away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::route::RouteSet;

/// Where the connections of a peer go.
pub(super) type Doors = BTreeMap<IpAddr, mpsc::Sender<TcpStream>>;

/// Pause after a failed accept; it fails at once as long as there are no descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Until its task is aborted. Accepts nothing before the first route set is known: whoever connects earlier waits in
/// the backlog, without an OPEN of ours.
pub(super) async fn run(
    listener: TcpListener,
    doors: Arc<Doors>,
    mut routes: watch::Receiver<Option<Arc<RouteSet>>>,
) {
    if routes.wait_for(Option::is_some).await.is_err() {
        return;
    }
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => open_door(&doors, stream, remote.ip().to_canonical()),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a BGP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn open_door(doors: &Doors, stream: TcpStream, remote: IpAddr) {
    match doors.get(&remote) {
        // A full queue means a peer that dials faster than its task runs; the connection is closed.
        Some(door) => drop(door.try_send(stream)),
        None => tracing::debug!(%remote, "BGP connection from a stranger refused"),
    }
}
