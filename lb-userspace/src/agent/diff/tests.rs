use super::*;
use crate::agent::adopt::Adopted;
use crate::agent::state::State;
use crate::agent::testing::{Surroundings, name, pool, settings};
use crate::model::AdminState;
use crate::status::{Health, ValueDiff};

const BGP: &str = "[bgp]\nasn = 65001\n[[bgp.peer]]\naddress = \"10.0.0.1\"\nasn = 65000\n";
const VIP: &str = "198.51.100.1";

/// A core that serves a configuration, and what it is told.
struct Bench {
    core: Core,
    surroundings: Surroundings,
}

impl Bench {
    fn new(lines: &str) -> Self {
        let settings = settings(lines);
        let surroundings = Surroundings::of(&settings);
        let mut core = Core::new(settings, State::default(), Adopted::default());
        core.update(surroundings.world()).expect("few members");
        Self { core, surroundings }
    }

    fn diff(&mut self, lines: &str) -> ConfigDiff {
        let world = self.surroundings.world();
        let next = settings(lines);
        self.core.diff(&next, world).expect("few members")
    }
}

fn diff(before: &str, after: &str) -> ConfigDiff {
    Bench::new(before).diff(after)
}

fn values(values: &[ValueDiff]) -> Vec<String> {
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    let line = |one: &ValueDiff| format!("{} {} {}", one.key, word(&one.before), word(&one.after));
    values.iter().map(line).collect()
}

fn web(backends: &[u8], service: &str) -> String {
    pool("web", VIP, backends, service)
}

#[test]
fn a_file_that_says_the_same_differs_in_nothing() {
    let lines = format!("{BGP}{}", web(&[1, 2], ""));
    let diff = diff(&lines, &format!("# a comment\n{lines}"));
    assert!(diff.is_empty(), "{diff:?}");
    assert!(diff.objections.is_empty(), "{diff:?}");
}

#[test]
fn a_backend_more_moves_its_share_of_the_rows_and_breaks_nothing() {
    let diff = diff(&web(&[1, 2, 3], ""), &web(&[1, 2, 3, 4], ""));
    let [pool] = diff.pools.as_slice() else {
        panic!("{diff:?}")
    };
    assert_eq!((&pool.name, pool.fate), (&name("web"), Fate::Changed));
    let backends: Vec<_> = pool.backends.iter().map(|b| (b.address, b.fate)).collect();
    assert_eq!(backends, [([10, 1, 0, 4].into(), Fate::Added)]);
    let rows = pool.rows.expect("rows move");
    assert!((ROWS / 5..ROWS * 3 / 10).contains(&rows.moved), "{rows:?}");
    assert_eq!(
        (rows.inputs, rows.uncovered, rows.newly_uncovered),
        (1, 0, 0)
    );
    assert!(rows.has_flows);
    assert!(diff.objections.is_empty(), "{diff:?}");
    assert!(
        diff.services.is_empty() && diff.routes.is_empty(),
        "{diff:?}"
    );
}

#[test]
fn without_a_second_chance_a_change_of_members_is_objected_to() {
    let plain = |backends: &[u8], udp: &str| {
        web(backends, "")
            .replace("name = \"web\"", "name = \"web\"\nhops = 1")
            .replace("protocol = \"tcp\"", udp)
    };
    let tcp = "protocol = \"tcp\"";
    let of_tcp = diff(&plain(&[1, 2, 3], tcp), &plain(&[1, 2], tcp));
    let [objection] = of_tcp.objections.as_slice() else {
        panic!("{of_tcp:?}")
    };
    assert!(objection.starts_with("pool web: up to 3"), "{objection}");
    assert!(
        objection.ends_with(" % of its flows would lose their backend"),
        "{objection}"
    );
    for (udp, objections) in [
        ("protocol = \"udp\"\nudp = \"stateless\"", 0),
        ("protocol = \"udp\"\nudp = \"connected\"", 1),
    ] {
        let diff = diff(&plain(&[1, 2, 3], udp), &plain(&[1, 2], udp));
        assert_eq!(diff.objections.len(), objections, "{udp}: {diff:?}");
    }
}

#[test]
fn fewer_hops_lose_the_flows_of_remembered_owners() {
    let mut bench = Bench::new(&web(&[1, 2], ""));
    bench.core.settings = settings(&web(&[1, 2, 3], ""));
    let world = bench.surroundings.world();
    bench.core.update(world).expect("few members");
    let fewer = web(&[1, 2, 3], "").replace("name = \"web\"", "name = \"web\"\nhops = 1");
    let diff = bench.diff(&fewer);
    assert_eq!(values(&diff.pools[0].changes), ["hops 4 1"]);
    let rows = diff.pools[0]
        .rows
        .expect("a third of the rows were another's");
    assert_eq!((rows.inputs, rows.moved), (2, 0));
    assert!(rows.newly_uncovered > ROWS / 4, "{rows:?}");
    assert_eq!(diff.objections.len(), 1, "{diff:?}");
}

#[test]
fn what_the_operator_said_counts() {
    let mut bench = Bench::new(&web(&[1, 2, 3], ""));
    let core = &mut bench.core;
    core.set_admin(None, "be3", AdminState::Draining, false)
        .expect("known");
    let world = bench.surroundings.world();
    bench.core.update(world).expect("few members");
    let rows = bench.diff(&web(&[1, 2], "")).pools[0].rows;
    let rows = rows.expect("another input, if not other owners");
    assert_eq!(
        (rows.moved, rows.inputs),
        (0, 2),
        "it owns no rows any more"
    );
}

#[test]
fn services_say_what_becomes_of_them() {
    let both = format!("{}{}", web(&[1], ""), pool("dns", "198.51.100.2", &[2], ""));
    let changed = web(&[1], "need = 1").replace("[80]", "[80, 443]");
    let after = format!("{changed}{}", pool("new", "198.51.100.3", &[3], ""));
    let diff = diff(&both, &after);
    let services: Vec<_> = diff
        .services
        .iter()
        .map(|s| (s.name.as_str(), s.fate, values(&s.changes)))
        .collect();
    assert_eq!(
        services,
        [
            (
                "web-service",
                Fate::Changed,
                vec!["ports 80 80, 443".to_owned()]
            ),
            ("new-service", Fate::Added, vec![]),
            ("dns-service", Fate::Removed, vec![]),
        ]
    );
    let pools: Vec<_> = diff
        .pools
        .iter()
        .map(|p| (p.name.0.as_str(), p.fate))
        .collect();
    assert_eq!(pools, [("dns", Fate::Removed), ("new", Fate::Added)]);
}

#[test]
fn a_service_takes_its_flows_to_another_pool() {
    let two = |service_pool: &str, other: &[u8]| {
        let spare = pool("spare", "198.51.100.9", other, "");
        let web = web(&[1, 2], "");
        format!(
            "{}{spare}",
            web.replace("pool = \"web\"", &format!("pool = \"{service_pool}\""))
        )
    };
    let moved = diff(&two("web", &[3, 4]), &two("spare", &[3, 4]));
    let [service] = moved.services.as_slice() else {
        panic!("{moved:?}")
    };
    assert_eq!(values(&service.changes), ["pool web spare"]);
    assert_eq!(service.rows.map(|rows| rows.newly_uncovered), Some(ROWS));
    assert_eq!(
        moved.objections,
        ["service web-service: up to 100.00 % of its flows would lose their backend"]
    );
    let renamed = diff(&two("web", &[1, 2]), &two("spare", &[1, 2]));
    assert_eq!(
        renamed.services[0].rows.map(|rows| rows.newly_uncovered),
        Some(0)
    );
    assert!(renamed.objections.is_empty(), "{renamed:?}");
}

#[test]
fn a_renamed_service_has_the_same_flows() {
    let before = web(&[1], "");
    let after = pool("other", VIP, &[2], "");
    let diff = diff(&before, &after);
    let added = &diff.services[0];
    assert_eq!(
        (added.name.as_str(), added.fate),
        ("other-service", Fate::Added)
    );
    assert_eq!(added.rows.map(|rows| rows.newly_uncovered), Some(ROWS));
}

#[test]
fn routes_that_come_and_go_with_their_reason() {
    let two = format!(
        "{BGP}{}{}",
        web(&[1], ""),
        pool("dns", "198.51.100.2", &[1], "")
    );
    let mut bench = Bench::new(&two);
    let three = format!(
        "{BGP}{}{}",
        web(&[1], ""),
        pool("new", "198.51.100.3", &[9], "")
    );
    let diff = bench.diff(&three);
    let routes: Vec<_> = diff
        .routes
        .iter()
        .map(|r| (r.prefix.to_string(), r.fate, r.reason.as_deref()))
        .collect();
    let gone = Some("it leaves the configuration");
    assert_eq!(
        routes,
        [("198.51.100.2/32".into(), Fate::Removed, gone)],
        "nobody has asked 10.1.0.9 yet"
    );
    bench.surroundings.say("new", "10.1.0.9", Health::Up);
    bench.surroundings.route("10.1.0.9", Ok(()));
    let world = bench.surroundings.world();
    bench.core.settings = settings(&three);
    bench.core.update(world).expect("few members");
    let back = bench.diff(&two);
    let routes: Vec<_> = back
        .routes
        .iter()
        .map(|r| (r.prefix.to_string(), r.fate))
        .collect();
    let (up, gone) = (Fate::Added, Fate::Removed);
    assert_eq!(
        routes,
        [
            ("198.51.100.2/32".into(), up),
            ("198.51.100.3/32".into(), gone)
        ],
        "what is known of a backend counts"
    );
}

#[test]
fn when_every_vip_would_go_it_is_objected_to() {
    let one = format!("{BGP}{}", web(&[1, 2], ""));
    for (about, after, objection) in [
        (
            "all backends are new",
            web(&[3, 4], ""),
            Some("(web-service: 0 of 2 backends healthy, 1 needed)"),
        ),
        (
            "another VIP with a backend that nobody has checked",
            pool("new", "198.51.100.2", &[3], ""),
            Some("(it leaves the configuration)"),
        ),
        ("one backend stays", web(&[1, 3], ""), None),
    ] {
        let diff = diff(&one, &format!("{BGP}{after}"));
        let found: Vec<&str> = diff
            .objections
            .iter()
            .filter_map(|o| o.strip_prefix("every VIP that is announced would be withdrawn "))
            .collect();
        assert_eq!(
            found,
            objection.into_iter().collect::<Vec<_>>(),
            "{about}: {diff:?}"
        );
    }
}

#[test]
fn nothing_that_is_announced_can_go() {
    let mut bench = Bench::new(&format!("{BGP}{}", web(&[1], "")));
    bench.surroundings.say("web", "10.1.0.1", Health::Down);
    let diff = bench.diff(&format!("{BGP}{}", web(&[2], "")));
    assert!(diff.routes.is_empty(), "{diff:?}");
    assert!(
        diff.objections.iter().all(|o| !o.contains("withdrawn")),
        "{diff:?}"
    );
}

#[test]
fn policies_are_told_by_key_and_by_route() {
    let with = |bgp: &str, peer: &str, service: &str| {
        format!(
            "[bgp]\nasn = 65001\n{bgp}\n[[bgp.peer]]\naddress = \"10.0.0.1\"\nasn = 65000\n{peer}\n{}",
            web(&[1], service)
        )
    };
    let before = with("", "", "");
    let diff = diff(
        &before,
        &with(
            "communities = [\"65001:7\"]",
            "med = 5",
            "announce = { prepend = 2 }",
        ),
    );
    assert_eq!(
        values(&diff.bgp),
        ["bgp.communities - 65001:7", "bgp.peer 10.0.0.1 med - 5"]
    );
    assert_eq!(values(&diff.services[0].changes), ["announce.prepend 0 2"]);
    let [route] = diff.routes.as_slice() else {
        panic!("{diff:?}")
    };
    assert_eq!(route.fate, Fate::Changed);
    assert_eq!(
        values(&route.changes),
        ["communities - 65001:7", "med - 5", "prepend 0 2"]
    );
    assert!(
        diff.restart.is_empty() && diff.objections.is_empty(),
        "{diff:?}"
    );
}

#[test]
fn what_needs_a_restart_is_named_by_key() {
    let with = |node: &str, bgp: &str| format!("{bgp}\n{}\n{node}", web(&[1], ""));
    let before = with("", "");
    let after = with("[metrics]\nlisten = \"127.0.0.1:9488\"", BGP);
    assert_eq!(
        values(&diff(&before, &after).restart),
        ["metrics.listen - 127.0.0.1:9488", "bgp not there there"]
    );
    let longer = BGP.replace("asn = 65001", "asn = 65001\nhold_time = \"30s\"");
    let passworded = longer.replace("asn = 65000", "asn = 65000\nport = 1179");
    assert_eq!(
        values(&diff(&with("", BGP), &with("", &passworded)).restart),
        ["bgp.hold_time 9s 30s", "bgp.peer 10.0.0.1 - -"]
    );
}

#[test]
fn asking_changes_nothing() {
    let lines = format!("{BGP}{}", web(&[1, 2, 3], ""));
    let (mut asked, mut unasked) = (Bench::new(&lines), Bench::new(&lines));
    asked.diff(&format!("{BGP}{}", web(&[2, 3, 4, 5], "")));
    assert_eq!(asked.core.state, unasked.core.state);
    let next = settings(&format!("{BGP}{}", web(&[1, 2], "")));
    for bench in [&mut asked, &mut unasked] {
        bench.core.settings = next.clone();
        let world = bench.surroundings.world();
        bench.core.update(world).expect("few members");
    }
    let table = |bench: &Bench| {
        bench
            .core
            .rows(&name("web"))
            .and_then(|rows| rows.table().cloned())
    };
    assert!(table(&asked) == table(&unasked));
    assert_eq!(asked.core.state, unasked.core.state);
}
