//! `anylb health`.

use super::super::args::{HealthCommand, ProbeArgs};
use super::super::client::Client;
use super::super::error::CliError;
use super::super::output::{Answer, Style};
use super::super::show;
use crate::model::PoolName;
use crate::status::{BackendHealth, Envelope, Exit, HealthList, ProbeRequest, Refusal};

pub(super) async fn answer(
    client: &Client,
    command: HealthCommand,
    style: Style,
) -> Result<Answer, CliError> {
    match command {
        HealthCommand::Show { backend } => list(client, backend.as_deref(), style).await,
        HealthCommand::Probe(args) => probe(client, args, style).await,
    }
}

async fn list(client: &Client, backend: Option<&str>, style: Style) -> Result<Answer, CliError> {
    let envelope = client.health().await?;
    let backends = select(envelope.body, backend)?;
    let list = Envelope::new(envelope.generation, HealthList { backends });
    Answer::new(style, &list, |list| show::checks::table(list, style))
}

fn select(list: HealthList, backend: Option<&str>) -> Result<Vec<BackendHealth>, CliError> {
    let Some(wanted) = backend else {
        return Ok(list.backends);
    };
    let mut backends = list.backends;
    backends.retain(|one| one.name.as_deref() == Some(wanted) || wanted.parse() == Ok(one.address));
    match backends.is_empty() {
        false => Ok(backends),
        true => {
            let message =
                format!("there is no backend {wanted} that is checked: see `anylb health show`");
            Err(Refusal::not_found(message).into())
        }
    }
}

async fn probe(client: &Client, args: ProbeArgs, style: Style) -> Result<Answer, CliError> {
    let request = ProbeRequest {
        pool: PoolName(args.pool),
        backend: args.backend,
    };
    let envelope = client.probe(&request).await?;
    let exit = match envelope.body.result.as_str() {
        "success" => Exit::Ok,
        "inconclusive" => Exit::Failed,
        _ => Exit::Degraded,
    };
    let answer = Answer::new(style, &envelope, |report| {
        show::checks::probe(report, style)
    })?;
    Ok(Answer { exit, ..answer })
}
