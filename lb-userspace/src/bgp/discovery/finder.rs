//! The task that keeps a peer's address current.

use std::io;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::machine::{Machine, News};
use super::message::{Invalid, Message};
use super::socket::{Ear, Place};
use crate::bgp::fsm::{Jitter, State};
use crate::bgp::interface_name::InterfaceName;
use crate::bgp::remote::{Absence, Remote};
use crate::bgp::session::seed;
use crate::bgp::status::{Discovery, Shared};

/// How often the interface is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Time for one message: what comes faster overflows the socket's buffer, not this node.
const PACE: Duration = Duration::from_millis(1);

/// Why an advertisement of this host itself does not count.
const OWN: &str = "own";

/// Looks for the router on one interface, until it is dropped.
#[derive(Debug)]
pub struct Finder {
    task: JoinHandle<()>,
}

impl Finder {
    /// Begins; `found` gets the address of the peer, and `shared` what happens on the way.
    pub fn start(
        interface: InterfaceName,
        found: watch::Sender<Result<Remote, Absence>>,
        shared: Arc<Mutex<Shared>>,
    ) -> Finder {
        let search = Search {
            interface,
            found,
            shared,
        };
        Finder {
            task: tokio::spawn(search.run()),
        }
    }
}

impl Drop for Finder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Search {
    interface: InterfaceName,
    found: watch::Sender<Result<Remote, Absence>>,
    shared: Arc<Mutex<Shared>>,
}

impl Search {
    async fn run(self) {
        loop {
            let interface = self.interface;
            let end = match Place::find(interface) {
                Ok(Ok(place)) => self.search(place).await,
                Ok(Err(absence)) => {
                    self.publish(Err(absence));
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = end {
                tracing::warn!(%interface, %error, "router advertisements cannot be heard");
            }
            sleep(LOOK).await;
        }
    }

    /// Until the interface is another one, or not there.
    async fn search(&self, place: Place) -> io::Result<()> {
        let mut ear = Ear::open(self.interface, place)?;
        self.publish(Err(Absence::Silent));
        let mut machine = Machine::new(Jitter::new(seed()), now());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // All cancel-safe: a message is read whole or not at all.
            tokio::select! {
                heard = ear.next() => match heard {
                    Ok((source, heard)) => {
                        self.hear(&mut machine, place, source, heard);
                        sleep(PACE).await;
                    }
                    Err(error) => {
                        tracing::warn!(interface = %self.interface, %error, "a router advertisement cannot be read");
                        sleep(LOOK).await;
                    }
                },
                () = sleep_until(Instant::from_std(machine.deadline())) => {
                    for message in machine.due(self.in_session(), now()) {
                        self.say(&ear, message);
                    }
                }
                // Where nothing can be said of it, nothing has changed.
                _ = look.tick() => if let Ok(false) = place.stands(self.interface) {
                    return Ok(());
                }
            }
        }
    }

    fn hear(
        &self,
        machine: &mut Machine,
        place: Place,
        source: Ipv6Addr,
        heard: Result<Message, Invalid>,
    ) {
        match heard {
            Ok(Message::Advertisement) if place.is_ours(source) => self.discard(OWN),
            Ok(Message::Solicitation) => machine.solicited(now()),
            Ok(Message::Advertisement) => {
                let news = machine.advertised(source, self.in_session(), now());
                self.count(|discovery| discovery.heard += 1);
                match news {
                    News::Known => {}
                    News::Peer => self.found(place, source),
                    News::Other => self.other(source),
                }
            }
            Err(invalid) => self.discard(invalid.label()),
        }
    }

    fn discard(&self, reason: &'static str) {
        self.count(|discovery| *discovery.invalid.entry(reason).or_default() += 1);
    }

    fn found(&self, place: Place, peer: Ipv6Addr) {
        let interface = self.interface;
        tracing::info!(%interface, %peer, "the router on the interface is the BGP peer");
        self.publish(Ok(Remote {
            address: peer.into(),
            source: Some(place.source),
        }));
    }

    fn other(&self, source: Ipv6Addr) {
        let mut again = false;
        self.count(|discovery| {
            discovery.others += 1;
            again = discovery.last_other.replace(source) == Some(source);
        });
        if !again {
            let interface = self.interface;
            tracing::warn!(%interface, router = %source, "another router advertises itself, and the first one stays the BGP peer");
        }
    }

    fn say(&self, ear: &Ear, message: Message) {
        let said = ear.say(message);
        self.count(|discovery| match (&said, message) {
            (Ok(()), Message::Advertisement) => discovery.sent += 1,
            (Ok(()), Message::Solicitation) => {}
            (Err(_), _) => discovery.unsent += 1,
        });
        if let Err(error) = said {
            tracing::debug!(interface = %self.interface, %error, "nothing can be said on the interface");
        }
    }

    fn publish(&self, remote: Result<Remote, Absence>) {
        self.count(|discovery| {
            discovery.router = remote.ok().map(|remote| remote.address);
        });
        self.found.send_if_modified(|known| {
            let differs = *known != remote;
            *known = remote;
            differs
        });
    }

    fn in_session(&self) -> bool {
        Shared::lock(&self.shared).status.state == State::Established
    }

    fn count(&self, change: impl FnOnce(&mut Discovery)) {
        change(
            Shared::lock(&self.shared)
                .status
                .discovery
                .get_or_insert_default(),
        );
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
