//! `[bgp]` and its peers.

use super::{COMMUNITIES, Section, optional, required};

/// `[bgp]`.
pub static BGP: Section = Section {
    header: "[bgp]",
    about: "The BGP speaker that announces the VIPs. It announces only; routes it receives are dropped.",
    keys: &[
        required("asn", "AS number", "asn = 65001", "Our AS number."),
        optional(
            "hold_time",
            "duration, \"0s\" or 3s to 65535s",
            "\"9s\"",
            "Hold time proposed to peers; the smaller of both proposals holds. `0s` switches it off: a peer that dies \
             is then noticed by nobody.",
        ),
        optional(
            "communities",
            COMMUNITIES,
            "[]",
            "Communities on every route to every peer, at most 64. The names are `graceful-shutdown`, `blackhole`, \
             `no-export`, `no-advertise`, `no-export-subconfed` and `no-peer`.",
        ),
        optional(
            "graceful_restart",
            "\"with-bfd\", \"always\" or \"off\"",
            "\"with-bfd\"",
            "To which peers graceful restart (RFC 4724) is offered, which keeps routes while the agent restarts. \
             `with-bfd`: to peers with BFD, which notice at once when nothing is forwarded meanwhile. `always`: to every peer; a node that dies \
             without its link going down then swallows traffic for up to the hold time and the restart time of 15 s.",
        ),
        optional(
            "listen",
            "list of addresses and ports",
            "[]",
            "Where sessions from peers are accepted, e.g. `[\"0.0.0.0:179\", \"[::]:179\"]`. By default the speaker \
             only dials: nothing of it can then be reached from outside, it needs no privileged port, and every \
             router takes a session that is dialled. Required where a peer is `passive`.",
        ),
        optional(
            "link_bandwidth",
            "bandwidth",
            "none",
            "What this node can carry, in bits per second with K, M, G or T, such as `\"10G\"`. Every VIP is then announced with a link \
             bandwidth (draft-ietf-idr-link-bandwidth): as many tenths of it as backends get new flows, those of the service that has \
             least. At most one change a minute, since routers move flows with it. Routers share out by it only if they are told to, \
             and among nodes that all say it.",
        ),
        optional(
            "last_resort_communities",
            COMMUNITIES,
            "[]",
            "Communities on the routes of VIPs that are announced as a last resort (`below_need`), for routers that do not know \
             `graceful-shutdown`, which is there in any case.",
        ),
        optional("aggregate", "tables", "none", "See `[[bgp.aggregate]]`."),
        optional(
            "peer",
            "tables",
            "none",
            "See `[[bgp.peer]]`; at least one.",
        ),
    ],
};

/// `[[bgp.aggregate]]`.
pub static AGGREGATE: Section = Section {
    header: "[[bgp.aggregate]]",
    about: "A prefix that is announced beside the VIPs in it, since routers of others take no single addresses, while enough of those \
            VIPs are served here. Packets to its other addresses then come to this node as well, which drops them unless it \
            forwards (`net.ipv4.ip_forward`): give such a node a `blackhole` route of the prefix, or they go in circles.",
    keys: &[
        required(
            "prefix",
            "prefix",
            r#"prefix = "203.0.113.0/24""#,
            "The prefix. At least one VIP is in it, and it is none itself.",
        ),
        optional(
            "need",
            "number from 1 or \"1%\" to \"100%\"",
            "1",
            "How many of the VIPs in it must be served, or what share of them, rounded up. One that is announced as a last resort does \
             not count.",
        ),
        optional(
            "communities",
            COMMUNITIES,
            "[]",
            "Communities on the aggregate, beside those of `[bgp]` and of the peer.",
        ),
        optional(
            "med",
            "0 to 4294967295",
            "none",
            "MULTI_EXIT_DISC of the aggregate. Peers of our own AS are not told.",
        ),
        optional(
            "prepend",
            "0 to 10",
            "0",
            "How often our AS is put into the AS path beyond once.",
        ),
    ],
};

/// `[[bgp.peer]]`.
pub static PEER: Section = Section {
    header: "[[bgp.peer]]",
    about: "A router that VIPs are announced to.",
    keys: &[
        optional(
            "address",
            "address",
            "none; required without `range` and `interface`",
            "Address of the session, IPv4 or IPv6; a link-local one with the interface that the peer is behind, such as `\"fe80::1%eth0\"`.",
        ),
        optional(
            "range",
            "prefix",
            "none",
            "Instead of `address`: whoever connects from inside this prefix is a peer, such as `\"10.0.0.0/24\"`. Every member gets \
             a session of its own, with all that is said here, and is forgotten when it ends; nothing is ever dialled, and BFD is not \
             possible. Of two ranges the longer prefix counts, and a peer with an `address` before any. Its services and orders \
             name it by the prefix. Needs `bgp.listen`.",
        ),
        optional(
            "interface",
            "interface name",
            "none",
            "Instead of `address`: the router on the link of this interface, by the link-local address that it advertises (RFC 4861), as \
             `neighbor eth0 interface` has it on routers. We advertise ourselves there as well, and make nobody's default router \
             of us. The first router that is heard is the peer. Its services and orders name it by the interface.",
        ),
        optional(
            "max_peers",
            "1 to 1000",
            "16 for a `range`",
            "Members that a `range` may have at once; one more is refused (Cease, Out of Resources).",
        ),
        required("asn", "AS number", "asn = 65000", "AS number of the peer."),
        optional("port", "port", "179", "TCP port of the peer."),
        optional(
            "password_file",
            "path",
            "no password",
            "File with the TCP MD5 secret (RFC 2385) on one line, at most 80 bytes, not readable by everybody. A reload takes another secret without ending the session.",
        ),
        optional(
            "ttl_security",
            "1 to 254",
            "off",
            "Accept packets from at most so many hops away (RFC 5082); 1 for a directly connected peer. The peer must \
             have it on as well.",
        ),
        optional(
            "passive",
            "true or false",
            "false",
            "Wait for the peer to connect, never dial. Needs `bgp.listen`.",
        ),
        optional(
            "next_hop_v4",
            "IPv4 address",
            "our address on the session's interface",
            "Next hop of IPv4 VIPs.",
        ),
        optional(
            "next_hop_v6",
            "IPv6 address",
            "our address on the session's interface",
            "Next hop of IPv6 VIPs.",
        ),
        optional(
            "communities",
            COMMUNITIES,
            "[]",
            "Communities on every route to this peer, beside those of `[bgp]` and of the VIP.",
        ),
        optional(
            "med",
            "0 to 4294967295",
            "none",
            "MULTI_EXIT_DISC of routes to this peer, where the VIP has none of its own. Only for a peer of another AS.",
        ),
        optional(
            "prepend",
            "0 to 10",
            "0",
            "How often our AS is put into the AS path of routes to this peer beyond once; added to the VIP's, together \
             at most 10. Only for a peer of another AS.",
        ),
        optional(
            "services",
            "list of names of services",
            "all",
            "The peer hears of the VIPs of these services only. A VIP is announced as a whole: with one of its \
             services, all must be named.",
        ),
        optional(
            "bfd",
            "inline table",
            "none",
            "BFD beside the session, see `bfd`. Not for a `range`.",
        ),
    ],
};

/// `bgp.peer.bfd`.
pub static BFD: Section = Section {
    header: "bfd = { }",
    about: "BFD (RFC 5880) with a peer: a node that dies without its link going down, or that does not forward any more, is noticed \
            within the product of interval and multiplier, and its routes go. The peer must have BFD for us as well. The \
            sessions are in a process of their own, `anylb bfd`, which an agent that restarts does not touch; so \
            peers with BFD are offered graceful restart.",
    keys: &[
        optional(
            "interval",
            "duration, 50ms to 10s",
            "\"300ms\"",
            "Time between packets, ours and the peer's; the slower side decides.",
        ),
        optional(
            "multiplier",
            "2 to 50",
            "3",
            "So many of our packets in a row the peer misses before it gives us up. How many of its own we miss is the peer's word.",
        ),
        optional(
            "multihop",
            "true or false",
            "false",
            "Whether the peer is behind routers (RFC 5883, UDP port 4784). Without it (RFC 5881, port 3784) packets that have passed \
             one do not count. Not for a peer by a link-local address or an interface.",
        ),
        optional(
            "min_ttl",
            "1 to 255",
            "1",
            "With `multihop = true`: TTL that packets come with at least. A peer that sends with 255 and is behind two \
             routers has 253.",
        ),
        optional(
            "strict",
            "true or false",
            "false",
            "No BGP session before BFD is up. Without it a session may come up while BFD is down, as with a peer that does not have \
             it yet; in both cases a BFD session that fails ends the BGP session (Cease/10, RFC 9384).",
        ),
    ],
};
