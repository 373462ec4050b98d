//! The ways to a peer's task.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::notification::Notification;
use super::path::Path;
use super::remote::{Absence, Remote};
use super::route::RouteSet;

/// What the speaker asks of a peer's task.
#[derive(Debug)]
pub(super) enum Command {
    /// Answer when the current routes have been sent.
    Flush(oneshot::Sender<()>),
    /// End the session with these words, and have none until [`Command::Enable`].
    ShutDown(String, oneshot::Sender<()>),
    /// Sign with this from now on, in the session as well.
    Rekey(String),
    /// Take [`Command::ShutDown`] back.
    Enable(oneshot::Sender<()>),
    /// Send every route again, and answer how many those are; none: there is no session.
    Refresh(oneshot::Sender<Option<usize>>),
    /// Send this and end.
    Stop(Notification),
}

/// Ends of the channels of a peer's task.
pub(super) struct Channels {
    pub commands: mpsc::Receiver<Command>,
    pub incoming: mpsc::Receiver<TcpStream>,
    pub routes: watch::Receiver<Option<Arc<RouteSet>>>,
    pub path: watch::Receiver<Option<Path>>,
    /// Where the peer is.
    pub remote: watch::Receiver<Result<Remote, Absence>>,
}

/// Connections of one peer that wait for its task.
const INCOMING_MAX: usize = 4;
/// Orders that wait for it.
const COMMANDS_MAX: usize = 4;

impl Channels {
    /// New ones, with the ends that others have: for connections, and for orders.
    pub fn new(
        routes: &watch::Receiver<Option<Arc<RouteSet>>>,
        path: watch::Receiver<Option<Path>>,
        remote: watch::Receiver<Result<Remote, Absence>>,
    ) -> (Channels, mpsc::Sender<TcpStream>, mpsc::Sender<Command>) {
        let (door, incoming) = mpsc::channel(INCOMING_MAX);
        let (orders, commands) = mpsc::channel(COMMANDS_MAX);
        // A receiver that has not seen the value there is: the task must begin with it.
        let mut routes = routes.clone();
        routes.mark_changed();
        let channels = Channels {
            commands,
            incoming,
            routes,
            path,
            remote,
        };
        (channels, door, orders)
    }
}
