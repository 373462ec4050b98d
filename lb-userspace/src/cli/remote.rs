//! Commands that ask a running agent.

mod backend;
mod bgp;
mod bpf;
mod health;
mod reload;
mod service;

use std::path::Path;

use super::args::{Ask, ExplainArgs, Question};
use super::client::Client;
use super::error::CliError;
use super::output::{Answer, Style};
use super::show;
use crate::status::{Command, Envelope, Exit, ExplainRequest};

/// Asks the agent at `socket`, in a runtime of its own.
pub(super) fn ask(socket: &Path, question: Question, style: Style) -> Result<Answer, CliError> {
    super::role::runtime()?.block_on(answer(&Client::new(socket), question, style, now_secs()))
}

/// Asks `client` and makes the answer; `now_secs` is since the epoch.
pub(super) async fn answer(
    client: &Client,
    question: Question,
    style: Style,
    now_secs: u64,
) -> Result<Answer, CliError> {
    match question {
        Question::Node(ask) => node(client, ask, style, now_secs).await,
        Question::Backend(ask) => backend::answer(client, ask, style).await,
    }
}

async fn node(client: &Client, ask: Ask, style: Style, now_secs: u64) -> Result<Answer, CliError> {
    match ask {
        Ask::Status => status(client, style, now_secs).await,
        Ask::Service(command) => service::answer(client, command, style).await,
        Ask::Health(command) => health::answer(client, command, style).await,
        Ask::Bgp(command) => bgp::answer(client, command, style).await,
        Ask::Bpf(command) => bpf::answer(client, command, style, now_secs).await,
        Ask::Explain(args) => explain(client, args, style).await,
        Ask::Drops => drops(client, style).await,
        Ask::Diff(args) => reload::diff(client, args, style).await,
        Ask::Reload(args) => reload::reload(client, args, style).await,
        Ask::Restart => change(client, Command::Handover, style).await,
    }
}

async fn status(client: &Client, style: Style, now_secs: u64) -> Result<Answer, CliError> {
    let envelope = client.status().await?;
    let exit = match envelope.body.troubles().is_empty() {
        true => Exit::Ok,
        false => Exit::Degraded,
    };
    let generation = envelope.generation;
    let answer = Answer::new(style, &envelope, |node| {
        show::status::table(node, generation, now_secs, style)
    })?;
    Ok(Answer { exit, ..answer })
}

async fn explain(client: &Client, args: ExplainArgs, style: Style) -> Result<Answer, CliError> {
    let request = ExplainRequest {
        source: args.source,
        destination: args.destination.address,
        protocol: args.destination.protocol,
    };
    if request.source.is_ipv4() != request.destination.is_ipv4() {
        return Err(CliError::new(
            Exit::Usage,
            "one address is IPv4 and the other IPv6: a packet has both of one family",
        ));
    }
    let envelope = client.explain(request).await?;
    Answer::new(style, &envelope, |explanation| {
        show::explain::table(explanation, style)
    })
}

async fn drops(client: &Client, style: Style) -> Result<Answer, CliError> {
    let envelope = client.counters().await?;
    let list = Envelope::new(envelope.generation, envelope.body.drops());
    Answer::new(style, &list, |list| show::drops::table(list, style))
}

async fn change(client: &Client, command: Command, style: Style) -> Result<Answer, CliError> {
    let envelope = client.command(&command).await?;
    Answer::new(style, &envelope, |done| format!("{}\n", done.message))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: how long ago is said only in a table"
)]
fn now_secs() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
