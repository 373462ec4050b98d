//! The programs: where they hang and what became of packets.

use std::collections::BTreeMap;

use super::family::Families;
use crate::status::{Counters, FlowTableCount, NodeStatus, SecondChanceCount};

pub(super) fn add_status(families: &mut Families, node: &NodeStatus) {
    let mut attached = families.gauge(
        "xdp_attached",
        "Whether the program hangs on the interface: by XDP, `native` or `generic`, or on TC ingress, `tc`.",
    );
    for interface in &node.interfaces {
        attached.add(
            &[("interface", &interface.name), ("mode", &interface.mode)],
            interface.attached,
        );
    }
}

pub(super) fn add_counters(families: &mut Families, counters: &Counters) {
    let mut packets = families.counter(
        "xdp_received_packets_total",
        "Packets that the XDP program saw.",
    );
    for (interface, count) in &counters.received {
        packets.add(&[("interface", interface)], count.packets);
    }
    let mut bytes = families.counter(
        "xdp_received_bytes_total",
        "Bytes of the packets that the XDP program saw.",
    );
    for (interface, count) in &counters.received {
        bytes.add(&[("interface", interface)], count.bytes);
    }
    add_exits(families, counters);
    if !counters.icmp_errors.is_empty() {
        let mut errors = families.counter(
            "icmp_errors_forwarded_total",
            "ICMP errors for VIPs that were sent to the backend of the flow that they are about.",
        );
        for error in &counters.icmp_errors {
            let labels = [("family", &*error.family), ("type", &error.kind)];
            errors.add(&labels, error.packets);
        }
    }
    if let Some(table) = &counters.flow_table {
        add_flow_table(families, table);
    }
    if let Some(lost) = counters.events_lost {
        let mut events = families.counter(
            "bpf_events_lost_total",
            "Packets that `anylb trace` asked for and did not get, since the ring to the agent was full.",
        );
        events.add(&[], lost);
    }
    if let Some(heard) = &counters.path_mtu_messages {
        let mut messages = families.counter(
            "path_mtu_messages_total",
            "Messages of routers that a packet was too big for the way to a backend, by what came of them.",
        );
        for (result, count) in [
            ("lowered", heard.lowered),
            ("known", heard.known),
            ("foreign", heard.foreign),
            ("malformed", heard.malformed),
        ] {
            messages.add(&[("result", result)], count);
        }
    }
    if let Some(chance) = &counters.second_chance {
        add_second_chance(families, chance);
    }
    if let Some(connections) = &counters.vip_connections {
        let mut gauge = families.gauge(
            "vip_connections",
            "Established connections that this backend holds for the service.",
        );
        for (service, count) in connections {
            gauge.add(&[("service", service)], *count);
        }
    }
}

fn add_exits(families: &mut Families, counters: &Counters) {
    let mut by_action = BTreeMap::<&str, u64>::new();
    for exit in &counters.exits {
        *by_action.entry(&exit.action).or_default() += exit.packets;
    }
    let mut actions = families.counter(
        "xdp_actions_total",
        "Packets by what the XDP program decided.",
    );
    for (action, packets) in by_action {
        actions.add(&[("action", action)], packets);
    }
    let mut drops = families.counter(
        "drops_total",
        "Packets dropped by the XDP program, by reason; `anylb drops` says what to do.",
    );
    for exit in counters.exits.iter().filter(|exit| exit.action == "drop") {
        drops.add(&[("reason", &exit.name)], exit.packets);
    }
}

fn add_flow_table(families: &mut Families, table: &FlowTableCount) {
    let gauges = [
        (
            "flow_table_entries",
            "Places of the flow table that are taken, those of flows that are over too.",
            table.entries,
        ),
        (
            "flow_table_capacity_entries",
            "Places of the flow table.",
            table.capacity_entries,
        ),
    ];
    for (name, help, value) in gauges {
        families.gauge(name, help).add(&[], value);
    }
    let counters = [
        (
            "flow_table_hits_total",
            "Packets of flows that the flow table knows.",
            table.hits,
        ),
        (
            "flow_table_misses_total",
            "Packets of flows that it does not know: they went by their row.",
            table.misses,
        ),
        (
            "flow_table_evictions_total",
            "Flows forgotten for others while they may have been in use; healthy is 0.",
            table.evictions,
        ),
        (
            "flow_table_expirations_total",
            "Flows that went by their row anew after a silence longer than their timeout.",
            table.expirations,
        ),
        (
            "flow_table_releases_total",
            "Flows that went by their row anew since their backend was not there any more.",
            table.releases,
        ),
    ];
    for (name, help, value) in counters {
        families.counter(name, help).add(&[], value);
    }
}

fn add_second_chance(families: &mut Families, chance: &SecondChanceCount) {
    families
        .counter(
            "decap_packets_total",
            "Encapsulated packets that were decapsulated and handed to the kernel.",
        )
        .add(&[], chance.decapsulated);
    let mut forwarded = families.counter(
        "second_chance_forwarded_total",
        "Packets passed on to the flow's next hop, by outer family.",
    );
    for (family, packets) in &chance.forwarded {
        forwarded.add(&[("family", family)], *packets);
    }
    let mut accepted = families.counter(
        "second_chance_accepted_total",
        "Packets accepted by this backend, by reason.",
    );
    for (reason, packets) in &chance.accepted {
        accepted.add(&[("reason", reason)], *packets);
    }
    families
        .gauge(
            "second_chance_blind",
            "VIP and port pairs with no socket visible in the agent's network namespace; healthy is 0.",
        )
        .add(&[], chance.blind);
}
