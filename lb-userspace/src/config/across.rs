//! What holds between sections: references, families, addresses that must not meet.

use std::collections::HashMap;
use std::net::IpAddr;

use super::aggregate;
use super::attack;
use super::audience;
use super::backend::BackendRoleDraft;
use super::bgp::BgpDraft;
use super::diagnostic::Diagnostic;
use super::fields::{Errors, NOT_SUPPORTED};
use super::flow_table;
use super::fragments;
use super::limits;
use super::node::NodeDraft;
use super::place::{Placed, Span};
use super::pool::PoolDraft;
use super::ports;
use super::service::ServiceDraft;
use super::suggest::nearest;
use super::unique::repeated;
use crate::model::{BackendHook, Need, Vip, XdpMode};

/// A whole file as far as it could be read.
pub struct Draft {
    /// `[node]`.
    pub node: Option<NodeDraft>,
    /// `[bgp]`.
    pub bgp: Option<BgpDraft>,
    /// `[[pool]]`.
    pub pools: Vec<PoolDraft>,
    /// `[[service]]`.
    pub services: Vec<ServiceDraft>,
    /// `[backend]`.
    pub backend: Option<BackendRoleDraft>,
    /// Addresses of this host.
    pub own: Vec<IpAddr>,
}

impl Draft {
    /// Reports everything that is wrong between the sections.
    pub fn check(&self, errors: &Errors) {
        self.check_roles(errors);
        self.check_node(errors);
        self.check_names(errors);
        for service in &self.services {
            self.check_pool_of(service, errors);
        }
        ports::check(&self.services, errors);
        fragments::check(&self.services, errors);
        flow_table::check(self, errors);
        attack::check(self, errors);
        self.check_addresses(errors);
        self.check_own(errors);
        audience::check(self, errors);
        aggregate::check(self, errors);
        limits::check(self, errors);
    }

    /// The pool of that name.
    pub fn pool(&self, name: &str) -> Option<&PoolDraft> {
        self.pools
            .iter()
            .find(|pool| pool.name.as_ref().is_some_and(|found| found.value == name))
    }

    fn check_roles(&self, errors: &Errors) {
        if self.backend.is_none() {
            return;
        }
        let mut interfaces = self.node.iter().flat_map(|node| &node.interfaces);
        if let Some(second) = interfaces.nth(1) {
            errors.add(
                Diagnostic::at(
                    &second.span,
                    format!("a backend with more than one interface {NOT_SUPPORTED}"),
                )
                .help("name the one that encapsulated packets come in by"),
            );
        }
        self.check_hook(errors);
        self.check_chain(errors);
        if let (true, Some(bgp)) = (self.pools.is_empty(), &self.bgp) {
            errors.add(
                Diagnostic::at(
                    &bgp.place,
                    format!("a backend that announces VIPs {NOT_SUPPORTED}"),
                )
                .help("remove `[bgp]`: LB nodes announce, and a box that is one as well has a `[[pool]]`"),
            );
        }
    }

    fn check_hook(&self, errors: &Errors) {
        let hook = self
            .backend
            .as_ref()
            .and_then(|backend| backend.hook.as_ref());
        let Some(hook) = hook.filter(|hook| hook.value == BackendHook::Tc) else {
            return;
        };
        if !self.pools.is_empty() {
            errors.add(
                Diagnostic::at(
                    &hook.span,
                    format!("`hook = \"tc\"` on a box that is an LB node as well {NOT_SUPPORTED}"),
                )
                .help("remove it: the LB node's XDP program hands packets to the backend's"),
            );
            return;
        }
        let mode = self.node.as_ref().and_then(|node| node.xdp_mode.as_ref());
        if let Some(mode) = mode.filter(|mode| mode.value != XdpMode::Auto) {
            errors.add(
                Diagnostic::at(
                    &mode.span,
                    "`xdp_mode` has no effect: with `hook = \"tc\"` there is no XDP program",
                )
                .related(&hook.span, "no XDP")
                .help("remove one of the two"),
            );
        }
    }

    /// The backend's program is the one behind the LB node's.
    fn check_chain(&self, errors: &Errors) {
        let chain = self.node.as_ref().and_then(|node| node.xdp_chain.as_ref());
        let Some(chain) = chain else {
            return;
        };
        errors.add(
            Diagnostic::at(
                &chain.span,
                format!("`xdp_chain` on a box with `[backend]` {NOT_SUPPORTED}"),
            )
            .help(match self.pools.is_empty() {
                true => "remove it: with `hook = \"tc\"` the backend leaves XDP to others",
                false => {
                    "remove it: the backend's program is the one that gets what is not for a VIP"
                }
            }),
        );
    }

    /// Whether it is the file of a backend that is no LB node.
    pub fn is_backend_only(&self) -> bool {
        self.backend.is_some() && self.pools.is_empty()
    }

    fn check_node(&self, errors: &Errors) {
        let Some(node) = &self.node else {
            return;
        };
        if !self.pools.is_empty() && !node.hash_key_named {
            errors.add_absence(
                Diagnostic::at(&node.place, "missing key `hash_key_file`, which pools need")
                    .label("`hash_key_file` belongs here")
                    .help(
                        "add `hash_key_file = \"/etc/anylb/hash.key\"`, the same key on every node",
                    ),
            );
        }
        if self.bgp.is_some() && !node.router_id_named {
            errors.add_absence(
                Diagnostic::at(&node.place, "missing key `router_id`, which `[bgp]` needs")
                    .label("`router_id` belongs here")
                    .help("add `router_id = \"10.0.0.11\"`, different on every node"),
            );
        }
    }

    fn check_names(&self, errors: &Errors) {
        let pools: Vec<_> = self
            .pools
            .iter()
            .filter_map(|pool| pool.name.clone())
            .collect();
        repeated(errors, &pools, |name| {
            format!("two pools have the name `{name}`")
        });
        let services: Vec<_> = self
            .services
            .iter()
            .filter_map(|service| service.name.clone())
            .collect();
        repeated(errors, &services, |name| {
            format!("two services have the name `{name}`")
        });
    }

    fn check_pool_of(&self, service: &ServiceDraft, errors: &Errors) {
        let Some(name) = &service.pool else {
            if !self.is_backend_only() && !service.pool_named {
                errors.add_absence(
                    Diagnostic::at(&service.place, "missing key `pool`")
                        .label("`pool` belongs here")
                        .help("name the `[[pool]]` that serves this VIP"),
                );
            }
            return;
        };
        match self.pool(&name.value) {
            // It may be the one whose name could not be read.
            None if self.pools.iter().any(|pool| pool.name.is_none()) => {}
            None => errors.add_absence(self.no_pool(name)),
            Some(pool) => {
                check_need(service, pool, errors);
            }
        }
    }

    fn no_pool(&self, name: &Placed<String>) -> Diagnostic {
        let error = Diagnostic::at(&name.span, format!("there is no pool `{}`", name.value));
        let known: Vec<&str> = self
            .pools
            .iter()
            .filter_map(|pool| pool.name.as_ref().map(|name| name.value.as_str()))
            .collect();
        if let Some(meant) = nearest(&name.value, known.iter().copied()) {
            return error.help(format!("did you mean `{meant}`?"));
        }
        if self.is_backend_only() {
            return error.help("remove it: on a backend a service has no pool");
        }
        error.help(format!("add a `[[pool]]` with `name = \"{}\"`", name.value))
    }

    fn check_addresses(&self, errors: &Errors) {
        let taken = self.taken();
        let mut reported = Vec::new();
        for vip in self
            .services
            .iter()
            .filter_map(|service| service.vip.as_ref())
        {
            let Some((address, (owner, span))) = inside(&taken, vip.value) else {
                continue;
            };
            if reported.contains(&vip.value) {
                continue;
            }
            reported.push(vip.value);
            let message = match vip.value.single() {
                Some(single) => format!("the VIP {single} is the address of {owner}"),
                None => format!(
                    "the VIP {} holds {address}, the address of {owner}",
                    vip.value
                ),
            };
            errors.add(
                Diagnostic::at(&vip.span, message)
                    .label("VIP")
                    .related(span, *owner)
                    .help("a VIP belongs to no box: take an address that nothing else uses"),
            );
        }
    }

    /// A node takes all packets to addresses inside a prefix for those of the VIP, and would be cut off. On a host that is a backend
    /// alone nothing takes packets that have come by no tunnel.
    fn check_own(&self, errors: &Errors) {
        if self.is_backend_only() {
            return;
        }
        let vips = self.services.iter().filter_map(|one| one.vip.as_ref());
        for vip in vips.filter(|vip| vip.value.is_prefix()) {
            if let Some(own) = self.own.iter().find(|own| vip.value.holds(**own)) {
                let message = format!("the VIP {} holds {own}, an address of this host", vip.value);
                errors.add(
                    Diagnostic::at(&vip.span, message)
                        .help("take a prefix that no box has an address of"),
                );
            }
        }
    }

    /// Addresses that belong to a box, and so to no VIP.
    fn taken(&self) -> HashMap<IpAddr, (&'static str, &Span)> {
        let backends = self.pools.iter().flat_map(PoolDraft::addresses);
        let mut taken: HashMap<IpAddr, (&'static str, &Span)> = HashMap::new();
        for peer in self.bgp.iter().flat_map(|bgp| &bgp.peers) {
            let name = peer.name.as_ref();
            if let Some((address, name)) = name.and_then(|name| Some((name.value.address()?, name)))
            {
                taken.insert(address, ("a BGP peer", &name.span));
            }
            if let Some(hop) = &peer.next_hop_v4 {
                taken.insert(hop.value.into(), ("a next hop", &hop.span));
            }
            if let Some(hop) = &peer.next_hop_v6 {
                taken.insert(hop.value.into(), ("a next hop", &hop.span));
            }
        }
        if let Some(source) = self
            .node
            .as_ref()
            .and_then(|node| node.tunnel_source_v4.as_ref())
        {
            taken.insert(source.value.into(), ("this node", &source.span));
        }
        if let Some(source) = self
            .node
            .as_ref()
            .and_then(|node| node.tunnel_source_v6.as_ref())
        {
            taken.insert(source.value.into(), ("this node", &source.span));
        }
        taken.extend(backends.map(|backend| (backend.value, ("a backend", &backend.span))));
        taken
    }
}

/// The first of these addresses that a VIP has.
fn inside<T>(taken: &HashMap<IpAddr, T>, vip: Vip) -> Option<(IpAddr, &T)> {
    match vip.single() {
        Some(single) => Some((single, taken.get(&single)?)),
        None => {
            let inside = taken.iter().filter(|(address, _)| vip.holds(**address));
            let (address, owner) = inside.min_by_key(|(address, _)| **address)?;
            Some((*address, owner))
        }
    }
}

fn check_need(service: &ServiceDraft, pool: &PoolDraft, errors: &Errors) {
    let Some(need) = &service.need else {
        return;
    };
    let have = pool.backends.len();
    if let Need::Count(count) = need.value
        && have > 0
        && count as usize > have
    {
        let noun = if have == 1 { "backend" } else { "backends" };
        errors.add_absence(
            Diagnostic::at(
                &need.span,
                format!("`need` is {count} and the pool has {have} {noun}"),
            )
            .help("this VIP would never be announced"),
        );
    }
}
