use super::{Bench, same_as, too_wide};
use crate::api::fake::{self, FakeNode};
use crate::status::{Exit, NodeStatus};

#[tokio::test]
async fn a_degraded_node_is_shown_whole_and_ends_with_7() {
    let (text, exit) = Bench::new(FakeNode::lb()).run("status").await;
    assert_eq!(
        text,
        "\
lb1: LB node, anylb 0.1.0, generation 12, up 2h5m, adopted a running datapath

INTERFACE  MODE    DATAPATH
eth0       native  attached

SERVICE  VIP                          PORTS       POOL  HEALTHY  NEED  ANNOUNCED
web-v4   198.51.100.10                80,443/tcp  web       2/3     1  yes
web-v6   2001:db8:ffff:ffff:ffff:fff  80/tcp      web6      0/1     1  no
         f:ffff:10

POOL  BACKENDS  UP  DOWN  NOT READY  REMEMBERED  TABLE HASH
web          3   2     1          1           1  0123456789abcdef
web6         1   0     0          0           0  fedcba9876543210

PEER              AS  STATE        SINCE  ANNOUNCED
10.0.0.1       65000  Established   2h5m          1
eth1      4200000001  Active         12s          0

! web-v6: 2001:db8:ffff:ffff:ffff:ffff:ffff:10 is not announced: 0 of 1 needed backends are healthy
! eth1: BGP session is Active: nothing answers on port 179
! state: cannot write /var/lib/anylb: a restart would forget inputs and overrides
"
    );
    assert_eq!(exit, Exit::Degraded);
}

#[tokio::test]
async fn wide_wraps_nothing() {
    let (text, exit) = Bench::new(FakeNode::lb()).run("status -o wide").await;
    assert_eq!(
        text,
        "\
lb1: LB node, anylb 0.1.0, generation 12, up 2h5m, adopted a running datapath

INTERFACE  MODE    DATAPATH
eth0       native  attached

SERVICE  VIP                                   PORTS       POOL  HEALTHY  NEED  ANNOUNCED
web-v4   198.51.100.10                         80,443/tcp  web       2/3     1  yes
web-v6   2001:db8:ffff:ffff:ffff:ffff:ffff:10  80/tcp      web6      0/1     1  no

POOL  BACKENDS  UP  DOWN  NOT READY  REMEMBERED  TABLE HASH
web          3   2     1          1           1  0123456789abcdef0123456789abcdef
web6         1   0     0          0           0  fedcba9876543210fedcba9876543210

PEER              AS  STATE        SINCE  ANNOUNCED
10.0.0.1       65000  Established   2h5m          1
eth1      4200000001  Active         12s          0

! web-v6: 2001:db8:ffff:ffff:ffff:ffff:ffff:10 is not announced: 0 of 1 needed backends are healthy
! eth1: BGP session is Active: nothing answers on port 179
! state: cannot write /var/lib/anylb: a restart would forget inputs and overrides
"
    );
    assert_eq!(exit, Exit::Degraded);
}

#[tokio::test]
async fn a_node_that_is_well_ends_with_0() {
    let node = FakeNode::new(fake::healthy(), None);
    let (text, exit) = Bench::new(node).run("status").await;
    assert_eq!(
        text,
        "\
lb1: LB node, anylb 0.1.0, generation 12, up 2h5m, adopted a running datapath

INTERFACE  MODE    DATAPATH
eth0       native  attached

SERVICE  VIP            PORTS       POOL  HEALTHY  NEED  ANNOUNCED
web-v4   198.51.100.10  80,443/tcp  web       2/3     1  yes

POOL  BACKENDS  UP  DOWN  NOT READY  REMEMBERED  TABLE HASH
web          3   2     1          1           1  0123456789abcdef

PEER         AS  STATE        SINCE  ANNOUNCED
10.0.0.1  65000  Established   2h5m          1
"
    );
    assert_eq!(exit, Exit::Ok);
}

#[tokio::test]
async fn a_backend_has_no_pools_and_no_sessions() {
    let (text, exit) = Bench::new(FakeNode::backend()).run("status").await;
    assert_eq!(
        text,
        "\
b1: backend, anylb 0.1.0, generation 12, up 2h5m

INTERFACE  MODE    DATAPATH
eth0       native  attached

SERVICE  VIP            PORTS
web-v4   198.51.100.10  80/tcp
"
    );
    assert_eq!(exit, Exit::Ok);
}

#[tokio::test]
async fn on_a_terminal_verdicts_are_green_or_red() {
    let (text, _) = Bench::new(FakeNode::lb()).run_in_colour("status").await;
    let green = |word: &str| format!("\u{1b}[38;5;10m{word}");
    let red = |word: &str| format!("\u{1b}[38;5;9m{word}");
    for part in [
        green("attached"),
        green("yes"),
        red("no"),
        green("Established"),
        red("Active"),
    ] {
        assert!(text.contains(&part), "{part:?} in {text}");
    }
    let (plain, _) = Bench::new(FakeNode::lb()).run("status").await;
    assert!(!plain.contains('\u{1b}'));
}

#[tokio::test]
async fn json_is_the_agents_own_answer() {
    let (text, exit) = Bench::new(FakeNode::lb()).run("status --json").await;
    same_as("status.json", &text);
    assert_eq!(exit, Exit::Degraded);
}

#[tokio::test]
async fn tables_fit_80_columns() {
    let bench = Bench::new(FakeNode::lb());
    for line in [
        "status",
        "backend list",
        "bgp peers",
        "drops",
        "explain 192.0.2.1:4000 198.51.100.10:80",
    ] {
        let (text, _) = bench.run(line).await;
        let tables: String = text
            .lines()
            .filter(|line| !line.starts_with('!'))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(too_wide(&tables), Vec::<&str>::new(), "{line}");
    }
}

#[test]
fn a_vip_without_a_peer_to_tell_is_not_degraded() {
    let mut node = fake::healthy();
    node.services[0].announced = false;
    assert_eq!(
        node.not_serving(),
        ["web-v4: 198.51.100.10 is not announced: no reason given"]
    );
    node.peers.clear();
    assert_eq!(node.not_serving(), Vec::<String>::new());
}

#[test]
fn a_detached_datapath_is_degraded() {
    let mut node: NodeStatus = fake::healthy();
    assert_eq!(node.troubles(), Vec::<String>::new());
    node.interfaces[0].attached = false;
    assert_eq!(node.not_serving(), ["eth0: the datapath is not attached"]);
    assert_eq!(node.troubles(), node.not_serving());
}

#[test]
fn one_session_down_is_trouble_and_all_down_is_not_serving() {
    let mut node = fake::healthy();
    node.peers = fake::lb().peers;
    assert_eq!(node.not_serving(), Vec::<String>::new());
    let down = "eth1: BGP session is Active: nothing answers on port 179";
    assert_eq!(node.troubles(), [down]);
    node.peers.remove(0);
    let unheard = "no BGP session is Established: no router hears of the VIPs";
    assert_eq!(node.not_serving(), [unheard]);
    assert_eq!(node.troubles(), [unheard, down]);
}

#[test]
fn a_rejected_reload_is_trouble_until_the_next_one() {
    let mut node = fake::healthy();
    node.config.last_reload_successful = false;
    node.config.reloads_rejected = 1;
    assert_eq!(
        node.troubles(),
        [
            "the last reload was rejected and the configuration before it is in force: see `anylb check`"
        ]
    );
    node.config.last_reload_successful = true;
    assert_eq!(node.troubles(), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_that_starts_says_so() {
    let node = NodeStatus::starting("lb1", "lb", fake::START_TIME_SECS);
    let (text, exit) = Bench::new(FakeNode::new(node, None)).run("status").await;
    assert_eq!(
        text,
        "\
lb1: LB node, anylb 0.1.0, generation 12, up 2h5m

! starting: checks and next hops are not all in yet
"
    );
    assert_eq!(exit, Exit::Degraded);
}
