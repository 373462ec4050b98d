//! `[[service]]`, and what stands in it.

use super::{COMMUNITIES, Key, Section, optional, required};

/// `[[service]]`.
pub static SERVICE: Section = Section {
    header: "[[service]]",
    about: "A VIP, its ports, and the pool that serves them.",
    keys: &[
        required(
            "name",
            "name",
            r#"name = "web""#,
            "Unique name, a label of metrics.",
        ),
        required(
            "vip",
            "address or prefix",
            r#"vip = "192.0.2.10""#,
            "The address clients use, or a prefix such as \"203.0.113.0/24\" or \"2001:db8:1::/64\" all of whose addresses are one \
             VIP, announced as it is written. IPv4 /8 to /31, IPv6 /32 to /127, at most 8 lengths of each family. The longest VIP \
             around an address has it: an address or prefix inside a prefix may be a VIP of its own, and what has no service \
             there does not fall back to those of the shorter one. No address inside may belong to a node, backend, router or client.",
        ),
        Key {
            reserved: &["quic"],
            ..required(
                "protocol",
                "\"tcp\" or \"udp\"",
                r#"protocol = "tcp""#,
                "Transport protocol.",
            )
        },
        required(
            "ports",
            "list of ports and ranges, or \"any\"",
            "ports = [80, 443]",
            "Destination ports. Of the services at a VIP, one with the port itself goes before one with a range such as \
             \"8000-8999\", and that before \"any\".",
        ),
        optional(
            "pool",
            "name of a pool",
            "none",
            "Required but in a backend's file, which has no pools.",
        ),
        optional(
            "need",
            "number from 1, or \"1%\" to \"100%\"",
            "1 for up to two backends, else \"30%\"",
            "Announce the VIP while at least so many backends are healthy.",
        ),
        optional(
            "hash",
            "\"5-tuple\", \"src-dst\" or \"src\"",
            "\"5-tuple\"",
            "What of a packet chooses its row, and so its backend. `src-dst`: all flows of a client to the VIP have one backend, \
             and TCP fragments can be balanced. `src`: all flows of a client to services of one pool. Every node must say the \
             same, and a change moves all flows of the service.",
        ),
        optional(
            "below_need",
            "\"withdraw\" or \"last-resort\"",
            "\"withdraw\"",
            "What happens to the announcement with fewer healthy backends than `need`. `last-resort`: the VIP stays announced, with the \
             graceful-shutdown community (RFC 8326), the longest path and the worst MED, so that every node and site that has enough wins, and \
             where none has, traffic still arrives.",
        ),
        optional(
            "udp",
            "\"stateless\", \"connected\" or \"flow-table\"",
            "\"stateless\", in a pool with `mode = \"flow-table\"` that",
            "`stateless`: any backend answers any datagram. `connected`: servers open a connected socket per flow, and the \
             backends find the one that has it. `flow-table`: nodes remember which backend a flow has; only in a pool of that mode, \
             and its default.",
        ),
        optional(
            "udp_timeout",
            "duration, 1s to 1h",
            "\"2m\", where flows are remembered",
            "With `udp = \"flow-table\"`: silence after which a flow may go to another backend.",
        ),
        optional(
            "fragments",
            "true or false",
            "true where it is the only service of its VIP and protocol; with TCP, and any `hash` but `5-tuple`",
            "Whether fragments for the VIP and protocol go to this service's backends, those without a port too. All of them \
             go by `hash = \"src-dst\"`, or `src`; a fragmented datagram for another port is dropped.",
        ),
        optional(
            "allow",
            "list of prefixes or addresses, or { file = path }",
            "everybody",
            "Sources that may use the service; an empty list means nobody. In a file, there is one prefix or address on each line, and a \
             comment behind `#` or `;`; it is read at the start and with every reload.",
        ),
        optional(
            "deny",
            "list of prefixes or addresses, or { file = path }",
            "nobody",
            "Sources that may not. Of all prefixes of both lists around a source the longest decides, and `deny` where both have it.",
        ),
        optional(
            "attack",
            "true or false",
            "false",
            "Whether known flows alone get through, on this node: SYNs are dropped as `attack_syn`, fragments as `attack_fragment`, \
             and packets of flows that no backend has a socket for as `attack_unknown`. Nobody opens a connection meanwhile. With \
             `mode = \"flow-table\"` a flow is known to the CPU that it had come to. With `mode = \"rows\"` the tunnel's header asks the \
             backends: those of an older version ignore that and accept what is unknown, and so do those that do not see their servers' \
             sockets; there SYNs and fragments alone are stopped. ICMP errors go on. `anylb service attack` switches it at once.",
        ),
        optional(
            "rate_limit",
            "inline table",
            "none",
            "How many packets, or new flows, the service takes in a second, see `rate_limit`.",
        ),
        optional(
            "rate_limit_source",
            "inline table",
            "none",
            "The same for each prefix of sources, see `rate_limit_source`.",
        ),
        optional(
            "hold_up",
            "duration, 0s to 5m",
            "\"10s\"",
            "Time for which a VIP that was withdrawn must be fit before it is announced again; twice as long after each withdrawal, up to 5 \
             minutes, until it has stayed announced for 5 minutes. Not at the start of the agent, and not where the operator announces it. Of \
             the services of one VIP the longest holds.",
        ),
        optional(
            "announce",
            "inline table",
            "to every peer, with nothing of its own",
            "How the VIP is announced, see `announce`.",
        ),
    ],
};

/// `service.rate_limit`.
pub static RATE_LIMIT: Section = Section {
    header: "rate_limit = { }",
    about: "How much a service takes on this node, whatever CPU it comes to; every node counts for itself. What is above it is \
            dropped as `rate_limited`. `pps` or `new_flows`, not both.",
    keys: &[PPS, NEW_FLOWS, BURST],
};

/// `service.rate_limit_source`.
pub static RATE_LIMIT_SOURCE: Section = Section {
    header: "rate_limit_source = { }",
    about: "How much a service takes on this node of each prefix of sources; what is above it is dropped as `source_limited` and \
            takes nothing from `rate_limit`. Prefixes are found by a hash: with `node.rate_buckets` two may share a limit, and of a \
            thousand that send too much every 65th other one suffers with the default. `pps` or `new_flows`, not both.",
    keys: &[
        PPS,
        NEW_FLOWS,
        BURST,
        optional(
            "prefix_v4",
            "1 to 32",
            "32",
            "Length of the prefixes of IPv4 that count as one source.",
        ),
        optional(
            "prefix_v6",
            "1 to 128",
            "56",
            "The same of IPv6: who has one address mostly has all of a /64 or a /56.",
        ),
    ],
};

const PPS: Key = optional(
    "pps",
    "1 to 1000000000",
    "none",
    "Packets per second, of established flows as well.",
);
const NEW_FLOWS: Key = optional(
    "new_flows",
    "1 to 1000000000",
    "none",
    "SYNs per second; established flows are not touched. With `protocol = \"tcp\"` only.",
);
const BURST: Key = optional(
    "burst",
    "1 to 1000000000",
    "what one second brings",
    "So many at once after a pause.",
);

/// A list of prefixes that is in a file of its own.
pub static PREFIX_FILE: Section = Section {
    header: "{ file = path }",
    about: "Prefixes of sources in a file of their own.",
    keys: &[required(
        "file",
        "path",
        r#"file = "drop.txt""#,
        "The file.",
    )],
};

/// `service.announce`.
pub static ANNOUNCE: Section = Section {
    header: "announce = { }",
    about: "How the VIP of a service is announced. A VIP is one route: what one of its services says holds for it, \
            communities of several add up, and two that say different things are an error. A change of these keys, of the \
            communities of `[bgp]` and of the policy of a peer is told within the running sessions.",
    keys: &[
        optional(
            "communities",
            COMMUNITIES,
            "[]",
            "Communities on the VIP's route, beside those of `[bgp]` and of the peer.",
        ),
        optional(
            "med",
            "0 to 4294967295",
            "the peer's",
            "MULTI_EXIT_DISC (RFC 4271): of two routes from the same AS, a router prefers the lower. Peers of our own AS \
             are not told.",
        ),
        optional(
            "prepend",
            "0 to 10",
            "0",
            "How often our AS is put into the AS path beyond once: routers prefer shorter paths. Peers of our own AS see \
             none.",
        ),
        optional(
            "peers",
            "list of addresses of peers",
            "all",
            "Only these peers hear of the VIP.",
        ),
    ],
};
