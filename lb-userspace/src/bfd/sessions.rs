//! All sessions of a process: which one a packet is for, and what becomes of sessions that nobody wants any more.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::fsm::{Action, Change, Input, Session, State};
use super::message::{Ends, Hops, SessionConfig, SessionReport};
use super::packet::{ControlPacket, Discard, LENGTH};

/// A session that nobody wants any more says so no longer than this.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// From whom.
    pub from: IpAddr,
    /// By which interface it came, where the sender's address says nothing without.
    pub interface: Option<&'a str>,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// On the port of RFC 5883.
    pub multihop: bool,
    /// What is in it.
    pub payload: &'a [u8],
}

/// What has to go out, or has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For the peer of this session.
    Send(NonZeroU32, [u8; LENGTH]),
    /// A session changed its state.
    Changed(NonZeroU32, Change),
    /// A session is over.
    Gone(NonZeroU32),
}

/// A session with what is counted of it.
#[derive(Debug)]
struct Entry {
    config: SessionConfig,
    ends: Ends,
    session: Session,
    changed_at: Instant,
    /// It ends then.
    leaves_at: Option<Instant>,
    failures: u64,
    sent: u64,
    unsent: u64,
    received: u64,
    discards: BTreeMap<Discard, u64>,
}

/// The sessions by our discriminators.
#[derive(Debug)]
pub struct Sessions {
    entries: BTreeMap<NonZeroU32, Entry>,
    discards: BTreeMap<Discard, u64>,
    forwarding: bool,
    random: u64,
}

impl Sessions {
    /// None yet. The numbers of sessions follow from `seed`: a process that follows another must not have the same ones.
    pub fn new(seed: u64) -> Sessions {
        Sessions {
            entries: BTreeMap::new(),
            discards: BTreeMap::new(),
            forwarding: true,
            random: seed,
        }
    }

    /// These, and no others.
    pub fn run(&mut self, wanted: &[SessionConfig], now: Instant) -> Vec<Output> {
        let mut out = Vec::new();
        for (number, entry) in &mut self.entries {
            match wanted.iter().find(|config| entry.can_be(config)) {
                Some(config) if entry.leaves_at.is_none() => {
                    entry.config = config.clone();
                    let input = Input::Configure(config.settings());
                    entry.handle(*number, input, now, &mut out);
                }
                _ => entry.leave(*number, now, &mut out),
            }
        }
        for config in wanted {
            let here =
                |entry: &Entry| entry.leaves_at.is_none() && entry.config.name == config.name;
            if let Some(ends) = &config.ends
                && !self.entries.values().any(here)
            {
                self.begin(config, ends, now, &mut out);
            }
        }
        out
    }

    /// A packet.
    pub fn receive(&mut self, datagram: &Datagram<'_>, now: Instant) -> Vec<Output> {
        let mut out = Vec::new();
        let decoded = ControlPacket::decode(datagram.payload);
        let found = decoded.and_then(|packet| Ok((packet, self.find(datagram, &packet)?)));
        let (packet, number) = match found {
            Ok(found) => found,
            Err(reason) => {
                self.discard(datagram, reason);
                return out;
            }
        };
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.received += 1;
            entry.handle(number, Input::Received(packet), now, &mut out);
        }
        out
    }

    /// Deadlines may have passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Output> {
        let mut out = Vec::new();
        for (number, entry) in &mut self.entries {
            entry.handle(*number, Input::Tick, now, &mut out);
        }
        self.entries.retain(|number, entry| {
            let leaves = entry.leaves_at.is_some_and(|at| at <= now);
            if leaves {
                out.push(Output::Gone(*number));
            }
            !leaves
        });
        out
    }

    /// Whether packets that peers send us are forwarded.
    pub fn forwarding(&mut self, works: bool, now: Instant) -> Vec<Output> {
        self.forwarding = works;
        let mut out = Vec::new();
        for (number, entry) in &mut self.entries {
            entry.handle(*number, Input::Forwarding(works), now, &mut out);
        }
        out
    }

    /// When to call [`Sessions::tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = |entry: &Entry| [entry.session.next_deadline(), entry.leaves_at];
        self.entries.values().flat_map(deadlines).flatten().min()
    }

    /// What a session is called, where its packets go to, and how far.
    pub fn route(&self, number: NonZeroU32) -> Option<(&str, &Ends, Hops)> {
        let entry = self.entries.get(&number)?;
        Some((&entry.config.name, &entry.ends, entry.config.hops))
    }

    /// Whether one of them came to be sent.
    pub fn sent(&mut self, number: NonZeroU32, sent: bool) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.sent += u64::from(sent);
            entry.unsent += u64::from(!sent);
        }
    }

    /// None is there, and none is on its way out.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Those that are wanted, by the order of their names.
    pub fn report(&self, now: Instant) -> Vec<SessionReport> {
        let wanted = self.entries.values().filter(|e| e.leaves_at.is_none());
        let mut reports: Vec<SessionReport> = wanted.map(|entry| entry.report(now)).collect();
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        reports
    }

    /// Packets that belong to no session.
    pub fn discards(&self) -> BTreeMap<String, u64> {
        named(&self.discards)
    }

    fn begin(&mut self, config: &SessionConfig, ends: &Ends, now: Instant, out: &mut Vec<Output>) {
        let number = self.unused();
        let seed = self.next_random();
        let session = Session::new(config.settings(), number, seed, now);
        let mut entry = Entry {
            config: config.clone(),
            ends: ends.clone(),
            session,
            changed_at: now,
            leaves_at: None,
            failures: 0,
            sent: 0,
            unsent: 0,
            received: 0,
            discards: BTreeMap::new(),
        };
        entry.handle(number, Input::Forwarding(self.forwarding), now, out);
        entry.handle(number, Input::Tick, now, out);
        self.entries.insert(number, entry);
    }

    fn unused(&mut self) -> NonZeroU32 {
        loop {
            let number = NonZeroU32::new(self.next_random() as u32);
            if let Some(number) = number.filter(|number| !self.entries.contains_key(number)) {
                return number;
            }
        }
    }

    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The session of a packet: by our number where the peer knows it, else by its address.
    fn find(&self, datagram: &Datagram<'_>, packet: &ControlPacket) -> Result<NonZeroU32, Discard> {
        if !datagram.multihop && datagram.ttl < Hops::Single.ttl_min() {
            return Err(Discard::Ttl);
        }
        let (number, entry) = match packet.your_discriminator {
            Some(number) => {
                let entry = self.entries.get(&number);
                (number, entry.ok_or(Discard::UnknownDiscriminator)?)
            }
            None => self.by_address(datagram).ok_or(Discard::NoSession)?,
        };
        let hops = entry.config.hops;
        if !entry.is_from(datagram) || hops.is_multi() != datagram.multihop {
            return Err(Discard::WrongPeer);
        }
        if datagram.ttl < hops.ttl_min() {
            return Err(Discard::Ttl);
        }
        Ok(number)
    }

    fn by_address(&self, datagram: &Datagram<'_>) -> Option<(NonZeroU32, &Entry)> {
        let mut entries = self.entries.iter().map(|(number, entry)| (*number, entry));
        entries.find(|(_, entry)| {
            entry.leaves_at.is_none()
                && entry.is_from(datagram)
                && entry.config.hops.is_multi() == datagram.multihop
        })
    }

    fn discard(&mut self, datagram: &Datagram<'_>, reason: Discard) {
        let mut entries = self.entries.values_mut();
        let discards = match entries.find(|entry| entry.is_from(datagram)) {
            Some(entry) => &mut entry.discards,
            None => &mut self.discards,
        };
        *discards.entry(reason).or_default() += 1;
    }
}

fn named(discards: &BTreeMap<Discard, u64>) -> BTreeMap<String, u64> {
    let named = |(reason, count): (&Discard, &u64)| (reason.label().to_owned(), *count);
    discards.iter().map(named).collect()
}

impl Entry {
    /// Whether the session can go on under another configuration.
    fn can_be(&self, config: &SessionConfig) -> bool {
        self.config.name == config.name
            && config.ends.as_ref().is_none_or(|ends| *ends == self.ends)
            && self.config.hops.is_multi() == config.hops.is_multi()
    }

    fn is_from(&self, datagram: &Datagram<'_>) -> bool {
        self.ends.peer == datagram.from && self.ends.interface.as_deref() == datagram.interface
    }

    fn handle(&mut self, number: NonZeroU32, input: Input, now: Instant, out: &mut Vec<Output>) {
        for action in self.session.handle(input, now) {
            match action {
                Action::Send(packet) => out.push(Output::Send(number, packet.encode())),
                Action::Changed(change) => {
                    self.changed_at = now;
                    self.failures += u64::from(is_failure(&change));
                    out.push(Output::Changed(number, change));
                }
            }
        }
    }

    /// AdminDown, for as long as the peer needs to hear one packet of it.
    fn leave(&mut self, number: NonZeroU32, now: Instant, out: &mut Vec<Output>) {
        if self.leaves_at.is_some() {
            return;
        }
        self.handle(number, Input::Disable, now, out);
        let heard = self.session.remote().discriminator.is_some();
        let interval = self.session.transmit_interval().filter(|_| heard);
        let time = interval.map(|interval| interval * u32::from(self.config.multiplier));
        self.leaves_at = Some(now + time.unwrap_or_default().min(LEAVE_MAX));
    }

    fn report(&self, now: Instant) -> SessionReport {
        let session = &self.session;
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        SessionReport {
            name: self.config.name.clone(),
            state: session.state(),
            diagnostic: session.diagnostic(),
            remote_state: session.remote().state,
            remote_diagnostic: session.remote().diagnostic,
            remote_independent: session.remote().control_plane_independent,
            since_secs: now.duration_since(self.changed_at).as_secs(),
            transmit_interval_us: session.transmit_interval().map(micros),
            detection_time_us: session.detection_time().map(micros),
            failures: self.failures,
            sent: self.sent,
            unsent: self.unsent,
            received: self.received,
            discards: named(&self.discards),
        }
    }
}

/// AdminDown of either side says nothing of the path (RFC 5880 section 6.8.16).
fn is_failure(change: &Change) -> bool {
    let wanted = change.remote.state == State::AdminDown;
    (change.from, change.to) == (State::Up, State::Down) && !wanted
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
