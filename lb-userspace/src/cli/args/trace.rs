//! `anylb trace`.

use std::net::IpAddr;
use std::num::ParseIntError;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;

use crate::model::Vip;

/// `trace`.
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// Only packets to this VIP, or to this address of one
    #[arg(long, value_name = "VIP")]
    pub vip: Option<Vip>,
    /// Only packets of these clients: 192.0.2.0/24, or one address
    #[arg(long, value_name = "CIDR", value_parser = prefix)]
    pub src: Option<IpNet>,
    /// Only packets that leave there: `anylb drops -o wide` has the names of drops
    #[arg(long, value_name = "NAME")]
    pub exit: Option<String>,
    /// One packet in N, on each CPU
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: u32,
    /// End after N packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after this time: 10s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Write packets to FILE (pcapng, for Wireshark) instead of showing them; `-`: to standard output
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| "write 192.0.2.0/24, 2001:db8::/32, or one address".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let wrong = |_: ParseIntError| "write 10s, 5m or 1h".to_owned();
    let number: u64 = digits.parse().map_err(wrong)?;
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("write 10s, 5m or 1h".to_owned()),
    };
    let secs = number.checked_mul(unit).filter(|secs| *secs > 0);
    secs.map(Duration::from_secs)
        .ok_or_else(|| "at least one second".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_prefixes() {
        for (text, secs) in [
            ("10s", Some(10)),
            ("5m", Some(300)),
            ("1h", Some(3600)),
            ("7", Some(7)),
            ("0s", None),
            ("s", None),
            ("1d", None),
            ("99999999999999999999h", None),
            ("", None),
        ] {
            assert_eq!(duration(text).ok(), secs.map(Duration::from_secs), "{text}");
        }
        for (text, expected) in [
            ("192.0.2.9", Some("192.0.2.9/32")),
            ("192.0.2.0/24", Some("192.0.2.0/24")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("host", None),
            ("192.0.2.0/33", None),
        ] {
            assert_eq!(
                prefix(text).ok().map(|net| net.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
    }
}
