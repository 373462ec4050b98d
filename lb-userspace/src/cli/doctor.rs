//! `anylb doctor`.

use std::path::Path;

use super::args::DoctorArgs;
use super::client::Client;
use super::error::CliError;
use super::output::{Answer, Style};
use super::{role, show};
use crate::doctor::{examine, judge};
use crate::status::{DoctorReport, Envelope, Exit};

/// Looks at this host. An agent is asked about its sessions where one answers; none is no error.
pub(super) fn run(args: DoctorArgs, socket: &Path, style: Style) -> Result<Answer, CliError> {
    let facts = role::runtime()?.block_on(async {
        let agent = Client::new(socket).status().await.ok();
        let sessions = agent.map(|envelope| envelope.body.peers);
        examine(args.interface, &args.config, sessions).await
    });
    answer(judge::judge(&facts), style)
}

/// No agent is asked for more than its sessions, so the generation is 0.
pub(super) fn answer(report: DoctorReport, style: Style) -> Result<Answer, CliError> {
    let exit = match report.failed() {
        true => Exit::Degraded,
        false => Exit::Ok,
    };
    let envelope = Envelope::new(0, report);
    let answer = Answer::new(style, &envelope, |report| {
        show::doctor::table(report, style)
    })?;
    Ok(Answer { exit, ..answer })
}
