//! Whole files: good ones to their model, bad ones to the whole message.

mod good;

use std::path::Path;

use super::host::FakeHost;
use super::{Diagnostics, parse};
use crate::model::Settings;

/// A file with every part that most tests do not look at.
const GOOD: &str = include_str!("good.toml");

fn host() -> FakeHost {
    let host = FakeHost {
        interfaces: vec!["lo".into(), "eth0".into()],
        ..FakeHost::default()
    };
    host.file(
        "/etc/anylb/hash.key",
        0o640,
        "000102030405060708090a0b0c0d0e0f\n",
    )
    .file("/etc/anylb/tor1.key", 0o600, "secret\n")
}

fn read(text: &str) -> Result<Settings, Diagnostics> {
    parse(text, Path::new("/etc/anylb/anylb.toml"), &host())
}
