//! `anylb backend drain --wait`.

use super::super::output::{plural, span};
use crate::status::{DrainOutcome, Drained};

/// What was done, how it ended, and what to do next where it did not end well.
pub(in super::super) fn text(drained: &Drained, backend: &str) -> String {
    let waited = span(drained.waited_secs);
    let end = match &drained.outcome {
        DrainOutcome::Empty => format!("{backend} has no connections, after {waited}"),
        DrainOutcome::Timeout { connections } => format!(
            "{backend} still has {} after {waited} and goes on draining.\n\
             Wait on with the same command. Where the number does not fall, look whether\n\
             every node drains it and whether its pool has another that does not:\n\
             `anylb backend list`.",
            plural(*connections, "connection")
        ),
        DrainOutcome::Unknown { reason } => format!(
            "unknown how many connections {backend} has; it goes on draining.\n\
             {reason}\n\
             Let its agent serve [metrics] where this node reaches it, name the port with\n\
             --metrics-port, or count on the backend itself: anylb_vip_connections there."
        ),
    };
    format!("{}\n{end}\n", drained.message)
}
