//! Commands that ask nobody.

use super::error::CliError;
use super::output::{Answer, Style};
use crate::status::{Envelope, Version};

/// `anylb version`. No agent is asked, so its generation is 0.
pub(super) fn version(style: Style) -> Result<Answer, CliError> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION").to_string(),
    };
    Answer::new(style, &Envelope::new(0, version), |body| {
        format!("anylb {}\n", body.version)
    })
}
