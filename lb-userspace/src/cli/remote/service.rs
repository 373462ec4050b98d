//! `anylb service`.

use super::super::args::{ServiceCommand, Switch};
use super::super::client::Client;
use super::super::error::CliError;
use super::super::output::{Answer, Style};
use super::super::show;
use super::backend::select_backends;
use super::change;
use crate::status::{
    Command, Envelope, NodeStatus, Refusal, ServiceDetail, ServiceList, ServiceStatus,
};

pub(super) async fn answer(
    client: &Client,
    command: ServiceCommand,
    style: Style,
) -> Result<Answer, CliError> {
    match command {
        ServiceCommand::List => list(client, style).await,
        ServiceCommand::Show(args) => detail(client, &args.service, style).await,
        ServiceCommand::Withdraw(args) => {
            let service = args.service;
            change(client, Command::Withdraw { service }, style).await
        }
        ServiceCommand::Announce(args) => {
            let service = args.service;
            change(client, Command::Announce { service }, style).await
        }
        ServiceCommand::Attack(args) => {
            let command = Command::Attack {
                service: args.service,
                on: args.attack == Switch::On,
            };
            change(client, command, style).await
        }
    }
}

async fn list(client: &Client, style: Style) -> Result<Answer, CliError> {
    let envelope = client.status().await?;
    let services = envelope.body.services;
    let list = Envelope::new(envelope.generation, ServiceList { services });
    Answer::new(style, &list, |list| show::service::table(list, style))
}

async fn detail(client: &Client, name: &str, style: Style) -> Result<Answer, CliError> {
    let envelope = client.status().await?;
    let node = envelope.body;
    let service = find(&node, name)?;
    let backends = match &service.pool {
        Some(pool) => select_backends(node, Some(pool.clone()))?,
        None => Vec::new(),
    };
    let mut counters = client.counters().await?.body;
    let detail = ServiceDetail {
        count: counters.services.remove(name),
        service,
        backends,
    };
    let detail = Envelope::new(envelope.generation, detail);
    Answer::new(style, &detail, |detail| {
        show::service::detail(detail, style)
    })
}

fn find(node: &NodeStatus, name: &str) -> Result<ServiceStatus, CliError> {
    let found = node.services.iter().find(|service| service.name == name);
    found.cloned().ok_or_else(|| {
        let names: Vec<&str> = node
            .services
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        let there = match names.is_empty() {
            true => "this node has none".to_string(),
            false => format!("this node has {}", names.join(", ")),
        };
        Refusal::not_found(format!("there is no service {name}: {there}")).into()
    })
}
