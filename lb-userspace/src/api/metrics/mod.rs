//! Status and counters in the text format of Prometheus.
//!
//! Every name is a contract with dashboards and alerts. Labels are bounded by the configuration (services, backends,
//! peers, interfaces) and by names in the code (exits, states, results, maps, programs).

mod bgp;
mod bpf;
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

use crate::status::{BpfState, Counters, Envelope, NodeStatus};

/// What was read of an agent for one exposition.
pub struct Reading<'a> {
    /// What it says of itself.
    pub status: &'a Envelope<NodeStatus>,
    /// What was counted; without it the exposition says `anylb_up 0`.
    pub counters: Option<&'a Counters>,
    /// Maps and programs; none without a datapath.
    pub bpf: Option<&'a BpfState>,
}

/// The whole exposition, process metrics included. What could not be read is left out.
pub fn render(reading: &Reading<'_>) -> String {
    let mut families = collect(reading);
    families.extend(ProcessCollector::for_self().collect());
    encode(families)
}

/// All families of anylb itself.
fn collect(reading: &Reading<'_>) -> Vec<MetricFamily> {
    let Reading {
        status,
        counters,
        bpf,
    } = reading;
    let mut families = Families::default();
    general::add(&mut families, status, counters.is_some());
    datapath::add_status(&mut families, &status.body);
    service::add_status(&mut families, &status.body);
    bgp::add(&mut families, &status.body);
    if let Some(counters) = counters {
        datapath::add_counters(&mut families, counters);
        service::add_counters(&mut families, counters);
        health::add(&mut families, counters);
    }
    if let Some(bpf) = bpf {
        bpf::add(&mut families, bpf);
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
