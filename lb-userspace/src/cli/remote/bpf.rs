//! `anylb bpf`.

use super::super::args::BpfCommand;
use super::super::client::Client;
use super::super::error::CliError;
use super::super::output::{Answer, Style};
use super::super::show;
use crate::status::Exit;

pub(super) async fn answer(
    client: &Client,
    command: BpfCommand,
    style: Style,
    now_secs: u64,
) -> Result<Answer, CliError> {
    match command {
        BpfCommand::Maps => {
            let envelope = client.bpf().await?;
            Answer::new(style, &envelope, |state| show::bpf::maps(state, style))
        }
        BpfCommand::Progs => {
            let envelope = client.bpf().await?;
            Answer::new(style, &envelope, |state| {
                show::bpf::programs(state, now_secs, style)
            })
        }
        BpfCommand::Verify => verify(client, style).await,
    }
}

async fn verify(client: &Client, style: Style) -> Result<Answer, CliError> {
    let envelope = client.verify().await?;
    let exit = match envelope.body.differences.is_empty() {
        true => Exit::Ok,
        false => Exit::Differs,
    };
    let answer = Answer::new(style, &envelope, show::bpf::verification)?;
    Ok(Answer { exit, ..answer })
}
