//! `anylb trace`: packets as the agent tells of them, until there are enough.
//!
//! | module | holds | pure |
//! |---|---|---|
//! | [`sink`] | lines, JSON or a file for Wireshark | yes |
//! | [`pcapng`] | the format of that file | yes |
//! | [`packet`] | what a packet is, in words | yes |

mod packet;
mod pcapng;
mod sink;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::future::{Future, pending};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use super::args::TraceArgs;
use super::client::Client;
use super::error::CliError;
use super::output::{Answer, Style, plural};
use super::role;
use crate::status::{Exit, TraceBatch, TraceNext, TraceRequest};
use sink::Sink;

/// Between two questions, where there was nothing more to tell.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of packets that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Totals {
    #[serde(rename = "packets")]
    shown: u64,
    limited: u64,
    lost: u64,
}

/// Shows packets until there are enough, the time is over, or somebody says so.
pub(super) fn run(socket: &Path, args: TraceArgs, style: Style) -> Result<Answer, CliError> {
    let sink = Sink::new(args.pcap.is_some(), style);
    let mut out = writer(args.pcap.as_deref())?;
    let told = sink.tells_totals();
    let client = Client::new(socket);
    let totals = role::runtime()?.block_on(async {
        let stop = stopped().map_err(|error| {
            CliError::new(Exit::Failed, format!("signals cannot be handled: {error}"))
        })?;
        watch(&client, &args, sink, &mut out, stop).await
    })?;
    if !told {
        eprintln!("{totals}");
    }
    Ok(Answer {
        text: String::new(),
        exit: Exit::Ok,
    })
}

fn writer(file: Option<&Path>) -> Result<Box<dyn Write>, CliError> {
    match file {
        None => Ok(Box::new(io::stdout())),
        Some(path) if path == Path::new("-") => Ok(Box::new(io::stdout())),
        Some(path) => match File::create(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(CliError::new(
                Exit::Failed,
                format!("cannot write {}: {error}", path.display()),
            )),
        },
    }
}

/// Ready when the operator has seen enough.
fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        // Cancel-safe: neither is asked again.
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Traces into `out` until `stop` is ready, or `args` have enough.
async fn watch(
    client: &Client,
    args: &TraceArgs,
    mut sink: Sink,
    out: &mut impl Write,
    stop: impl Future<Output = ()>,
) -> Result<Totals, CliError> {
    let request = TraceRequest {
        vip: args.vip,
        source: args.src,
        exit: args.exit.clone(),
        sample: Some(args.sample),
    };
    let trace = client.trace(&request).await?.body.trace;
    let next = |last| client.trace_next(TraceNext { trace, last });
    let mut show = Show {
        most: args.count.unwrap_or(u64::MAX),
        totals: Totals::default(),
        out,
    };
    let end = args.duration.map(|time| Instant::now() + time);
    let over = async {
        match end {
            Some(end) => sleep_until(end).await,
            None => pending().await,
        }
    };
    tokio::pin!(stop, over);
    let mut open = show.write(&sink.begin());
    while matches!(open, Ok(true)) && show.totals.shown < show.most {
        let batch = next(false).await?.body;
        open = show.batch(&mut sink, &batch);
        let pause = if batch.more { Duration::ZERO } else { PAUSE };
        // Cancel-safe: whichever of the first two is ready ends the loop.
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = &mut over => break,
            () = sleep(pause) => {}
        }
    }
    let last = next(true).await?.body;
    if open? && show.batch(&mut sink, &last)? {
        let end = sink.end(show.totals);
        show.write(&end)?;
    }
    Ok(show.totals)
}

/// Where packets go, and how many have.
struct Show<'o, W> {
    most: u64,
    totals: Totals,
    out: &'o mut W,
}

impl<W: Write> Show<'_, W> {
    /// False: the reader of a pipe has seen enough.
    fn batch(&mut self, sink: &mut Sink, batch: &TraceBatch) -> Result<bool, CliError> {
        self.totals.limited = batch.limited;
        self.totals.lost = batch.lost;
        let room = usize::try_from(self.most - self.totals.shown).unwrap_or(usize::MAX);
        let packets = &batch.packets[..batch.packets.len().min(room)];
        self.totals.shown += packets.len() as u64;
        let bytes: Vec<u8> = packets
            .iter()
            .flat_map(|packet| sink.packet(packet))
            .collect();
        self.write(&bytes)
    }

    /// Likewise.
    fn write(&mut self, bytes: &[u8]) -> Result<bool, CliError> {
        match self.out.write_all(bytes).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(CliError::new(
                Exit::Failed,
                format!("cannot write the packets: {error}"),
            )),
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", plural(self.shown, "packet"))?;
        if self.limited > 0 {
            write!(
                f,
                ", {} more than the agent tells of per second",
                self.limited
            )?;
        }
        if self.lost > 0 {
            write!(f, ", {} lost on the way", self.lost)?;
        }
        Ok(())
    }
}
