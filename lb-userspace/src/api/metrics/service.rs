//! VIPs and their backends.

use super::family::Families;
use crate::model::AdminState;
use crate::status::{BackendStatus, Counters, Health, NodeStatus, PoolStatus, ServiceStatus};

pub(super) fn add_status(families: &mut Families, node: &NodeStatus) {
    let balanced: Vec<(&ServiceStatus, &PoolStatus)> = node
        .services
        .iter()
        .filter_map(|service| Some((service, node.pools.get(service.pool.as_ref()?)?)))
        .collect();
    add_vips(families, &balanced);
    add_backends(families, &balanced);
}

fn add_vips(families: &mut Families, balanced: &[(&ServiceStatus, &PoolStatus)]) {
    let mut healthy = families.gauge("vip_healthy_backends", "Healthy backends of the service.");
    for (service, _) in balanced {
        healthy.add(&[("service", &service.name)], service.healthy);
    }
    let mut configured = families.gauge(
        "vip_configured_backends",
        "Configured backends of the service.",
    );
    for (service, _) in balanced {
        configured.add(&[("service", &service.name)], service.configured);
    }
    let mut announced = families.gauge(
        "vip_announced",
        "Whether this node announces the VIP of the service.",
    );
    for (service, _) in balanced {
        announced.add(&[("service", &service.name)], service.announced);
    }
    let mut prefixes = families.gauge(
        "service_prefixes",
        "Prefixes in a list of the service, where it has the list; 0 in `allow`: nobody may use it.",
    );
    for (service, _) in balanced {
        let limits = &service.limits;
        for (name, list) in [("allow", &limits.allow), ("deny", &limits.deny)] {
            if let Some(list) = list {
                let labels = [("service", service.name.as_str()), ("list", name)];
                prefixes.add(&labels, list.prefixes);
            }
        }
    }
    let mut bytes = families.gauge(
        "service_filter_bytes",
        "Memory of the service's lists in the datapath; services with the same lists share it.",
    );
    for (service, _) in balanced {
        if service.limits.filter_bytes > 0 {
            bytes.add(&[("service", &service.name)], service.limits.filter_bytes);
        }
    }
    let mut moved = families.counter(
        "rows_moved_total",
        "Rows of the service's table whose owner changed since the agent started.",
    );
    for (service, pool) in balanced {
        moved.add(&[("service", &service.name)], pool.rows_moved_total);
    }
}

fn add_backends(families: &mut Families, balanced: &[(&ServiceStatus, &PoolStatus)]) {
    let mut up = families.gauge("backend_up", "Whether the backend's checks say it is up.");
    for_each_backend(balanced, |service, address, backend| {
        let labels = [("service", service), ("backend", address)];
        up.add(&labels, backend.health == Health::Up);
    });
    let mut admin = families.gauge(
        "backend_admin_state",
        "What the operator said about the backend: 1 for the state it is in.",
    );
    for_each_backend(balanced, |service, address, backend| {
        for (state, name) in [
            (AdminState::Ready, "ready"),
            (AdminState::Draining, "draining"),
            (AdminState::Disabled, "disabled"),
        ] {
            let labels = [("service", service), ("backend", address), ("state", name)];
            admin.add(&labels, backend.admin == state);
        }
    });
    let mut weight = families.gauge("backend_weight", "Weight of the backend in force.");
    for_each_backend(balanced, |service, address, backend| {
        let labels = [("service", service), ("backend", address)];
        weight.add(&labels, u64::from(backend.weight));
    });
    let mut ratio = families.gauge(
        "backend_row_ratio",
        "Share of the rows that the backend owns, 0 to 1.",
    );
    for_each_backend(balanced, |service, address, backend| {
        let labels = [("service", service), ("backend", address)];
        ratio.add(&labels, backend.row_ratio);
    });
    let mut path_mtu = families.gauge(
        "backend_path_mtu_bytes",
        "What fits the way to the backend, where a router has said that it is less than the next hop takes; else absent.",
    );
    for_each_backend(balanced, |service, address, backend| {
        if let Some(mtu) = backend.path_mtu {
            path_mtu.add(
                &[("service", service), ("backend", address)],
                u64::from(mtu),
            );
        }
    });
}

/// Calls `add` with service name, address and status of every backend.
fn for_each_backend(
    balanced: &[(&ServiceStatus, &PoolStatus)],
    mut add: impl FnMut(&str, &str, &BackendStatus),
) {
    for (service, pool) in balanced {
        for backend in &pool.backends {
            add(&service.name, &backend.address.to_string(), backend);
        }
    }
}

pub(super) fn add_counters(families: &mut Families, counters: &Counters) {
    let mut packets = families.counter("vip_packets_total", "Packets to the service.");
    for (service, count) in &counters.services {
        packets.add(&[("service", service)], count.count.packets);
    }
    let mut bytes = families.counter(
        "vip_bytes_total",
        "Bytes of the packets to the service, from the IP header on.",
    );
    for (service, count) in &counters.services {
        bytes.add(&[("service", service)], count.count.bytes);
    }
    let mut flows = families.counter("vip_new_flows_total", "SYNs to the service.");
    for (service, count) in &counters.services {
        flows.add(&[("service", service)], count.new_flows);
    }
    let mut packets = families.counter(
        "backend_packets_total",
        "Packets that had the backend as their first hop.",
    );
    for count in &counters.backends {
        let backend = count.backend.to_string();
        let labels = [("service", count.service.as_str()), ("backend", &backend)];
        packets.add(&labels, count.count.packets);
    }
    let mut bytes = families.counter(
        "backend_bytes_total",
        "Bytes of the packets that had the backend as their first hop, from the IP header on.",
    );
    for count in &counters.backends {
        let backend = count.backend.to_string();
        let labels = [("service", count.service.as_str()), ("backend", &backend)];
        bytes.add(&labels, count.count.bytes);
    }
}
