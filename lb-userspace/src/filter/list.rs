//! Prefixes of both families.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

/// One list of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixList {
    /// Where it was read; none: it is written in the configuration.
    pub file: Option<PathBuf>,
    /// What is in it.
    pub prefixes: Arc<Prefixes>,
}

/// Prefixes, each once and in order: of those that begin together, the shorter first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    v4: Vec<(u32, u8)>,
    v6: Vec<(u128, u8)>,
}

/// A line that is no prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// Of its first character, from 1.
    pub column: usize,
    /// What is wrong with it. It does not say what is there: the file may be one that its reader may not read.
    pub what: NoPrefix,
}

/// Why a text is no prefix of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPrefix {
    /// Neither a prefix nor an address.
    #[error("no prefix")]
    Form,
    /// Not all bits behind the length are zero.
    #[error("bits are set behind the prefix length")]
    HostBits,
    /// No packet has such a source.
    #[error("an IPv4 prefix in IPv6 form")]
    Mapped,
}

impl std::fmt::Display for PrefixList {
    /// How many, and where they come from; a few by themselves.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.prefixes.len();
        let noun = if count == 1 { "prefix" } else { "prefixes" };
        match &self.file {
            Some(file) => write!(f, "{count} {noun} of {}", file.display()),
            None if count == 0 => f.write_str("no prefix"),
            None if count <= SHOWN_MAX => {
                let all: Vec<String> = self.prefixes.iter().map(|net| net.to_string()).collect();
                f.write_str(&all.join(", "))
            }
            None => write!(f, "{count} {noun}"),
        }
    }
}

/// More of them are only counted.
const SHOWN_MAX: usize = 8;

impl FromIterator<IpNet> for Prefixes {
    fn from_iter<I: IntoIterator<Item = IpNet>>(all: I) -> Self {
        let mut found = Self::default();
        all.into_iter().for_each(|prefix| found.push(prefix));
        found.in_order()
    }
}

impl Prefixes {
    /// One prefix or address on each line; what follows `#` or `;` is a comment.
    pub fn of_text(text: &str) -> Result<Self, BadLine> {
        let mut found = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let written = line.find(['#', ';']).map_or(line, |end| &line[..end]);
            let written = written.trim();
            if written.is_empty() {
                continue;
            }
            match prefix(written) {
                Ok(prefix) => found.push(prefix),
                Err(what) => {
                    let before = &line[..line.len() - line.trim_start().len()];
                    return Err(BadLine {
                        line: number,
                        column: before.chars().count() + 1,
                        what,
                    });
                }
            }
        }
        Ok(found.in_order())
    }

    fn push(&mut self, prefix: IpNet) {
        match prefix {
            IpNet::V4(net) => self.v4.push((net.network().into(), net.prefix_len())),
            IpNet::V6(net) => self.v6.push((net.network().into(), net.prefix_len())),
        }
    }

    fn in_order(mut self) -> Self {
        self.v4.sort_unstable();
        self.v4.dedup();
        self.v4.shrink_to_fit();
        self.v6.sort_unstable();
        self.v6.dedup();
        self.v6.shrink_to_fit();
        self
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().filter_map(|&(network, length)| {
            Some(ipnet::Ipv4Net::new(network.into(), length).ok()?.into())
        });
        let v6 = self.v6.iter().filter_map(|&(network, length)| {
            Some(ipnet::Ipv6Net::new(network.into(), length).ok()?.into())
        });
        v4.chain(v6)
    }

    /// Those of IPv4: network as a number, and length.
    pub fn v4(&self) -> &[(u32, u8)] {
        &self.v4
    }

    /// Those of IPv6.
    pub fn v6(&self) -> &[(u128, u8)] {
        &self.v6
    }

    /// The longest prefix around an address.
    pub fn longest(&self, address: IpAddr) -> Option<IpNet> {
        match address {
            IpAddr::V4(v4) => (0..=32).rev().find_map(|length| {
                let net = ipnet::Ipv4Net::new(v4, length).ok()?.trunc();
                let wanted = (net.addr().into(), length);
                self.v4.binary_search(&wanted).ok().map(|_| net.into())
            }),
            IpAddr::V6(v6) => (0..=128).rev().find_map(|length| {
                let net = ipnet::Ipv6Net::new(v6, length).ok()?.trunc();
                let wanted = (net.addr().into(), length);
                self.v6.binary_search(&wanted).ok().map(|_| net.into())
            }),
        }
    }

    /// How many of these `other` lacks.
    pub fn lacking_in(&self, other: &Self) -> usize {
        lacking(&self.v4, &other.v4) + lacking(&self.v6, &other.v6)
    }
}

fn lacking<T: Ord>(these: &[T], other: &[T]) -> usize {
    let lacks = |one: &&T| other.binary_search(one).is_err();
    these.iter().filter(lacks).count()
}

/// A prefix of sources, or one address.
pub fn prefix(written: &str) -> Result<IpNet, NoPrefix> {
    let net = match written.contains('/') {
        false => written.parse::<IpAddr>().ok().map(IpNet::from),
        true => written.parse::<IpNet>().ok(),
    };
    let net = net.ok_or(NoPrefix::Form)?;
    if net.addr() != net.network() {
        return Err(NoPrefix::HostBits);
    }
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some() => {
            Err(NoPrefix::Mapped)
        }
        net => Ok(net),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_prefix_or_an_address_on_each_line() {
        let text = "# drop list\n\n198.51.100.0/24 ; SBL1\n\t2001:db8::/32\r\n192.0.2.7 # one\n198.51.100.0/24\n0.0.0.0/0\n";
        let found = Prefixes::of_text(text).expect("a list");
        assert_eq!(
            found.v4(),
            [(0, 0), (0xc000_0207, 32), (0xc633_6400, 24)],
            "in order"
        );
        assert_eq!(found.v6(), [(0x2001_0db8 << 96, 32)]);
        assert_eq!(found.len(), 4, "each once");
    }

    #[test]
    fn a_line_that_is_no_prefix_is_told_with_its_place() {
        for (text, line, column, what) in [
            ("192.0.2.0/24\n  web\n", 2, 3, NoPrefix::Form),
            ("192.0.2.0/33", 1, 1, NoPrefix::Form),
            ("192.0.2.0/24 192.0.3.0/24", 1, 1, NoPrefix::Form),
            ("\n\n192.0.2.1/24 # x", 3, 1, NoPrefix::HostBits),
            ("::ffff:192.0.2.0/120", 1, 1, NoPrefix::Mapped),
        ] {
            let expected = BadLine { line, column, what };
            assert_eq!(Prefixes::of_text(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn the_longest_prefix_and_what_differs() {
        let one = Prefixes::of_text("10.0.0.0/8\n10.1.0.0/16\n2001:db8::/32").expect("a list");
        let other = Prefixes::of_text("10.0.0.0/8\n10.2.0.0/16\n::/0").expect("a list");
        let longest = |address: &str| {
            let address = address.parse().expect("an address");
            one.longest(address).map(|prefix| prefix.to_string())
        };
        assert_eq!(longest("10.1.2.3").as_deref(), Some("10.1.0.0/16"));
        assert_eq!(longest("10.2.2.3").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(longest("11.2.2.3"), None);
        assert_eq!(longest("2001:db8::9").as_deref(), Some("2001:db8::/32"));
        assert_eq!((one.lacking_in(&other), other.lacking_in(&one)), (2, 2));
    }
}
