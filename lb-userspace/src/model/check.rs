//! `pool.check`: how a backend is asked whether it serves.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;
use rustls::pki_types::{CertificateDer, ServerName};

/// `pool.check`.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What is tried.
    pub kind: CheckKind,
    /// Time between two tries of one backend, jittered by a tenth.
    pub interval: Duration,
    /// When a try has failed.
    pub timeout: Duration,
    /// Successes in a row until up.
    pub rise: u32,
    /// Failures in a row until down.
    pub fall: u32,
}

/// `check.type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// A TCP connection to the backend's own address is accepted.
    Tcp {
        /// Destination port.
        port: u16,
    },
    /// A request to the backend's own address has the expected answer. Shared, since every try takes a copy along.
    Http(Arc<HttpCheck>),
}

/// One HTTP/1.1 request and what must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// Destination port.
    pub port: u16,
    /// `https`: how TLS is spoken.
    pub tls: Option<TlsCheck>,
    /// `check.method`.
    pub method: HttpMethod,
    /// Path and query.
    pub path: PathAndQuery,
    /// The `Host` header; where unset, the backend's address and port.
    pub host: Option<HeaderValue>,
    /// Statuses that count as success.
    pub expect: Expect,
    /// What must be within the first 64 KiB of the answer's body.
    pub body: Option<String>,
}

/// `check.method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpMethod {
    /// GET.
    Get,
    /// HEAD.
    Head,
}

/// Statuses, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect(pub Vec<StatusRange>);

/// Part of `check.expect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusRange {
    /// This one, 200..=599.
    One(u16),
    /// All that begin with this digit, 2..=5.
    Class(u16),
}

impl Expect {
    /// Whether `status` is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| match *range {
            StatusRange::One(one) => status == one,
            StatusRange::Class(class) => status / 100 == class,
        })
    }
}

impl fmt::Display for Expect {
    /// "200, 204 or 3xx".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            match at {
                0 => {}
                _ if at + 1 == self.0.len() => f.write_str(" or ")?,
                _ => f.write_str(", ")?,
            }
            match range {
                StatusRange::One(one) => write!(f, "{one}")?,
                StatusRange::Class(class) => write!(f, "{class}xx")?,
            }
        }
        Ok(())
    }
}

/// How TLS is spoken to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCheck {
    /// Whom the certificate must be for, and the SNI unless it is an address; where unset, the backend's address.
    pub server_name: Option<ServerName<'static>>,
    /// Which certificates are taken.
    pub trust: Trust,
}

/// Which certificates are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Any: `verify = false`.
    Anything,
    /// Those with a chain to one of these, and valid now.
    Roots(Arc<Roots>),
}

/// Certificates that are trusted; at least one, and each can be used as a trust anchor.
#[derive(Clone, PartialEq, Eq)]
pub struct Roots(pub Vec<CertificateDer<'static>>);

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({} certificates)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::StatusRange::{Class, One};
    use super::*;

    #[test]
    fn statuses_are_one_or_a_class() {
        let expect = Expect(vec![One(200), One(404), Class(3)]);
        for (status, within) in [
            (200, true),
            (201, false),
            (300, true),
            (399, true),
            (404, true),
            (400, false),
        ] {
            assert_eq!(expect.contains(status), within, "{status}");
        }
    }

    #[test]
    fn statuses_in_words() {
        let cases = [
            (vec![Class(2)], "2xx"),
            (vec![One(200), One(204)], "200 or 204"),
            (vec![One(200), One(204), Class(3)], "200, 204 or 3xx"),
        ];
        for (ranges, words) in cases {
            assert_eq!(Expect(ranges).to_string(), words);
        }
    }
}
