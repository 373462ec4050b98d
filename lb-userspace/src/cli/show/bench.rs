//! `anylb bench`.

use comfy_table::Cell;

use super::super::output::{CLEAR, Head, Style, notice, number, plural, text, verdict};
use crate::status::{FrameRate, LineRate, RateLimit, Trial};

const HEAD: [Head; 8] = [
    number("FRAME"),
    number("OUT/s"),
    number("BACK/s"),
    number("LOSS"),
    number("OUT Gbit/s"),
    number("BACK Gbit/s"),
    number("LINE"),
    text("LIMIT"),
];

/// What an operator says yes to.
pub(in super::super) fn risks(interface: &str) -> String {
    format!(
        "nothing was done; say --yes after having thought of this:\n\
         - {interface} is full while it runs. BGP sessions, checks and logins over it die:\n\
         \u{20} have another interface for yourself, and no router or customer on the link.\n\
         - A program is attached to {interface} meanwhile, which resets the link of many\n\
         \u{20} drivers.\n\
         - Sources are made up, of 198.18.0.0/15 (RFC 2544) or 2001:2::/48 (RFC 5180),\n\
         \u{20} and must not get out. Null-route them wherever an answer could come from:\n\
         \u{20} `ip route add blackhole 198.18.0.0/15`, `ip route add blackhole 2001:2::/48`.\n\
         - Pause frames hide loss: `ethtool -A {interface} rx off tx off`, at both ends.\n\
         docs/nics.md says how to set the node up."
    )
}

/// One line, in place of the one before.
pub(in super::super) fn progress(frame_bytes: u32, pps: u64) -> String {
    format!("{CLEAR}frames of {frame_bytes} bytes: {pps} packets per second")
}

/// One line per frame size, and what is to be said below; wide: every trial.
pub(in super::super) fn table(found: &LineRate, style: Style) -> String {
    let rows = found.frames.iter().flat_map(|frame| match style.wide() {
        true => trials(frame),
        false => frame
            .telling()
            .map(|trial| row(frame, trial))
            .into_iter()
            .collect(),
    });
    let mut table = style.table(HEAD, rows.collect());
    table.push_str(&format!(
        "\n{} from {} to {}, {}\n",
        plural(found.flows, "flow"),
        found.interface,
        found.vip,
        match found.line_mbps {
            Some(mbps) => format!("line {mbps} Mbit/s"),
            None => "line rate unknown".to_owned(),
        }
    ));
    for note in notes(found) {
        table.push_str(&format!("! {note}\n"));
    }
    table
}

/// All of a size, with the limit beside the one that shows it.
fn trials(frame: &FrameRate) -> Vec<[Cell; 8]> {
    let telling = frame.telling();
    let rows = frame.trials.iter().map(|trial| {
        let mut cells = row(frame, trial);
        if telling != Some(trial) {
            cells[7] = Cell::new("");
        }
        cells
    });
    rows.collect()
}

fn row(frame: &FrameRate, trial: &Trial) -> [Cell; 8] {
    [
        Cell::new(frame.frame_bytes),
        Cell::new(trial.sent_pps),
        Cell::new(trial.returned_pps),
        verdict(loss(trial), trial.lost == 0),
        Cell::new(format!("{:.3}", trial.sent_gbps)),
        Cell::new(format!("{:.3}", trial.returned_gbps)),
        Cell::new(match trial.line_percent {
            Some(percent) => format!("{percent:.1} %"),
            None => "-".to_owned(),
        }),
        limit(frame.limit),
    ]
}

/// What is not none must not look like it.
fn loss(trial: &Trial) -> String {
    match trial.loss_percent {
        percent if trial.lost > 0 && percent < 0.001 => "<0.001 %".to_owned(),
        percent => format!("{percent:.3} %"),
    }
}

fn limit(limit: Option<RateLimit>) -> Cell {
    match limit {
        None => Cell::new("-"),
        Some(RateLimit::Loss) => Cell::new("loss"),
        Some(RateLimit::Line) => Cell::new("line"),
        Some(RateLimit::Generator) => notice("generator"),
    }
}

fn notes(found: &LineRate) -> Vec<String> {
    let mut notes = Vec::new();
    for frame in &found.frames {
        let size = frame.frame_bytes;
        if frame.limit == Some(RateLimit::Generator) {
            notes.push(format!(
                "{size} bytes: the generator makes no more; the node may take more"
            ));
        }
        if frame.limit == Some(RateLimit::Loss) && frame.throughput_pps.is_none() {
            notes.push(format!("{size} bytes: packets are lost at every rate"));
        }
        let Some(trial) = frame.telling() else {
            continue;
        };
        match trial.not_taken {
            Some(0) => {}
            Some(count) => notes.push(format!(
                "{size} bytes: the driver here did not take {count} of {} packets",
                trial.offered
            )),
            None => notes.push(format!(
                "{size} bytes: unknown what the driver here took; what it did not counts as loss"
            )),
        }
    }
    notes.extend(found.problem.clone());
    notes
}
