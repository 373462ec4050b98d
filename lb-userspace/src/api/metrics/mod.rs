//! Status and counters in the text format of Prometheus.
//!
//! Every name is a contract with dashboards and alerts. Labels are bounded by the configuration (services, backends,
//! peers, interfaces) and by names in the code (exits, states, results).

mod bgp;
mod datapath;
mod family;
mod general;
mod health;
mod service;

#[cfg(test)]
mod tests;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};

use family::Families;

use crate::status::{Counters, Envelope, NodeStatus};

/// The whole exposition, process metrics included. Without `counters` it says `anylb_up 0` and leaves them out.
pub fn render(status: &Envelope<NodeStatus>, counters: Option<&Counters>) -> String {
    let mut families = collect(status, counters);
    families.extend(ProcessCollector::for_self().collect());
    encode(families)
}

/// All families of anylb itself.
fn collect(status: &Envelope<NodeStatus>, counters: Option<&Counters>) -> Vec<MetricFamily> {
    let mut families = Families::default();
    general::add(&mut families, status, counters.is_some());
    datapath::add_status(&mut families, &status.body);
    service::add_status(&mut families, &status.body);
    bgp::add(&mut families, &status.body.peers);
    if let Some(counters) = counters {
        datapath::add_counters(&mut families, counters);
        service::add_counters(&mut families, counters);
        health::add(&mut families, counters);
    }
    families.finish()
}

fn encode(mut families: Vec<MetricFamily>) -> String {
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&families, &mut text)
        .expect("every family has a name and a sample, and a Vec takes every write");
    String::from_utf8(text).expect("the encoder writes strings")
}
