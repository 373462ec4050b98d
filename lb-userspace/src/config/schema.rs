//! Every key of the file, in one table: what is read, what is refused as unknown, what is reserved, and the reference
//! documentation all follow from it.

mod bgp;
mod pool;
mod service;

pub use bgp::{AGGREGATE, BFD, BGP, PEER};
pub use pool::{CHECK, MEMBER, POOL};
pub use service::{ANNOUNCE, PREFIX_FILE, RATE_LIMIT, RATE_LIMIT_SOURCE, SERVICE};

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
pub const SECTIONS: [&Section; 15] = [
    &FILE,
    &NODE,
    &METRICS,
    &BGP,
    &AGGREGATE,
    &PEER,
    &BFD,
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
