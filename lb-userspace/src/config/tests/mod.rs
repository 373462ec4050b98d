//! Whole files: good ones to their model, bad ones to the whole message.

mod any;
mod bad;
mod effective;
mod good;
mod json;
mod quickstart;
mod template;

use std::path::Path;

use super::host::FakeHost;
use super::{Diagnostics, parse};
use crate::model::Settings;

/// A file with every part that most tests do not look at.
pub(super) const GOOD: &str = include_str!("good.toml");

/// A backend's file.
const BACKEND: &str = include_str!("backend.toml");

/// A CA's certificate.
const CA: &str = include_str!("ca.pem");

/// PEM that says it is a certificate.
const NO_CERTIFICATE: &str =
    "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n";

/// A list of prefixes.
const DROP: &str = "; drop list\n192.0.2.128/25 ; SBL1\n\n2001:db8:bad::/48\n198.51.100.7\n";

fn host() -> FakeHost {
    let host = FakeHost {
        interfaces: vec!["lo".into(), "eth0".into()],
        addresses: vec![[10, 77, 0, 1].into()],
        ..FakeHost::default()
    };
    host.file(
        "/etc/anylb/hash.key",
        0o640,
        "000102030405060708090a0b0c0d0e0f\n",
    )
    .file("/etc/anylb/tor1.key", 0o600, "secret\n")
    .file(
        "/etc/anylb/open.key",
        0o644,
        "000102030405060708090a0b0c0d0e0f\n",
    )
    .file("/etc/anylb/short.key", 0o600, "0001020304\n")
    .file("/etc/anylb/two.key", 0o600, "one\ntwo\n")
    .file("/etc/anylb/empty.key", 0o600, "\n")
    .file("/etc/anylb/long.key", 0o600, &"a".repeat(81))
    .file("/etc/anylb/ca.pem", 0o644, CA)
    .file(
        "/etc/anylb/damaged.pem",
        0o644,
        &CA.replacen("MII", "M!I", 1),
    )
    .file("/etc/anylb/no-certificate.pem", 0o644, NO_CERTIFICATE)
    .file("/etc/anylb/drop.txt", 0o644, DROP)
    .file(
        "/etc/anylb/bad-list.txt",
        0o644,
        "192.0.2.0/24 # one\n\n  192.0.2.1/24\n",
    )
    .file("/etc/anylb/secret-list.txt", 0o600, "root:x:0\n")
}

pub(super) fn read(text: &str) -> Result<Settings, Diagnostics> {
    parse(text, Path::new("/etc/anylb/anylb.toml"), &host())
}
