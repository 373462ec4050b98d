//! `anylb trace`: packets that the datapath tells of, for one watcher at a time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lb_common::lb::Exit;
use lb_common::lb::trace::{ANY_EXIT, Asked, Untold};
use tracing::info;

use super::Reconciler;
use crate::agent::report::action_name;
use crate::dataplane::generator::now_ns;
use crate::dataplane::{Dataplane, DataplaneError, Traced};
use crate::model::Vip;
use crate::netlink::interface_name;
use crate::plan::vips;
use crate::status::{Refusal, TraceBatch, TraceNext, TraceRequest, TraceStarted, TracedPacket};

/// How long a watcher may be silent.
const LEASE: Duration = Duration::from_secs(5);
/// Packets of one answer.
const BATCH: usize = 1024;
/// Packets that a CPU tells of per second, and how many at once after a pause.
const PACKETS_PER_SEC: u32 = 10_000;
const BURST: u32 = 1_000;

/// Who watches packets.
pub(super) struct Watcher {
    number: u64,
    until: Instant,
}

impl Reconciler {
    pub(super) fn begin_trace(&mut self, request: &TraceRequest) -> Result<TraceStarted, Refusal> {
        if self
            .trace
            .as_ref()
            .is_some_and(|watcher| Instant::now() < watcher.until)
        {
            return Err(Refusal::refused(
                "somebody traces already: end that `anylb trace`, or wait 5 s where it has died",
            ));
        }
        if self.is_beside() {
            return Err(Refusal::refused(
                "the program of another layout still forwards: `anylb status` says what this agent waits for",
            ));
        }
        let asked = self.asked(request)?;
        self.end_trace().map_err(failed)?;
        let plane = self.plane_mut()?;
        plane.begin_trace(asked, lease_ns()).map_err(failed)?;
        let number = now_ns();
        self.trace = Some(Watcher {
            number,
            until: Instant::now() + LEASE,
        });
        info!(trace = number, "packets are traced");
        Ok(TraceStarted {
            trace: number,
            lease_secs: LEASE.as_secs(),
            packets_per_sec: PACKETS_PER_SEC,
        })
    }

    pub(super) fn trace_next(&mut self, request: TraceNext) -> Result<TraceBatch, Refusal> {
        let watcher = self
            .trace
            .as_mut()
            .filter(|watcher| watcher.number == request.trace);
        let over =
            || Refusal::not_found("this trace is over: nobody has asked for its packets in time");
        watcher.ok_or_else(over)?.until = Instant::now() + LEASE;
        let (packets, untold) = match request.last {
            true => self.end_trace(),
            false => self.plane_mut()?.traced(BATCH, lease_ns()),
        }
        .map_err(failed)?;
        let more = packets.len() == BATCH && !request.last;
        let epoch_ns = epoch_ns();
        Ok(TraceBatch {
            packets: packets
                .into_iter()
                .map(|packet| told(packet, epoch_ns))
                .collect(),
            more,
            limited: untold.limited,
            lost: untold.lost,
        })
    }

    /// A watcher who went away without a word has no trace any more.
    pub(super) fn end_unwatched(&mut self) {
        if self
            .trace
            .as_ref()
            .is_some_and(|watcher| Instant::now() >= watcher.until)
        {
            let ended = self.end_trace().map(drop);
            self.note("trace", ended.map_err(|error| error.to_string()));
        }
    }

    fn end_trace(&mut self) -> Result<(Vec<Traced>, Untold), DataplaneError> {
        let Some(plane) = &mut self.parts.plane else {
            return Ok(<_>::default());
        };
        let ended = plane.end_trace()?;
        if let Some(watcher) = self.trace.take() {
            info!(
                trace = watcher.number,
                lost = ended.1.lost,
                "packets are traced no more"
            );
        }
        self.events_lost += ended.1.lost;
        Ok(ended)
    }

    fn asked(&self, request: &TraceRequest) -> Result<Asked, Refusal> {
        let services = &self.parts.core.settings.services;
        if let Some(vip) = request.vip
            && !services.iter().any(|service| is_of(vip, service.vip))
        {
            return Err(Refusal::not_found(format!(
                "there is no VIP {vip}: see `anylb service list`"
            )));
        }
        let exit = match &request.exit {
            None => ANY_EXIT,
            Some(name) => exit(name)? as u32,
        };
        let (source, source_mask) = request.source.map_or_else(Default::default, vips::masked);
        let (destination, destination_mask) = request
            .vip
            .map_or_else(Default::default, |vip| vips::masked(vip.net()));
        Ok(Asked {
            until_ns: 0,
            destination,
            destination_mask,
            source,
            source_mask,
            exit,
            sample: request.sample.unwrap_or(1).max(1),
            per_jiffy: PACKETS_PER_SEC.div_ceil(self.jiffies_per_sec.max(1)),
            burst: BURST,
        })
    }

    fn plane_mut(&mut self) -> Result<&mut Dataplane, Refusal> {
        self.datapath()?;
        self.parts
            .plane
            .as_mut()
            .ok_or_else(|| Refusal::failed("the datapath has gone"))
    }
}

/// Whether it is the VIP or one of its addresses.
fn is_of(asked: Vip, vip: Vip) -> bool {
    asked == vip || asked.single().is_some_and(|address| vip.holds(address))
}

fn exit(name: &str) -> Result<Exit, Refusal> {
    let found = Exit::ALL.iter().find(|exit| exit.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = Exit::ALL.iter().map(|exit| exit.name()).collect();
        Refusal::not_found(format!(
            "there is no exit {name}: there are {}",
            names.join(", ")
        ))
    })
}

fn told(packet: Traced, epoch_ns: u64) -> TracedPacket {
    TracedPacket {
        time_ns: epoch_ns + packet.time_ns,
        interface: interface_name(packet.ifindex),
        length: packet.length,
        action: action_name(packet.exit.action()).into(),
        exit: packet.exit.name().into(),
        bytes: packet.bytes,
    }
}

/// The epoch, by the clock of the programs.
fn epoch_ns() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the reconcile loop is the driver that reads the clock"
    )]
    let now = SystemTime::now();
    let since = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    u64::try_from(since)
        .unwrap_or(u64::MAX)
        .saturating_sub(now_ns())
}

fn lease_ns() -> u64 {
    u64::try_from(LEASE.as_nanos()).unwrap_or(u64::MAX)
}

fn failed(error: DataplaneError) -> Refusal {
    Refusal::failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_masked_as_the_datapath_holds_addresses() {
        let bytes = |words: [u64; 2]| words.map(u64::to_ne_bytes).concat();
        for (prefix, address, mask) in [
            (
                "192.0.2.0/24",
                "00000000000000000000ffffc0000200",
                "ffffffffffffffffffffffffffffff00",
            ),
            (
                "0.0.0.0/0",
                "00000000000000000000ffff00000000",
                "ffffffffffffffffffffffff00000000",
            ),
            (
                "2001:db8::/32",
                "20010db8000000000000000000000000",
                "ffffffff000000000000000000000000",
            ),
            (
                "::/0",
                "00000000000000000000000000000000",
                "00000000000000000000000000000000",
            ),
            (
                "192.0.2.9/32",
                "00000000000000000000ffffc0000209",
                "ffffffffffffffffffffffffffffffff",
            ),
        ] {
            let found = vips::masked(prefix.parse().expect("a prefix"));
            let text = |words| {
                bytes(words)
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
            };
            assert_eq!(
                (text(found.0), text(found.1)),
                (address.into(), mask.into()),
                "{prefix}"
            );
        }
    }

    #[test]
    fn exits_have_their_names() {
        assert_eq!(exit("no_service").ok(), Some(Exit::NoService));
        let refused = exit("nowhere").expect_err("no such exit");
        assert!(
            refused
                .message
                .starts_with("there is no exit nowhere: there are not_ip, "),
            "{refused:?}"
        );
    }
}
