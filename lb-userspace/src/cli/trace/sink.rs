//! What is made of packets: a line, a line of JSON, or a block of a file for Wireshark.

#![forbid(unsafe_code)]

use serde::Serialize;

use super::super::args::Format;
use super::super::output::Style;
use super::Totals;
use super::packet::Summary;
use super::pcapng::Pcapng;
use crate::status::{SCHEMA, TracedPacket};

/// One of them.
pub(super) enum Sink {
    Lines,
    Json,
    Pcapng(Pcapng),
}

/// A line of `anylb trace --json`.
#[derive(Serialize)]
struct Line<'p> {
    schema: &'static str,
    #[serde(flatten)]
    packet: &'p TracedPacket,
    #[serde(flatten)]
    summary: Summary,
}

/// The last of them.
#[derive(Serialize)]
struct LastLine {
    schema: &'static str,
    #[serde(flatten)]
    totals: Totals,
}

impl Sink {
    pub(super) fn new(pcap: bool, style: Style) -> Self {
        match (pcap, style.format) {
            (true, _) => Sink::Pcapng(Pcapng::default()),
            (false, Format::Json) => Sink::Json,
            (false, Format::Table | Format::Wide) => Sink::Lines,
        }
    }

    /// Whether the totals are among what it makes.
    pub(super) fn tells_totals(&self) -> bool {
        matches!(self, Sink::Json)
    }

    /// Before the first packet.
    pub(super) fn begin(&self) -> Vec<u8> {
        match self {
            Sink::Lines => line(["TIME (UTC)", "IFACE", "ACTION", "EXIT", "LENGTH", "PACKET"]),
            Sink::Json => Vec::new(),
            Sink::Pcapng(_) => Pcapng::begin(),
        }
    }

    /// Of one packet.
    pub(super) fn packet(&mut self, packet: &TracedPacket) -> Vec<u8> {
        let summary = || Summary::of(&packet.bytes);
        match self {
            Sink::Lines => line([
                &clock(packet.time_ns),
                &packet.interface,
                &packet.action,
                &packet.exit,
                &packet.length.to_string(),
                &words(&summary()),
            ]),
            Sink::Json => json(&Line {
                schema: SCHEMA,
                packet,
                summary: summary(),
            }),
            Sink::Pcapng(file) => file.packet(packet),
        }
    }

    /// Behind the last packet.
    pub(super) fn end(&self, totals: Totals) -> Vec<u8> {
        match self {
            Sink::Lines => Vec::new(),
            Sink::Json => json(&LastLine {
                schema: SCHEMA,
                totals,
            }),
            Sink::Pcapng(file) => file.end(totals.limited + totals.lost),
        }
    }
}

fn line([time, interface, action, exit, length, packet]: [&str; 6]) -> Vec<u8> {
    format!("{time:<15}  {interface:<8}  {action:<8}  {exit:<14}  {length:>6}  {packet}\n").into()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Values of our own: no map with keys that are no text, nothing that fails.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// `192.0.2.7:4001 > 198.51.100.1:80 tcp SYN`.
fn words(summary: &Summary) -> String {
    let ends = match (&summary.source, &summary.destination) {
        (Some(source), Some(destination)) => format!("{source} > {destination} "),
        _ => String::new(),
    };
    let words = format!("{ends}{} {}", summary.protocol, summary.detail);
    words.trim_end().to_owned()
}

/// Time of day: `22:13:20.123456`.
fn clock(time_ns: u64) -> String {
    let (secs, micros) = (
        time_ns / 1_000_000_000 % 86_400,
        time_ns / 1_000 % 1_000_000,
    );
    let (hours, minutes) = (secs / 3_600, secs / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{micros:06}", secs % 60)
}
