//! What is wrong with a certificate, in words that complete "certificate ...".

#![forbid(unsafe_code)]

use rustls::CertificateError;
use rustls::pki_types::{ServerName, UnixTime};

/// The words.
pub fn words(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("expired {} ago", between(*not_after, *time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("is not valid for another {}", between(*time, *not_before))
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => wrong_name(expected, presented),
        CertificateError::UnknownIssuer => "is signed by nobody who is trusted".to_owned(),
        CertificateError::BadSignature => {
            "is signed with another key than the trusted CA of that name has".to_owned()
        }
        CertificateError::BadEncoding => "is damaged".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for servers, by its extended key usage".to_owned()
        }
        other if is_of_a_ca(other) => {
            "is a CA's own; to trust it as it is, put it into `ca_file`".to_owned()
        }
        other => format!("is not taken: {}", other.to_string().escape_debug()),
    }
}

/// Whether the only thing wrong with it is that it is marked as one of a CA. Whether it is valid now has been looked at
/// before that.
pub fn is_of_a_ca(error: &CertificateError) -> bool {
    match error {
        CertificateError::Other(other) => {
            let error = other.0.downcast_ref::<webpki::Error>();
            error.is_some_and(|error| *error == webpki::Error::CaUsedAsEndEntity)
        }
        _ => false,
    }
}

fn wrong_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    let expected = expected.to_str();
    let names: Vec<String> = presented.iter().map(|name| bare(name)).collect();
    let shown = &names[..names.len().min(NAMES_SHOWN)];
    match (shown, names.len() - shown.len()) {
        ([], _) => format!("has no subjectAltName, and should be for {expected}"),
        (shown, 0) => format!("is for {}, not {expected}", shown.join(" and ")),
        (shown, more) => {
            format!(
                "is for {} and {more} more, not {expected}",
                shown.join(", ")
            )
        }
    }
}

const NAMES_SHOWN: usize = 3;

/// The name in `DnsName("web.example")` or `IpAddress(192.0.2.1)`, which a stranger may have chosen.
fn bare(presented: &str) -> String {
    let inner = presented
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .unwrap_or(presented);
    let name: String = inner.trim_matches('"').chars().take(NAME_MAX).collect();
    name.escape_debug().to_string()
}

/// Longest DNS name.
const NAME_MAX: usize = 253;

/// Coarse, so that a reason does not change with every check.
fn between(from: UnixTime, to: UnixTime) -> String {
    let secs = to.as_secs().saturating_sub(from.as_secs());
    match (secs / 86_400, secs / 3_600) {
        (0, 0) => "less than an hour".to_owned(),
        (0, 1) => "1 hour".to_owned(),
        (0, hours) => format!("{hours} hours"),
        (1, _) => "1 day".to_owned(),
        (days, _) => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(name: &str) -> ServerName<'static> {
        ServerName::try_from(name.to_owned()).unwrap()
    }

    #[test]
    fn names_that_it_is_for() {
        let cases: [(&[&str], &str); 5] = [
            (
                &["DnsName(\"other.example\")"],
                "is for other.example, not web.example",
            ),
            (
                &["DnsName(\"a.example\")", "IpAddress(192.0.2.1)"],
                "is for a.example and 192.0.2.1, not web.example",
            ),
            (
                &[
                    "DnsName(\"a\")",
                    "DnsName(\"b\")",
                    "DnsName(\"c\")",
                    "DnsName(\"d\")",
                    "DnsName(\"e\")",
                ],
                "is for a, b, c and 2 more, not web.example",
            ),
            (&[], "has no subjectAltName, and should be for web.example"),
            (
                &["DnsName(\"\u{1b}[31m\")"],
                "is for \\u{1b}[31m, not web.example",
            ),
        ];
        for (presented, expected) in cases {
            let presented: Vec<String> = presented.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(wrong_name(&name("web.example"), &presented), expected);
        }
    }

    #[test]
    fn spans_of_time_are_coarse() {
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        for (secs, expected) in [
            (0, "less than an hour"),
            (3_599, "less than an hour"),
            (3_600, "1 hour"),
            (86_399, "23 hours"),
            (86_400, "1 day"),
            (20 * 86_400, "20 days"),
        ] {
            assert_eq!(between(at(1_000), at(1_000 + secs)), expected);
        }
    }
}
