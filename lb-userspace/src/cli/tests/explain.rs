use super::Bench;
use crate::api::fake::{self, FakeNode};
use crate::status::{Counters, Exit, Refusal};

#[tokio::test]
async fn explain_shows_decision_and_hops() {
    let answer = Bench::new(FakeNode::lb())
        .run("explain 192.0.2.1:4000 198.51.100.10:80/tcp")
        .await;
    assert_eq!(
        answer,
        (
            "\
packet     192.0.2.1:4000 -> 198.51.100.10:80
exit       sent (tx)
service    web-v4
row        40961
interface  eth0
because    row 40961 of pool web is owned by 10.1.0.2

HOP  BACKEND   NAME  HEALTH  ADMIN
  0  10.1.0.2  b2    up      ready
  1  10.1.0.1  b1    up      draining
  2  10.1.0.3  -     down    ready
"
            .to_string(),
            Exit::Ok
        )
    );
}

#[tokio::test]
async fn explain_ipv6_as_json() {
    let answer = Bench::new(FakeNode::lb())
        .run("explain [2001:db8::1]:4000 [2001:db8:2::1]:80 --json")
        .await;
    assert_eq!(
        answer,
        (
            "\
{
  \"schema\": \"anylb/v1\",
  \"generation\": 12,
  \"source\": \"[2001:db8::1]:4000\",
  \"destination\": \"[2001:db8:2::1]:80\",
  \"exit\": \"sent\",
  \"action\": \"tx\",
  \"service\": \"web-v4\",
  \"filter\": null,
  \"row\": 40961,
  \"hops\": [
    {
      \"address\": \"10.1.0.2\",
      \"name\": \"b2\",
      \"health\": \"up\",
      \"admin\": \"ready\"
    },
    {
      \"address\": \"10.1.0.1\",
      \"name\": \"b1\",
      \"health\": \"up\",
      \"admin\": \"draining\"
    },
    {
      \"address\": \"10.1.0.3\",
      \"name\": null,
      \"health\": \"down\",
      \"admin\": \"ready\"
    }
  ],
  \"remembered\": [],
  \"interface\": \"eth0\",
  \"because\": \"row 40961 of pool web is owned by 10.1.0.2\"
}
"
            .to_string(),
            Exit::Ok
        )
    );
}

#[tokio::test]
async fn explain_names_the_prefix_that_refuses() {
    let bench = Bench::new(FakeNode::lb());
    let line = "explain 203.0.113.9:4000 198.51.100.10:80";
    let (text, _) = bench.run(line).await;
    assert_eq!(
        text,
        "\
packet   203.0.113.9:4000 -> 198.51.100.10:80
exit     denied (drop)
service  web-v4
list     deny 203.0.113.0/24, /etc/anylb/drop.txt
because  the source is in a `deny` list
"
    );
    let (json, _) = bench.run(&format!("{line} --json")).await;
    let filter = "\
  \"filter\": {
    \"list\": \"deny\",
    \"prefix\": \"203.0.113.0/24\",
    \"file\": \"/etc/anylb/drop.txt\"
  },
";
    assert!(json.contains(filter), "{json}");
}

#[tokio::test]
async fn explain_names_who_has_a_flow_that_is_known() {
    let bench = Bench::new(FakeNode::lb());
    let line = "explain 192.0.2.77:4000 198.51.100.10:80";
    let (text, _) = bench.run(line).await;
    let said = "\
row        40961
flow       CPU 3 remembers it with 10.1.0.1 (b1), seen 2 s ago
interface  eth0
";
    assert!(text.contains(said), "{text}");
    let (json, _) = bench.run(&format!("{line} --json")).await;
    let remembered = "\
  \"remembered\": [
    {
      \"cpu\": 3,
      \"address\": \"10.1.0.1\",
      \"name\": \"b1\",
      \"silent_secs\": 2
    }
  ],
";
    assert!(json.contains(remembered), "{json}");
}

#[tokio::test]
async fn explain_of_two_families_is_a_usage_error() {
    let answer = Bench::new(FakeNode::lb())
        .run("explain 192.0.2.1:4000 [2001:db8:2::1]:80")
        .await;
    let text = "anylb: one address is IPv4 and the other IPv6: a packet has both of one family";
    assert_eq!(answer, (text.to_string(), Exit::Usage));
}

#[tokio::test]
async fn drops_with_the_most_first() {
    let answer = Bench::new(FakeNode::lb()).run("drops").await;
    assert_eq!(
        answer,
        (
            "\
PACKETS  REASON      WHAT TO DO
      7  no_service  clients use a port or protocol that no [[service]] has
      3  bad_source  spoofed sources: filter them at the edge; nodes and
                     backends cannot be clients of a VIP
"
            .to_string(),
            Exit::Ok
        )
    );
}

#[tokio::test]
async fn wide_drops_have_those_that_never_occurred() {
    let answer = Bench::new(FakeNode::lb()).run("drops -o wide").await;
    assert_eq!(answer, ("\
PACKETS  REASON      WHAT TO DO
      7  no_service  clients use a port or protocol that no [[service]] has
      3  bad_source  spoofed sources: filter them at the edge; nodes and backends cannot be clients of a VIP
      0  malformed   broken sender, or an attack
".to_string(), Exit::Ok));
}

#[tokio::test]
async fn no_drops() {
    let answer = Bench::new(FakeNode::backend()).run("drops").await;
    let text = "no packet was dropped (1 reason watched)\n";
    assert_eq!(answer, (text.to_string(), Exit::Ok));
}

#[tokio::test]
async fn drops_as_json() {
    let answer = Bench::new(FakeNode::backend()).run("drops --json").await;
    assert_eq!(
        answer,
        (
            "\
{
  \"schema\": \"anylb/v1\",
  \"generation\": 12,
  \"drops\": [
    {
      \"name\": \"untrusted\",
      \"action\": \"drop\",
      \"packets\": 0,
      \"advice\": \"add the LB's prefix to trusted_lbs\"
    }
  ]
}
"
            .to_string(),
            Exit::Ok
        )
    );
}

#[tokio::test]
async fn counters_that_cannot_be_read_end_with_1() {
    let counters: Result<Counters, Refusal> = Err(Refusal::failed(
        "cannot read the map exits: restart the agent",
    ));
    let node = FakeNode::new(fake::lb(), Some(counters));
    let answer = Bench::new(node).run("drops").await;
    let text = "anylb: cannot read the map exits: restart the agent";
    assert_eq!(answer, (text.to_string(), Exit::Failed));
}
