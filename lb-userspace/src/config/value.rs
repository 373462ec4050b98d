//! Values as they are written: numbers, durations, addresses, names. Pure functions from a value to what it means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::diagnostic::Diagnostic;
use super::fields::NOT_SUPPORTED;
use super::place::Span;
use crate::bgp::{LinkBandwidth, PeerName, first_host, is_half_an_address};

/// Why a value is not taken. The key and the place are put to it by whoever knows them.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    why: Why,
    help: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Why {
    /// Completes "`key` ...".
    Value(String),
    /// Completes "`key`: ..."; says what the value is not.
    Item(String),
    /// Completes "... is not supported in this version"; names the value.
    NotSupported(String),
}

impl Reject {
    /// A reason that completes "`key` ...".
    pub fn value(reason: &str) -> Self {
        Reject {
            why: Why::Value(reason.to_owned()),
            help: None,
        }
    }

    /// A value that is not what it should be, such as "an address".
    pub fn is_no(written: &str, what: &str) -> Self {
        Reject {
            why: Why::Item(format!("{written:?} is no {what}")),
            help: None,
        }
    }

    /// The wrong type.
    pub fn of_type(value: &DeValue<'_>, expected: &str) -> Self {
        let found = match value.type_str() {
            "integer" => "an integer",
            "array" => "a list",
            "table" => "a table",
            "float" => "a number with a fraction",
            "boolean" => "true or false",
            "datetime" => "a date or time",
            _ => "a string",
        };
        Reject::value(&format!("must be {expected}, not {found}"))
    }

    /// A value of a later version.
    pub fn not_supported(what: &str) -> Self {
        Reject {
            why: Why::NotSupported(what.to_owned()),
            help: None,
        }
    }

    /// With the fix.
    pub fn help(self, help: &str) -> Self {
        Reject {
            help: Some(help.to_owned()),
            ..self
        }
    }

    /// With the fix, if `applies`.
    pub fn help_if(self, applies: bool, help: &str) -> Self {
        if applies { self.help(help) } else { self }
    }

    /// The error of the value of `key` at `span`.
    pub fn at(self, key: &str, span: &Span) -> Diagnostic {
        let error = match self.why {
            Why::Value(reason) => Diagnostic::at(span, format!("`{key}` {reason}")),
            Why::Item(reason) => Diagnostic::at(span, format!("`{key}`: {reason}")),
            Why::NotSupported(what) => {
                Diagnostic::at(span, format!("`{key}`: {what} {NOT_SUPPORTED}"))
            }
        };
        match self.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

/// What reading a value gives.
pub type Read<T> = Result<T, Reject>;

/// A string.
pub fn text<'v>(value: &'v DeValue<'_>, expected: &str) -> Read<&'v str> {
    match value {
        DeValue::String(text) => Ok(text),
        other => Err(Reject::of_type(other, expected)),
    }
}

/// An integer of `range`.
pub fn integer<T: TryFrom<u64>>(value: &DeValue<'_>, range: RangeInclusive<u64>) -> Read<T> {
    let (least, most) = (range.start(), range.end());
    let number = match value {
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok(),
        DeValue::String(text) => {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            return Err(Reject::of_type(value, "an integer")
                .help_if(digits, &format!("write it without quotes: {text}")));
        }
        other => return Err(Reject::of_type(other, "an integer")),
    };
    number
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| range.contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| Reject::value(&format!("must be {least} to {most}")))
}

/// `true` or `false`.
pub fn flag(value: &DeValue<'_>) -> Read<bool> {
    value
        .as_bool()
        .ok_or_else(|| Reject::of_type(value, "true or false"))
        .map_err(|reject| {
            let word = value
                .as_str()
                .filter(|word| matches!(*word, "true" | "false"));
            reject.help_if(
                word.is_some(),
                &format!("write it without quotes: {}", word.unwrap_or_default()),
            )
        })
}

/// A port.
pub fn port(value: &DeValue<'_>) -> Read<u16> {
    integer(value, 1..=65535)
}

/// A path, not empty.
pub fn path(value: &DeValue<'_>) -> Read<PathBuf> {
    match text(value, "a path in quotes")? {
        "" => Err(Reject::value("is an empty path")),
        path if path.contains('\0') => Err(Reject::value("has a zero byte in it")),
        path => Ok(PathBuf::from(path)),
    }
}

/// A name that can stand in a metric's label, a log line and a command: 1 to 64 letters, digits, `.`, `_`, `-`.
pub fn name(value: &DeValue<'_>) -> Read<String> {
    if let DeValue::Integer(number) = value {
        return Err(Reject::of_type(value, "a name in quotes")
            .help(&format!("put it in quotes: \"{number}\"")));
    }
    let name = text(value, "a name in quotes")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 64 {
        return Err(Reject::value("must have 1 to 64 characters"));
    }
    match name.chars().find(|c| !fits(*c)) {
        Some(c) => Err(Reject::value(&format!("has the character {c:?} in it"))
            .help("use letters, digits, `.`, `_` and `-`")),
        None => Ok(name.to_owned()),
    }
}

/// A duration in `range`: a whole number and a unit.
pub fn duration(value: &DeValue<'_>, range: RangeInclusive<Duration>) -> Read<Duration> {
    let written = match value {
        DeValue::Integer(number) => {
            return Err(Reject::of_type(value, "a duration in quotes")
                .help(&format!("write the unit: \"{number}s\"")));
        }
        other => text(other, "a duration in quotes")?,
    };
    let units = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let ms = measure(written, &units).ok_or_else(|| {
        Reject::is_no(written, "duration")
            .help("a whole number and one of ms, s, m, h, d, such as \"1500ms\"")
    })?;
    let duration = Duration::from_millis(ms);
    if range.contains(&duration) {
        return Ok(duration);
    }
    let (least, most) = (in_words(*range.start()), in_words(*range.end()));
    Err(Reject::value(&format!("must be {least} to {most}")))
}

/// A whole number and one of these units, in what they are made of; none: it is written otherwise.
fn measure(written: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = written.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = written.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    Some(number.saturating_mul(*size))
}

/// A duration as it is written in the file, in the largest unit that needs no fraction.
pub fn in_words(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms == 0 {
        return "0s".into();
    }
    [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ]
    .into_iter()
    .find(|(unit_ms, _)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms))
    .map_or_else(
        || format!("{ms}ms"),
        |(unit_ms, unit)| format!("{}{unit}", ms / unit_ms),
    )
}

/// Bits per second, in thousands at least.
pub fn bandwidth(value: &DeValue<'_>) -> Read<LinkBandwidth> {
    const MOST: u64 = 1_000_000_000_000_000;
    let written = text(value, "a bandwidth in quotes")?;
    let units = [
        ("K", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let bits = measure(written, &units).ok_or_else(|| {
        Reject::is_no(written, "bandwidth")
            .help("a whole number and one of K, M, G, T, in bits per second, such as \"10G\"")
    })?;
    if !(1_000..=MOST).contains(&bits) {
        return Err(Reject::value("must be \"1K\" to \"1000T\""));
    }
    Ok(LinkBandwidth { bits })
}

/// An address that one host can have and others can reach.
pub fn address(value: &DeValue<'_>) -> Read<IpAddr> {
    let written = text(value, "an address in quotes")?;
    let address = match written.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => return Err(no_address(written)),
    };
    let Some(what) = unusable(address) else {
        return Ok(address);
    };
    let reject = Reject::value(&format!("must be a unicast address, {address} is {what}"));
    Err(match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => reject.help(&format!("write \"{v4}\"")),
            None => reject,
        },
        IpAddr::V4(_) => reject,
    })
}

/// A BGP peer by the name that its section gives it.
pub fn peer(value: &DeValue<'_>) -> Read<PeerName> {
    match value.as_str() {
        Some(written) if written.contains('/') => range(value),
        Some(written) => match written.parse() {
            Ok(interface @ PeerName::Interface(_)) => Ok(interface),
            Ok(_) | Err(_) => peer_address(value),
        },
        None => peer_address(value),
    }
}

/// The transport address of a peer; a link-local one with its interface.
pub fn peer_address(value: &DeValue<'_>) -> Read<PeerName> {
    let written = value.as_str().unwrap_or_default();
    let bare: Option<Ipv6Addr> = written.split('%').next().and_then(|bare| bare.parse().ok());
    match bare.filter(Ipv6Addr::is_unicast_link_local) {
        Some(_) if written.contains('%') => written
            .parse()
            .map_err(|_| Reject::value("must have the name of an interface behind `%`")),
        Some(bare) => Err(
            Reject::value("says nothing without its interface").help(&format!(
                "write \"{bare}%eth0\", with the interface that the peer is behind"
            )),
        ),
        None => reachable(value).map(PeerName::from),
    }
}

/// The interface that a peer advertises itself on.
pub fn peer_interface(value: &DeValue<'_>) -> Read<PeerName> {
    let written = text(value, "the name of an interface in quotes")?;
    match written.parse() {
        Ok(name @ PeerName::Interface(_)) => Ok(name),
        Ok(PeerName::Address(_) | PeerName::LinkLocal(..)) => {
            Err(
                Reject::is_no(written, "name of an interface").help(&format!(
                    "for a peer with this address write `address = \"{written}\"`"
                )),
            )
        }
        Ok(PeerName::Range(_)) | Err(_) => {
            let digits = is_half_an_address(written);
            Err(Reject::is_no(written, "name of an interface")
                .help_if(digits, "one of digits alone would read as an address")
                .help_if(written.len() > 15, "the kernel's have at most 15 bytes"))
        }
    }
}

/// The prefix that peers connect from.
pub fn range(value: &DeValue<'_>) -> Read<PeerName> {
    let net = net(value)?;
    let first = first_host(&net);
    match unusable(first) {
        Some(what) if !first.is_loopback() && net.prefix_len() > 0 => Err(Reject::value(&format!(
            "must hold unicast addresses, {first} is {what}"
        ))),
        _ => Ok(net.into()),
    }
}

/// An address that this host can reach; its own loopback is one.
pub fn reachable(value: &DeValue<'_>) -> Read<IpAddr> {
    let loopback = value
        .as_str()
        .and_then(|written| written.parse::<IpAddr>().ok())
        .filter(IpAddr::is_loopback);
    match loopback {
        Some(address) => Ok(address),
        None => address(value),
    }
}

/// An IPv4 address that one host can have and others can reach.
pub fn ipv4(value: &DeValue<'_>) -> Read<Ipv4Addr> {
    match address(value)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(Reject::value("must be an IPv4 address, not IPv6")),
    }
}

/// An IPv6 address that one host can have and others can reach.
pub fn ipv6(value: &DeValue<'_>) -> Read<Ipv6Addr> {
    match address(value)? {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(_) => Err(Reject::value("must be an IPv6 address, not IPv4")),
    }
}

fn no_address(written: &str) -> Reject {
    let reject = Reject::is_no(written, "address");
    if written.parse::<SocketAddr>().is_ok() {
        return reject.help("an address without port is expected");
    }
    if let Some((head, _)) = written.split_once('%')
        && head.parse::<IpAddr>().is_ok()
    {
        return Reject::not_supported("an address with a zone");
    }
    if let Some(bare) = written
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        && bare.parse::<IpAddr>().is_ok()
    {
        return reject.help(&format!("write it without brackets: \"{bare}\""));
    }
    match written.parse::<IpNet>() {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => reject.help(&format!(
            "write it without prefix length: \"{}\"",
            net.addr()
        )),
        Ok(_) => reject.help("a single address is expected, not a prefix"),
        Err(_) => reject.help("such as \"192.0.2.10\" or \"2001:db8::10\""),
    }
}

/// What is wrong with `address` for a host that others must reach.
pub fn unusable(address: IpAddr) -> Option<&'static str> {
    match address {
        a if a.is_unspecified() => Some("unspecified"),
        a if a.is_loopback() => Some("loopback"),
        a if a.is_multicast() => Some("multicast"),
        IpAddr::V4(a) if a.is_broadcast() => Some("broadcast"),
        IpAddr::V4(a) if a.is_link_local() => Some("link-local"),
        IpAddr::V4(a) if a.octets()[0] == 0 => Some("of \"this network\""),
        IpAddr::V6(a) if a.is_unicast_link_local() => Some("link-local"),
        IpAddr::V6(a) if a.to_ipv4_mapped().is_some() => Some("an IPv4 address in IPv6 form"),
        _ => None,
    }
}

/// An address of this host and a port.
pub fn socket(value: &DeValue<'_>) -> Read<SocketAddr> {
    let written = text(value, "an address and port in quotes")?;
    let reject = || Reject::is_no(written, "address with port");
    match written.parse::<SocketAddr>() {
        Ok(socket) if socket.port() == 0 => Err(Reject::value("must have a port from 1 to 65535")),
        Ok(socket) => Ok(socket),
        Err(_) => Err(match written.parse::<IpAddr>() {
            Ok(address) => reject().help(&format!(
                "add a port, such as \"{}\"",
                SocketAddr::new(address, 9488)
            )),
            Err(_) => reject().help("such as \"127.0.0.1:9488\" or \"[::1]:9488\""),
        }),
    }
}

/// A prefix that does not hold everything.
pub fn prefix(value: &DeValue<'_>) -> Read<IpNet> {
    let net = net(value)?;
    if net.prefix_len() == 0 {
        return Err(
            Reject::value("would trust every address").help("name the prefixes that you own")
        );
    }
    Ok(net)
}

/// A prefix without host bits.
pub fn net(value: &DeValue<'_>) -> Read<IpNet> {
    let written = text(value, "a prefix in quotes")?;
    let net = match (written.parse::<IpNet>(), written.parse::<IpAddr>()) {
        (Ok(net), _) => net,
        (Err(_), Ok(address)) => {
            return Err(Reject::value("must have a prefix length").help(&format!(
                "for this one address write \"{}\"",
                IpNet::from(address)
            )));
        }
        (Err(_), Err(_)) => {
            return Err(Reject::is_no(written, "prefix")
                .help("such as \"192.0.2.0/24\" or \"2001:db8::/64\""));
        }
    };
    if net.trunc() != net {
        return Err(Reject::value("has bits set behind the prefix length")
            .help(&format!("did you mean \"{}\"?", net.trunc())));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &str) -> Option<Duration> {
        let value = DeValue::String(written.into());
        duration(&value, Duration::ZERO..=Duration::from_secs(86_400)).ok()
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let cases = [
            ("0s", Some(0)),
            ("1500ms", Some(1_500)),
            ("90s", Some(90_000)),
            ("90m", Some(5_400_000)),
            ("24h", Some(86_400_000)),
            ("1d", Some(86_400_000)),
            ("2d", None),
            ("18446744073709551615d", None),
            ("18446744073709551616s", None),
            ("1h30m", None),
            ("1.5s", None),
            ("-1s", None),
            ("1 s", None),
            ("1S", None),
            ("s", None),
            ("1", None),
            ("", None),
        ];
        for (written, ms) in cases {
            assert_eq!(read(written), ms.map(Duration::from_millis), "{written:?}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_written() {
        for written in ["1500ms", "59s", "90m", "23h", "1d"] {
            let duration = read(written).expect("in range");
            assert_eq!(in_words(duration), written);
        }
        assert_eq!(in_words(Duration::from_secs(7200)), "2h");
    }
}
