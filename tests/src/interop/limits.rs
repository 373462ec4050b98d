//! What a router cannot do: a check that fails for such a reason is no failure of the speaker.

use super::daemon::Kind;

/// A limit of one router.
struct Limit {
    kind: Kind,
    scenario: &'static str,
    /// Beginning of the checks that it concerns.
    check: &'static str,
    why: &'static str,
}

const LIMITS: [Limit; 15] = [
    Limit {
        kind: Kind::Gobgp,
        scenario: "dial over IPv4",
        check: "route refresh",
        why: "GoBGP keeps what it heard, and takes that where it is told to ask again",
    },
    Limit {
        kind: Kind::Exabgp,
        scenario: "TTL security",
        check: "",
        why: "ExaBGP sets the TTL of connections that it makes, not of those that it accepts",
    },
    Limit {
        kind: Kind::Openbgpd,
        scenario: "TCP MD5",
        check: "",
        why: SIGNS_ONLY_ITS_OWN,
    },
    Limit {
        kind: Kind::Frr,
        scenario: "another password",
        check: "session kept",
        why: "FRR ends a session whose password it is told to change",
    },
    Limit {
        kind: Kind::Bird,
        scenario: "another password",
        check: "session kept",
        why: "BIRD begins a protocol anew whose password changes",
    },
    Limit {
        kind: Kind::Gobgp,
        scenario: "another password",
        check: "",
        why: "GoBGP takes a password when it starts",
    },
    Limit {
        kind: Kind::Exabgp,
        scenario: "another password",
        check: "",
        why: "ExaBGP begins a neighbor anew that changes",
    },
    Limit {
        kind: Kind::Openbgpd,
        scenario: "another password",
        check: "",
        why: SIGNS_ONLY_ITS_OWN,
    },
    Limit {
        kind: Kind::Gobgp,
        scenario: "two-octet peer",
        check: "",
        why: "GoBGP always knows four octets",
    },
    Limit {
        kind: Kind::Frr,
        scenario: "two-octet peer",
        check: "IPv6 route",
        why: "FRR is one of two octets only without capabilities, and then of IPv4 alone",
    },
    Limit {
        kind: Kind::Openbgpd,
        scenario: "bandwidth and aggregate",
        check: "IPv4 route with its bandwidth",
        why: FROM_OTHER_ASES,
    },
    Limit {
        kind: Kind::Openbgpd,
        scenario: "bandwidth and aggregate",
        check: "IPv6 route with its bandwidth",
        why: FROM_OTHER_ASES,
    },
    Limit {
        kind: Kind::Exabgp,
        scenario: "graceful restart",
        check: "routes kept",
        why: "ExaBGP keeps no table",
    },
    Limit {
        kind: Kind::Frr,
        scenario: "link-local, accept",
        check: "",
        why: WAITS_FOR_AN_INDEX,
    },
    Limit {
        kind: Kind::Bird,
        scenario: "unnumbered, accept",
        check: "",
        why: "BIRD learns no neighbor from router advertisements: it takes one that connects, and cannot dial it",
    },
];

/// What routers have nothing of, in every scenario whose name begins so, and why that is.
const MISSING: [(&[Kind], &str, &str); 2] = [
    (
        &[Kind::Gobgp, Kind::Exabgp, Kind::Openbgpd],
        "BFD",
        "GoBGP, ExaBGP and OpenBGPD 7 have no BFD",
    ),
    (
        &[Kind::Exabgp, Kind::Openbgpd],
        "unnumbered",
        "ExaBGP and OpenBGPD know neighbors by addresses alone",
    ),
];

const SIGNS_ONLY_ITS_OWN: &str =
    "OpenBGPD on Linux signs connections that it makes, and accepts none that are signed";

/// Its log says "Unable to locate ifindex, waiting till we have one": `bgp_find_or_add_nexthop` (bgpd/bgp_nht.c) wants the index in
/// the address of the peer, which comes with `neighbor INTERFACE interface` alone. Since FRR pull request 11661.
const WAITS_FOR_AN_INDEX: &str = "FRR 8.4 never dials `neighbor ADDRESS interface INTERFACE`: its next hop tracking waits for an interface index that it does not \
     look up there (FRR issue 12860); `neighbor INTERFACE interface` it dials, see \"unnumbered, accept\"";

const FROM_OTHER_ASES: &str =
    "OpenBGPD drops extended communities from other ASes that are not transitive";

/// Why this router fails this check; none: it is no limit of its own.
pub fn of(kind: Kind, scenario: &str, check: &str) -> Option<&'static str> {
    let concerned = |limit: &&Limit| {
        limit.kind == kind && limit.scenario == scenario && check.starts_with(limit.check)
    };
    let of_check = LIMITS.iter().find(concerned).map(|limit| limit.why);
    let is_missing = |(kinds, feature, _): &&(&[Kind], &str, _)| {
        kinds.contains(&kind) && scenario.starts_with(feature)
    };
    of_check.or_else(|| MISSING.iter().find(is_missing).map(|(_, _, why)| *why))
}
