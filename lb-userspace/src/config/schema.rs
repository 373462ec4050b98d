//! Every key of the file, in one table: what is read, what is refused as unknown, what is reserved, and the reference
//! documentation all follow from it.

/// A table of the file.
#[derive(Debug)]
pub struct Section {
    /// As it is written: `[node]`, `[[pool]]`; for the file itself empty, for inline tables the key and `{}`.
    pub header: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its keys, in the order of the reference.
    pub keys: &'static [Key],
}

/// A key of a [`Section`].
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What may stand behind it, in words.
    pub values: &'static str,
    /// Values that a later version takes.
    pub reserved: &'static [&'static str],
    /// Whether it must be there.
    pub presence: Presence,
    /// What it does.
    pub about: &'static str,
}

/// Whether a key must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Its absence is an error; how it could be written.
    Required(&'static str),
    /// Without it, this holds; in words or as it would be written.
    Default(&'static str),
    /// A name that a later version takes. It is known, so that it gets an answer better than "unknown key".
    Reserved,
}

impl Section {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Where it is in the file: `node`, `bgp.peer`, `check`; empty for the file itself.
    pub fn path(&self) -> &'static str {
        let header = self.header.split(' ').next().unwrap_or_default();
        header.trim_matches(['[', ']'])
    }

    /// The section that stands behind `key`; none for a plain value.
    pub fn below(&self, key: &Key) -> Option<&'static Section> {
        if !matches!(key.values, "table" | "tables" | "inline table") {
            return None;
        }
        let within = match self.path() {
            "" => key.name.to_owned(),
            path => format!("{path}.{}", key.name),
        };
        let named = |path: &str| SECTIONS.iter().find(|section| section.path() == path);
        named(&within).or_else(|| named(key.name)).copied()
    }

    /// Keys that this version reads.
    pub fn built(&self) -> impl Iterator<Item = &'static Key> {
        self.keys
            .iter()
            .filter(|key| key.presence != Presence::Reserved)
    }
}

/// All sections.
pub const SECTIONS: [&Section; 13] = [
    &FILE,
    &NODE,
    &METRICS,
    &BGP,
    &PEER,
    &POOL,
    &CHECK,
    &MEMBER,
    &SERVICE,
    &RATE_LIMIT,
    &RATE_LIMIT_SOURCE,
    &ANNOUNCE,
    &BACKEND,
];

/// The file itself.
pub static FILE: Section = Section {
    header: "",
    about: "The top of the file.",
    keys: &[
        required("version", "1", "version = 1", "Version of this format."),
        required("node", "table", "[node]", "See `[node]`."),
        optional("metrics", "table", "no metrics", "See `[metrics]`."),
        optional("bgp", "table", "nothing is announced", "See `[bgp]`."),
        optional("pool", "tables", "none", "See `[[pool]]`."),
        optional("service", "tables", "none", "See `[[service]]`."),
        optional("backend", "table", "not a backend", "See `[backend]`."),
        reserved("site", "Identity of this site and its peer sites."),
    ],
};

/// `[node]`.
pub static NODE: Section = Section {
    header: "[node]",
    about: "This box. Relative paths here and elsewhere start at the directory of the file.",
    keys: &[
        required(
            "name",
            "name",
            r#"name = "lb1""#,
            "Name of this box in logs and status.",
        ),
        optional(
            "router_id",
            "IPv4 address",
            "none",
            "BGP identifier, different on every node. Required with `[bgp]`.",
        ),
        required(
            "interfaces",
            "list of interface names",
            r#"interfaces = ["eth0"]"#,
            "The interfaces that carry the traffic of VIPs, in and out; backends may also be on VLANs on them. A backend has \
             one.",
        ),
        optional(
            "xdp_mode",
            "\"auto\", \"native\" or \"generic\"",
            "\"auto\"",
            "How the XDP program is attached: by the driver (`native`), by the kernel's stack (`generic`, slower, and only without GRO \
             and LRO), or by the driver where it can (`auto`).",
        ),
        optional(
            "xdp_chain",
            "path",
            "none",
            "An XDP program of somebody else's, by its pin on a BPF file system: it gets every packet that is not for a VIP, as it \
             came, where otherwise the kernel would. So two programs live on one hook: pin that program, take it off the \
             interface, start anylb. It is looked up at the start; it stays in place while the agent is away. Not on a box with \
             `[backend]`; nor does the node take packets larger than one buffer (an MTU above some 3,500) then.",
        ),
        optional(
            "flow_table_entries",
            "1024 to 16777216",
            "65536",
            "How many flows each CPU remembers for pools with `mode = \"flow-table\"`: 12.8 bytes each. With more flows at once, those \
             that were silent longest are forgotten. A change takes effect when the agent starts, and forgets all.",
        ),
        optional(
            "hash_key_file",
            "path",
            "none",
            "File with the 128-bit key of rows and flow hash: 32 hexadecimal digits on one line, not readable by \
             everybody (mode 0640 or less). The same key on every node and site, or they send a flow to different \
             backends. Required with `[[pool]]`.",
        ),
        optional(
            "tunnel_source_v4",
            "IPv4 address",
            "the kernel's preferred source",
            "Outer source address of packets to IPv4 backends.",
        ),
        optional(
            "tunnel_source_v6",
            "IPv6 address",
            "the kernel's preferred source",
            "Outer source address of packets to IPv6 backends.",
        ),
        optional(
            "state_dir",
            "path",
            "\"/var/lib/anylb\"",
            "What must survive a reboot: table inputs and the operator's overrides.",
        ),
        optional(
            "runtime_dir",
            "path",
            "\"/run/anylb\"",
            "Where the admin socket is made.",
        ),
        optional(
            "pin_dir",
            "path",
            "\"/sys/fs/bpf/anylb\"",
            "Pinned programs, links and maps; on a BPF file system.",
        ),
        optional(
            "flow_memory",
            "duration, 1s to 30d",
            "\"24h\"",
            "How long a backend that left the configuration is still tried for flows it may hold.",
        ),
        optional(
            "drain_wait",
            "duration, 0s to 1h",
            "\"10s\"",
            "How long a stopping node waits at most for routers to move its traffic away, before it withdraws its VIPs. A \
             second of silence ends it early, and so does a second SIGTERM.",
        ),
        optional(
            "linger",
            "duration, 0s to 1h",
            "\"30s\"",
            "How long a stopping node forwards at most what still comes after that. Ends early as `drain_wait` does.",
        ),
        optional(
            "filter_memory_mib",
            "1 to 16384",
            "64",
            "What `allow` and `deny` of all services may need in the datapath; the same lists at several services count once. A million \
             IPv4 prefixes need 10 MiB at most, of IPv6 38. A list that changes is there twice for a moment.",
        ),
        optional(
            "rate_buckets",
            "1024 to 16777216",
            "65536",
            "Buckets for the prefixes of sources, of 8 bytes, of each service with `rate_limit_source`; rounded up to a power of two.",
        ),
    ],
};

/// `[metrics]`.
pub static METRICS: Section = Section {
    header: "[metrics]",
    about: "Prometheus endpoint.",
    keys: &[required(
        "listen",
        "address and port",
        r#"listen = "127.0.0.1:9488""#,
        "Where `/metrics`, `/healthz` and `/readyz` are served. On a backend an address that LB nodes reach, or `anylb backend \
         drain --wait` cannot tell when it is empty.",
    )],
};

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
             `with-bfd`: to peers with BFD, which this version has none of. `always`: to every peer; a node that dies \
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
            "peer",
            "tables",
            "none",
            "See `[[bgp.peer]]`; at least one.",
        ),
    ],
};

/// `[[bgp.peer]]`.
pub static PEER: Section = Section {
    header: "[[bgp.peer]]",
    about: "A router that VIPs are announced to.",
    keys: &[
        required(
            "address",
            "address",
            r#"address = "10.0.0.1""#,
            "Address of the session, IPv4 or IPv6.",
        ),
        required("asn", "AS number", "asn = 65000", "AS number of the peer."),
        optional("port", "port", "179", "TCP port of the peer."),
        optional(
            "password_file",
            "path",
            "no password",
            "File with the TCP MD5 secret (RFC 2385) on one line, at most 80 bytes, not readable by everybody.",
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
        reserved("bfd", "Fast failure detection beside the session."),
    ],
};

/// `[[pool]]`.
pub static POOL: Section = Section {
    header: "[[pool]]",
    about: "Backends with weights that share one table of rows.",
    keys: &[
        required(
            "name",
            "name",
            r#"name = "web""#,
            "Unique name; services refer to it.",
        ),
        optional(
            "encap",
            "\"gue\", \"ipip\" or \"l2\"",
            "\"gue\"",
            "How packets reach the backends: GUE, IP in IP of any two families, or as they are, with the backend's MAC address. \
             For `l2` the backends must be on a link of the node, with no router between, and have the VIP on `lo` without \
             answering ARP for it (`net.ipv4.conf.all.arp_ignore = 1`, `arp_announce = 2`).",
        ),
        optional(
            "mode",
            "\"rows\", \"flow-table\" or \"stateless\"",
            "\"rows\"",
            "`rows`: no state on the node, a second chance on the backend, which runs `anylb backend`. The others are for backends \
             with nothing but the kernel's decapsulation. `flow-table`: the node remembers which backend a flow has (see \
             `node.flow_table_entries`), so that flows survive changes of the pool; where a node fails, or routers send a flow to \
             another, those break whose row has moved since they began. `stateless`: flows break when their row moves.",
        ),
        optional(
            "hops",
            "1 to 4",
            "4",
            "Backends that a packet may be passed along: 1 switches the second chance off, and flows then break \
             whenever their row moves.",
        ),
        required(
            "check",
            "inline table",
            r#"check = { type = "tcp", port = 80 }"#,
            "The health check, see `check`.",
        ),
        required(
            "backend",
            "tables",
            "[[pool.backend]]",
            "See `[[pool.backend]]`; at least one, all of one family.",
        ),
        reserved("mtu", "MTU of the tunnel."),
        reserved("mss", "MSS of TCP sessions through this pool."),
        reserved("drain_time", "How long a removed backend drains."),
        reserved(
            "panic",
            "Share of failed backends above which health is not believed.",
        ),
        reserved("slow_start", "Weight rising slowly after a recovery."),
        reserved("backup", "Pool that takes over."),
    ],
};

/// `pool.check`.
pub static CHECK: Section = Section {
    header: "check = { }",
    about: "The health check of a pool's backends, made from every node to the backend's own address. One `timeout` covers \
            all that a check does, from the connection to the last byte that it waits for; every check has a connection \
            of its own. What a failed one met with stands in `anylb backend list` and `anylb health show`, such as \
            `status 503, expected 2xx` or `certificate expired 3 days ago`. A check costs its node about 0.1 ms of CPU over \
            HTTP and 0.3 ms over HTTPS, with a whole handshake each time, and all checks share one core. Most of HTTPS in \
            one line: `check = { type = \"https\", port = 8443, path = \"/alive\", host = \"web.example\", expect = [200, 204], \
            ca_file = \"backends.pem\" }`.",
    keys: &[
        Key {
            reserved: &["dns", "udp", "icmp", "grpc", "exec"],
            ..required(
                "type",
                "\"tcp\", \"http\" or \"https\"",
                r#"type = "tcp""#,
                "`tcp`: a connection is accepted. `http`, `https`: a request over HTTP/1.1 has the expected answer; \
                 redirections are not followed.",
            )
        },
        required("port", "port", "port = 80", "Destination port."),
        optional(
            "interval",
            "duration, 100ms to 1h",
            "\"2s\"",
            "Time between two checks of one backend, jittered by a tenth.",
        ),
        optional(
            "timeout",
            "duration, 10ms up to the interval",
            "\"1s\", or the interval if that is shorter",
            "When a check has failed.",
        ),
        optional(
            "rise",
            "1 to 100",
            "2",
            "Successes in a row until a backend is up.",
        ),
        optional(
            "fall",
            "1 to 100",
            "3",
            "Failures in a row until a backend is down.",
        ),
        optional(
            "path",
            "path",
            "\"/\"",
            "`http`, `https`: path of the request, with its query if it has one.",
        ),
        optional(
            "method",
            "\"GET\" or \"HEAD\"",
            "\"GET\"",
            "`http`, `https`: method of the request.",
        ),
        optional(
            "host",
            "host, with or without a port",
            "the backend's address and port",
            "`http`, `https`: the `Host` header, sent as it is written.",
        ),
        optional(
            "expect",
            "200 to 599, \"2xx\" to \"5xx\", or a list of them",
            "\"2xx\"",
            "`http`, `https`: statuses that count as success.",
        ),
        optional(
            "body",
            "text of up to 1000 bytes",
            "none",
            "`http`, `https`: what must be in the body of the answer, within its first 64 KiB. Without this key the \
             status decides and no body is read.",
        ),
        optional(
            "verify",
            "true or false",
            "true",
            "`https`: whether the certificate must be trusted, valid now, and for the right name. `false` takes any \
             certificate; clients may then be refused by what the check has passed.",
        ),
        optional(
            "ca_file",
            "path",
            "the system's root certificates",
            "`https`: PEM file with the certificates that are trusted: of a CA, or of the backends themselves where \
             they are self-signed. Read at start and at every reload.",
        ),
        optional(
            "server_name",
            "name or address",
            "`host` without its port, or the backend's address",
            "`https`: whom the certificate must be for; a name is sent as SNI.",
        ),
        reserved("query", "Name of a DNS query."),
        reserved("command", "Command of an exec check."),
        reserved("via", "Check through the tunnel to the VIP."),
    ],
};

/// `[[pool.backend]]`.
pub static MEMBER: Section = Section {
    header: "[[pool.backend]]",
    about: "A backend of the pool above it.",
    keys: &[
        required(
            "address",
            "address",
            r#"address = "10.1.0.1""#,
            "Where the tunnel ends, and the identity of the backend in rows; none twice in a pool.",
        ),
        optional(
            "weight",
            "1 to 1000",
            "100",
            "Share of new flows in proportion to the others.",
        ),
        optional(
            "name",
            "name",
            "none",
            "Shown beside the address; unique in the pool.",
        ),
        reserved("server_id", "Server id in QUIC connection ids."),
    ],
};

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
            "address",
            r#"vip = "192.0.2.10""#,
            "The address clients use.",
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
        Key {
            reserved: &["last-resort"],
            ..optional(
                "below_need",
                "\"withdraw\"",
                "\"withdraw\"",
                "What happens to the announcement with fewer healthy backends than `need`.",
            )
        },
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
             `mode = \"flow-table\"` a flow is known to the CPU that it had come to. ICMP errors go on.",
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
        reserved("hold_up", "Wait before a VIP is announced again."),
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

/// Values of a list of communities.
const COMMUNITIES: &str = "list of \"asn:value\", \"asn:value:value\" or a well-known name";

/// `[backend]`.
pub static BACKEND: Section = Section {
    header: "[backend]",
    about: "Makes this box a backend: it takes packets out of the tunnel. Without pools it is that alone (`anylb backend run`); with pools it is \
            an LB node as well (`anylb run`), on one interface, and takes what its rows name it for without a tunnel.",
    keys: &[
        required(
            "trusted_lbs",
            "list of prefixes",
            r#"trusted_lbs = ["10.0.0.0/24"]"#,
            "Where tunnelled packets may come from: the LB nodes. Keep it narrow: whoever is in it can send to a VIP \
             under any source address.",
        ),
        required(
            "trusted_backends",
            "list of prefixes",
            r#"trusted_backends = ["10.1.0.0/24"]"#,
            "The other backends of the pool: packets of flows that are not ours come from there and are passed on to \
             there. `[]` switches the second chance off.",
        ),
        optional(
            "mss",
            "\"auto\", \"off\" or 536 to 65495",
            "\"auto\"",
            "Upper limit of the MSS in SYN-ACKs from VIPs, so that no packet is too big for the tunnel. `auto`: what \
             fits the interface's MTU with the largest tunnel header of a family that is in `trusted_lbs`.",
        ),
        optional(
            "hook",
            "\"xdp\" or \"tc\"",
            "\"xdp\"",
            "Where packets are taken out of the tunnel: by an XDP program (`xdp`, see `node.xdp_mode`), or by a TC program \
             on ingress (`tc`), for interfaces without native XDP and for hosts that keep GRO and LRO on. Only in a file \
             without pools.",
        ),
    ],
};

const fn required(
    name: &'static str,
    values: &'static str,
    example: &'static str,
    about: &'static str,
) -> Key {
    Key {
        name,
        values,
        reserved: &[],
        presence: Presence::Required(example),
        about,
    }
}

const fn optional(
    name: &'static str,
    values: &'static str,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key {
        name,
        values,
        reserved: &[],
        presence: Presence::Default(default),
        about,
    }
}

const fn reserved(name: &'static str, about: &'static str) -> Key {
    Key {
        name,
        values: "",
        reserved: &[],
        presence: Presence::Reserved,
        about,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_section() {
        let below: Vec<_> = SECTIONS
            .iter()
            .flat_map(|section| section.built().filter_map(|key| section.below(key)))
            .map(|section| section.header)
            .collect();
        for section in &SECTIONS[1..] {
            let times = below.iter().filter(|header| **header == section.header);
            assert_eq!(times.count(), 1, "{}", section.header);
        }
    }

    #[test]
    fn no_key_twice_in_a_section() {
        for section in SECTIONS {
            for (at, key) in section.keys.iter().enumerate() {
                let first = section.keys.iter().position(|other| other.name == key.name);
                assert_eq!(first, Some(at), "{} {}", section.header, key.name);
            }
        }
    }
}
