//! What the process and its user tell each other: a line of JSON each.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::diagnostic::Diagnostic;
use super::fsm::{Settings, State};

/// Of these messages; a process that speaks another one is replaced.
pub const PROTOCOL: u32 = 2;

/// One session as its user wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionConfig {
    /// What its user calls the peer, unique among the sessions.
    pub name: String,
    /// Between which addresses; none: its user does not know yet, and a session of this name goes on as it is.
    pub ends: Option<Ends>,
    /// How far away the peer may be.
    pub hops: Hops,
    /// Microseconds between packets, both ways.
    pub interval_us: u32,
    /// Packets in a row that may be lost, less one.
    pub multiplier: u8,
}

/// Where the two systems of a session are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Address of the peer.
    pub peer: IpAddr,
    /// Ours; none: the kernel's choice.
    pub local: Option<IpAddr>,
    /// The interface whose link both are on, where link-local addresses say nothing without.
    pub interface: Option<String>,
}

impl Ends {
    /// Of a peer whose address says all.
    pub fn to(peer: IpAddr) -> Ends {
        Ends {
            peer,
            local: None,
            interface: None,
        }
    }
}

/// How far away a peer may be, and with it the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hops {
    /// On the same link (RFC 5881): packets come with a TTL of 255.
    Single,
    /// Behind routers (RFC 5883).
    Multi {
        /// Packets come with this TTL at least.
        ttl_min: u8,
    },
}

impl Hops {
    /// Least TTL of a packet.
    pub fn ttl_min(self) -> u8 {
        match self {
            Hops::Single => 255,
            Hops::Multi { ttl_min } => ttl_min,
        }
    }

    /// For RFC 5883's port.
    pub fn is_multi(self) -> bool {
        matches!(self, Hops::Multi { .. })
    }
}

impl SessionConfig {
    pub(super) fn settings(&self) -> Settings {
        let interval = Duration::from_micros(u64::from(self.interval_us.max(1)));
        Settings::symmetric(interval, self.multiplier.max(1))
    }
}

/// From the user. `W` says what to watch besides the peers: see [`super::process::Forwarding`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order<W> {
    /// These sessions, and no others. One that was there before goes on.
    Run {
        /// All of them.
        sessions: Vec<SessionConfig>,
        /// What has to work for them to be Up; none: as before.
        watch: Option<W>,
    },
    /// Tell every peer AdminDown, and end.
    Stop,
}

/// From the process: everything there is to know, at every change of a state and once a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`PROTOCOL`] of the process.
    pub protocol: u32,
    /// Its version, for people.
    pub version: String,
    /// By the order of their names.
    pub sessions: Vec<SessionReport>,
    /// Packets that belong to no session, by reason.
    pub discards: BTreeMap<String, u64>,
    /// Why sessions are held down although their peers may be there.
    pub held_down: Option<String>,
    /// What the process cannot do, in words.
    pub problem: Option<String>,
}

impl Report {
    /// Of a session.
    pub fn of(&self, name: &str) -> Option<&SessionReport> {
        self.sessions.iter().find(|session| session.name == name)
    }
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// What its user calls the peer.
    pub name: String,
    /// Ours.
    pub state: State,
    /// Why it last changed.
    pub diagnostic: Diagnostic,
    /// The peer's.
    pub remote_state: State,
    /// Why that last changed, as the peer says.
    pub remote_diagnostic: Diagnostic,
    /// The peer's BFD survives its control plane.
    pub remote_independent: bool,
    /// Seconds in this state.
    pub since_secs: u64,
    /// Microseconds between our packets, before jitter.
    pub transmit_interval_us: Option<u64>,
    /// Microseconds of silence after which the peer is gone.
    pub detection_time_us: Option<u64>,
    /// How often the session has failed: went from Up to Down, and neither operator wanted it.
    pub failures: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets that could not be, and the last reason.
    pub unsent: u64,
    /// Packets received.
    pub received: u64,
    /// Packets of this session that did not count, by reason.
    pub discards: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_lines() {
        let order: Order<String> = Order::Run {
            sessions: vec![SessionConfig {
                name: "eth0".into(),
                ends: Some(Ends {
                    peer: "fe80::1".parse().expect("an address"),
                    local: None,
                    interface: Some("eth0".into()),
                }),
                hops: Hops::Multi { ttl_min: 250 },
                interval_us: 100_000,
                multiplier: 3,
            }],
            watch: Some("x".into()),
        };
        let line = serde_json::to_string(&order).expect("JSON");
        assert_eq!(
            line,
            r#"{"order":"run","sessions":[{"name":"eth0","ends":{"peer":"fe80::1","local":null,"interface":"eth0"},"hops":{"multi":{"ttl_min":250}},"interval_us":100000,"multiplier":3}],"watch":"x"}"#
        );
        assert_eq!(
            serde_json::from_str::<Order<String>>(&line).ok(),
            Some(order)
        );
        let stop = serde_json::from_str::<Order<String>>(r#"{"order":"stop"}"#);
        assert_eq!(stop.ok(), Some(Order::Stop));
    }
}
