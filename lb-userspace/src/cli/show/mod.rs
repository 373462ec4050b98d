//! Each answer as a person reads it.

pub(super) mod backend;
pub(super) mod bench;
pub(super) mod bgp;
pub(super) mod bpf;
pub(super) mod checks;
pub(super) mod diff;
pub(super) mod doctor;
pub(super) mod drain;
pub(super) mod drops;
pub(super) mod explain;
pub(super) mod peer;
pub(super) mod routes;
pub(super) mod service;
pub(super) mod status;

use comfy_table::Cell;

use super::output::{notice, verdict};
use crate::model::AdminState;
use crate::status::Health;

fn health(health: Health) -> Cell {
    match health {
        Health::Up => verdict("up", true),
        Health::Down => verdict("down", false),
        Health::Unknown => notice("unknown"),
    }
}

fn admin(admin: AdminState) -> Cell {
    match admin {
        AdminState::Ready => Cell::new("ready"),
        AdminState::Draining | AdminState::Disabled => notice(admin.to_string()),
    }
}
