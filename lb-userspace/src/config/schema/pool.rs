//! `[[pool]]`, its check and its backends.

use super::{Key, Section, optional, required, reserved};

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
