//! Commands that ask nobody.

use std::io::IsTerminal;
use std::path::Path;

use lb_common::{abi, flow, tunnel};
use serde::Serialize;

use super::args::Format;
use super::error::CliError;
use super::output::{Answer, Style, colour_on, to_json};
use crate::config::{self, Diagnostics, Summary};
use crate::dataplane::layout;
use crate::status::{Envelope, Exit, Version};

/// `anylb version`. No agent is asked, so its generation is 0.
pub(super) fn version(style: Style) -> Result<Answer, CliError> {
    Answer::new(style, &Envelope::new(0, this_version()), |version| {
        let commit = version.commit.as_ref();
        let commit = commit.map_or_else(String::new, |commit| format!(" ({commit})"));
        format!(
            "anylb {}{commit}\nmap ABI {} ({}), tunnel header {}, flow hash {}\n",
            version.version, version.map_abi, version.map_layout, version.tunnel, version.flow_hash
        )
    })
}

fn this_version() -> Version {
    let commit = option_env!("ANYLB_COMMIT").filter(|commit| !commit.is_empty());
    Version {
        version: env!("CARGO_PKG_VERSION").to_string(),
        commit: commit.map(str::to_string),
        map_abi: abi::ABI_VERSION,
        map_layout: layout::name(),
        tunnel: tunnel::VERSION,
        flow_hash: flow::FLOW_HASH_VERSION,
    }
}

/// What `check --json` says of a good file, in the shape that a bad one has.
#[derive(Serialize)]
struct Checked {
    file: String,
    errors: [(); 0],
    summary: Summary,
}

/// `anylb check`. No agent is asked, so its generation is 0.
///
/// The errors of a file go to standard error; as JSON they are the answer.
pub(super) fn check(file: &Path, style: Style) -> Result<Answer, CliError> {
    match config::load(file) {
        Ok(settings) => {
            let checked = Checked {
                file: file.display().to_string(),
                errors: [],
                summary: Summary::of(&settings),
            };
            Answer::new(style, &Envelope::new(0, checked), |checked| {
                format!("{}: ok\n{}", checked.file, checked.summary)
            })
        }
        Err(errors) => invalid(errors, style),
    }
}

/// What is wrong with a file, on standard error; as JSON it is the answer.
pub(super) fn invalid(errors: Diagnostics, style: Style) -> Result<Answer, CliError> {
    if style.format == Format::Json {
        return Ok(Answer {
            text: to_json(&Envelope::new(0, errors))?,
            exit: Exit::ConfigInvalid,
        });
    }
    let colour = colour_on(std::io::stderr().is_terminal());
    Err(CliError::new(Exit::ConfigInvalid, errors.render(colour)))
}
