//! What holds of each backend, and how long. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Carrier, PathMtus, Report};

/// After so long without a message the way may have become better (RFC 1191, section 6.3; RFC 8201, section 4).
pub const LIFETIME: Duration = Duration::from_mins(10);

/// What this node sends through tunnels: messages about anything else are not ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tunnels {
    /// Sources of the outer headers.
    pub sources: BTreeSet<IpAddr>,
    /// Tunnels by where they end.
    pub ends: BTreeMap<IpAddr, Tunnel>,
}

/// The tunnels to one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// How they are carried.
    pub carriers: BTreeSet<Carrier>,
    /// Below so many bytes they are of no use, whatever anybody says.
    pub floor: u32,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The backend's MTU is this from now on.
    Lowered(u32),
    /// It was already.
    Known,
    /// It is not about a packet that this node sends.
    Foreign,
}

/// MTUs by backend, each until it ends.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    by_backend: BTreeMap<IpAddr, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mtu: u32,
    until: Instant,
}

impl Learned {
    /// Takes what a router says.
    pub fn take(&mut self, report: &Report, tunnels: &Tunnels, now: Instant) -> Taken {
        let Some(floor) = tunnels.floor_of(report) else {
            return Taken::Foreign;
        };
        let mtu = report.mtu.max(floor);
        let until = now + LIFETIME;
        let before = self.by_backend.get_mut(&report.destination);
        match before.filter(|entry| entry.until > now) {
            // A packet that was on its way when the smaller one was learned: that one's time is its own.
            Some(entry) if entry.mtu < mtu => Taken::Known,
            Some(entry) if entry.mtu == mtu => {
                entry.until = until;
                Taken::Known
            }
            _ => {
                let entry = Entry { mtu, until };
                self.by_backend.insert(report.destination, entry);
                Taken::Lowered(mtu)
            }
        }
    }

    /// Forgets what has ended and what is no tunnel any more.
    pub fn forget(&mut self, tunnels: &Tunnels, now: Instant) {
        self.by_backend
            .retain(|backend, entry| entry.until > now && tunnels.ends.contains_key(backend));
    }

    /// When the next one ends.
    pub fn next_end(&self) -> Option<Instant> {
        self.by_backend.values().map(|entry| entry.until).min()
    }

    /// What is in force.
    pub fn mtus(&self) -> PathMtus {
        let all = self.by_backend.iter();
        all.map(|(&backend, entry)| (backend, entry.mtu)).collect()
    }
}

impl Tunnels {
    fn floor_of(&self, report: &Report) -> Option<u32> {
        let tunnel = self.ends.get(&report.destination)?;
        let ours =
            self.sources.contains(&report.source) && tunnel.carriers.contains(&report.carrier);
        ours.then_some(tunnel.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUE: Carrier = Carrier::Udp(6080);
    const SECOND: Duration = Duration::from_secs(1);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn tunnels() -> Tunnels {
        let tunnel = |carriers: &[Carrier], floor| Tunnel {
            carriers: carriers.iter().copied().collect(),
            floor,
        };
        Tunnels {
            sources: [ip("10.0.0.11"), ip("fd00::b")].into(),
            ends: [
                (ip("10.1.0.1"), tunnel(&[GUE], 632)),
                (ip("10.1.0.2"), tunnel(&[Carrier::Ip], 596)),
                (ip("fd00:1::1"), tunnel(&[GUE, Carrier::Ip], 1404)),
            ]
            .into(),
        }
    }

    fn report(source: &str, destination: &str, carrier: Carrier, mtu: u32) -> Report {
        Report {
            source: ip(source),
            destination: ip(destination),
            carrier,
            mtu,
        }
    }

    fn about_the_first(mtu: u32) -> Report {
        report("10.0.0.11", "10.1.0.1", GUE, mtu)
    }

    #[test]
    fn only_what_quotes_a_packet_of_ours_counts() {
        use Taken::{Foreign, Lowered};
        for (about, source, destination, carrier, mtu, expected) in [
            ("ours", "10.0.0.11", "10.1.0.1", GUE, 1400, Lowered(1400)),
            ("another's", "10.0.0.12", "10.1.0.1", GUE, 1400, Foreign),
            ("no backend", "10.0.0.11", "10.1.0.3", GUE, 1400, Foreign),
            (
                "another port",
                "10.0.0.11",
                "10.1.0.1",
                Carrier::Udp(53),
                1400,
                Foreign,
            ),
            (
                "not by this tunnel",
                "10.0.0.11",
                "10.1.0.1",
                Carrier::Ip,
                1400,
                Foreign,
            ),
            (
                "nor by that one",
                "10.0.0.11",
                "10.1.0.2",
                GUE,
                1400,
                Foreign,
            ),
            ("the floor", "10.0.0.11", "10.1.0.1", GUE, 68, Lowered(632)),
            (
                "by two",
                "fd00::b",
                "fd00:1::1",
                Carrier::Ip,
                1450,
                Lowered(1450),
            ),
            (
                "its floor",
                "fd00::b",
                "fd00:1::1",
                GUE,
                1280,
                Lowered(1404),
            ),
        ] {
            let mut learned = Learned::default();
            let report = report(source, destination, carrier, mtu);
            let now = Instant::now();
            assert_eq!(learned.take(&report, &tunnels(), now), expected, "{about}");
            let expected = match expected {
                Lowered(mtu) => [(ip(destination), mtu)].into(),
                Taken::Known | Foreign => PathMtus::new(),
            };
            assert_eq!(learned.mtus(), expected, "{about}");
        }
    }

    #[test]
    fn it_only_becomes_less_until_it_ends() {
        let (mut learned, tunnels, start) = (Learned::default(), tunnels(), Instant::now());
        let mut say = |mtu, after| {
            let taken = learned.take(&about_the_first(mtu), &tunnels, start + after);
            (taken, learned.mtus()[&ip("10.1.0.1")], learned.next_end())
        };
        let end = |after| Some(start + after + LIFETIME);
        assert_eq!(
            say(1400, Duration::ZERO),
            (Taken::Lowered(1400), 1400, end(Duration::ZERO))
        );
        assert_eq!(
            say(1450, SECOND),
            (Taken::Known, 1400, end(Duration::ZERO)),
            "not raised, and no longer"
        );
        assert_eq!(
            say(1400, 2 * SECOND),
            (Taken::Known, 1400, end(2 * SECOND)),
            "still so"
        );
        assert_eq!(
            say(1300, 3 * SECOND),
            (Taken::Lowered(1300), 1300, end(3 * SECOND))
        );
        let later = 3 * SECOND + LIFETIME;
        assert_eq!(
            say(1450, later),
            (Taken::Lowered(1450), 1450, end(later)),
            "what has ended counts no more"
        );
    }

    #[test]
    fn what_has_ended_or_has_no_tunnel_is_forgotten() {
        let (mut learned, mut tunnels, start) = (Learned::default(), tunnels(), Instant::now());
        learned.take(&about_the_first(1400), &tunnels, start);
        let second = report("10.0.0.11", "10.1.0.2", Carrier::Ip, 1400);
        learned.take(&second, &tunnels, start + SECOND);
        learned.forget(&tunnels, start + LIFETIME - SECOND);
        assert_eq!(learned.mtus().len(), 2);
        learned.forget(&tunnels, start + LIFETIME);
        assert_eq!(learned.mtus(), [(ip("10.1.0.2"), 1400)].into());
        tunnels.ends.remove(&ip("10.1.0.2"));
        learned.forget(&tunnels, start + LIFETIME);
        assert_eq!(learned.mtus(), PathMtus::new());
        assert_eq!(learned.next_end(), None);
    }
}
