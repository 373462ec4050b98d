//! `anylb bench`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use clap::Args;
use lb_common::generator::FLOWS_MAX;

use crate::bench::frame::LARGEST;
use crate::config::unusable;

/// Longest trial.
const SECONDS_MAX: u64 = 600;
/// More than any link carries.
const RATE_MAX: u64 = 1_000_000_000;

/// `bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// The interface towards the node under test
    #[arg(long = "iface", value_name = "IFACE")]
    pub interface: String,
    /// VIP and port of a UDP service of the node
    #[arg(long, value_name = "VIP:PORT", value_parser = vip)]
    pub to: SocketAddr,
    /// The node's address on the link; without it, where the route to the VIP leads
    #[arg(long, value_name = "ADDRESS", conflicts_with = "mac")]
    pub via: Option<IpAddr>,
    /// The node's MAC address, where nothing shall be asked
    #[arg(long, value_name = "MAC")]
    pub mac: Option<Mac>,
    /// Different sources, one after the other; 1 measures one queue
    #[arg(
        long,
        value_name = "N",
        default_value = "65536",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(FLOWS_MAX))
    )]
    pub flows: u32,
    /// Frame sizes with their checksum; without it the smallest, 512, and 1518 or what has room for a tunnel header
    #[arg(
        long,
        value_name = "BYTES,...",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(64..=i64::from(LARGEST))
    )]
    pub frame: Vec<u32>,
    /// Length of a trial
    #[arg(
        long,
        value_name = "N",
        default_value = "10",
        value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX)
    )]
    pub seconds: u64,
    /// One trial at this rate for every frame size, packets per second
    #[arg(long, value_name = "PPS", value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    pub rate: Option<u64>,
    /// Loss that the search takes for none
    #[arg(
        long,
        value_name = "PERCENT",
        default_value = "0",
        conflicts_with = "rate",
        value_parser = loss
    )]
    pub loss: f64,
    /// CPUs that send; without it, all that this process may use
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub cpus: Option<u16>,
    /// Do it, with all that is said above
    #[arg(long)]
    pub yes: bool,
}

/// `02:00:00:00:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// Why a [`Mac`] cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write the MAC address of one interface as 02:00:00:00:00:01")]
pub struct MacError;

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let byte = |part: &str| match part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true if part.len() == 2 => u8::from_str_radix(part, 16).map_err(|_| MacError),
            _ => Err(MacError),
        };
        let bytes: Vec<u8> = text.split(':').map(byte).collect::<Result<_, _>>()?;
        let mac: [u8; 6] = bytes.try_into().map_err(|_| MacError)?;
        // The lowest bit of the first byte is that of groups.
        match mac[0] & 1 == 0 && mac != [0; 6] {
            true => Ok(Self(mac)),
            false => Err(MacError),
        }
    }
}

/// As services have them, so that nothing is sent to a group or to this box.
fn vip(text: &str) -> Result<SocketAddr, String> {
    let Ok(vip) = text.parse::<SocketAddr>() else {
        return Err("write VIP:PORT, an IPv6 address in brackets".to_owned());
    };
    match unusable(vip.ip()) {
        Some(kind) => Err(format!("{} is {kind}, and no VIP", vip.ip())),
        None if vip.port() == 0 => Err("write a port from 1 to 65535".to_owned()),
        None => Ok(vip),
    }
}

fn loss(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=50.0).contains(&percent) => Ok(percent),
        _ => Err("write 0 to 50".to_owned()),
    }
}
