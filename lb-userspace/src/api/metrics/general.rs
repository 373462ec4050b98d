//! The agent and its configuration.

use super::family::Families;
use crate::status::{Envelope, NodeStatus};

pub(super) fn add(families: &mut Families, status: &Envelope<NodeStatus>, up: bool) {
    let node = &status.body;
    families
        .gauge("build_info", "Version of the agent; always 1.")
        .add(&[("version", &node.version)], true);
    families
        .gauge("up", "Whether the counters could be read for this scrape.")
        .add(&[], up);
    families
        .gauge(
            "start_time_seconds",
            "When the agent started, since the epoch.",
        )
        .add(&[], node.start_time_secs);
    add_config(families, status);
    let mut hashes = families.gauge(
        "table_hash_info",
        "Digest of a pool's table of rows, equal on nodes that agree; always 1.",
    );
    for (name, pool) in &node.pools {
        hashes.add(&[("pool", &name.0), ("hash", &pool.table_hash)], true);
    }
}

fn add_config(families: &mut Families, status: &Envelope<NodeStatus>) {
    let config = &status.body.config;
    families
        .gauge(
            "config_generation",
            "Applied changes of the desired state since the state directory was made.",
        )
        .add(&[], status.generation);
    families
        .gauge(
            "config_last_reload_successful",
            "Whether the last start or reload took the configuration file.",
        )
        .add(&[], config.last_reload_successful);
    families
        .gauge(
            "config_last_reload_success_timestamp_seconds",
            "When a configuration file was last applied, since the epoch.",
        )
        .add(&[], config.last_success_time_secs);
    families
        .counter(
            "config_reloads_total",
            "Reloads since the agent started, by result; a rejected one changed nothing.",
        )
        .add(&[("result", "applied")], config.reloads_applied)
        .add(&[("result", "rejected")], config.reloads_rejected);
}
