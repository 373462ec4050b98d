//! What `anylb bench` tells.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// `anylb bench`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineRate {
    /// The interface that packets left by and came back to.
    pub interface: String,
    /// What they were sent to.
    pub vip: SocketAddr,
    /// Sources.
    pub flows: u32,
    /// CPUs that sent.
    pub cpus: usize,
    /// Speed of the link in Mbit/s; none where the driver does not tell.
    pub line_mbps: Option<u64>,
    /// Loss that was taken for none, percent.
    pub loss_allowed_percent: f64,
    /// By frame size, in the order that was asked for.
    pub frames: Vec<FrameRate>,
    /// Why the figures are none, and what to do about it.
    pub problem: Option<String>,
}

/// One frame size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameRate {
    /// Bytes of a frame on its way out, checksum included.
    pub frame_bytes: u32,
    /// Throughput of RFC 1242, in packets per second: the highest rate without loss. None where every rate lost packets, and for a
    /// rate that was given.
    pub throughput_pps: Option<u64>,
    /// What keeps it from being higher; none for a rate that was given, and where the search did not end.
    pub limit: Option<RateLimit>,
    /// In the order in which they were made.
    pub trials: Vec<Trial>,
}

/// What keeps a rate from being higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateLimit {
    /// Packets are lost above it.
    Loss,
    /// This box makes no more, or its driver takes no more.
    Generator,
    /// The link is full in one direction.
    Line,
}

/// One rate for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Rate that was asked for, packets per second.
    pub asked_pps: u64,
    /// How long.
    pub seconds: u64,
    /// Packets that were made.
    pub offered: u64,
    /// Of these the driver took so many; none where the kernel does not tell.
    pub sent: Option<u64>,
    /// And so many it did not.
    pub not_taken: Option<u64>,
    /// Packets that came back.
    pub returned: u64,
    /// Packets that were sent and did not come back.
    pub lost: u64,
    /// The same of what was sent, percent.
    pub loss_percent: f64,
    /// Rate out, packets per second.
    pub sent_pps: u64,
    /// Rate back, packets per second.
    pub returned_pps: u64,
    /// Rate out on the wire, with everything between frames.
    pub sent_gbps: f64,
    /// Rate back on the wire, likewise; packets come back longer.
    pub returned_gbps: f64,
    /// The fuller direction's share of the link, percent.
    pub line_percent: Option<f64>,
}

impl FrameRate {
    /// The trial that says what there is to say: that of the throughput, or else the last.
    pub fn telling(&self) -> Option<&Trial> {
        let best = |trial: &&Trial| Some(trial.sent_pps) == self.throughput_pps;
        let lossless = self.trials.iter().filter(best);
        // Of two at the same rate, one may have lost packets.
        let lossless = lossless.min_by_key(|trial| trial.lost);
        lossless.or(self.trials.last())
    }
}
