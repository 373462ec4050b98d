use super::Bench;
use crate::api::fake::FakeNode;
use crate::status::Exit;

#[tokio::test]
async fn list_has_the_reasons_below() {
    let answer = Bench::new(FakeNode::lb()).run("backend list").await;
    assert_eq!(
        answer,
        (
            "\
POOL  BACKEND        NAME  WEIGHT  ADMIN     HEALTH       ROWS
web   10.1.0.1       b1       100  draining  up         0.00 %
web   10.1.0.2       b2       100  ready     up       100.00 %
web   10.1.0.3       -        100  ready     down       0.00 %
web6  2001:db8:1::1  -        100  ready     unknown   33.33 %

! 10.1.0.3 in web: connection refused by 10.1.0.3 port 8080
! 2001:db8:1::1 in web6: its next hop is not resolved
* 10.1.0.1 in web: draining on this node only, until it reboots
* 10.1.0.3 in web: path MTU 1400, as a router says
"
            .to_string(),
            Exit::Ok
        )
    );
}

#[tokio::test]
async fn wide_list_has_the_reasons_beside() {
    let answer = Bench::new(FakeNode::lb()).run("backend list -o wide").await;
    assert_eq!(answer, ("\
POOL  BACKEND        NAME  WEIGHT  ADMIN     HEALTH       ROWS  REASON
web   10.1.0.1       b1       100  draining  up         0.00 %  -
web   10.1.0.2       b2       100  ready     up       100.00 %  -
web   10.1.0.3       -        100  ready     down       0.00 %  connection refused by 10.1.0.3 port 8080
web6  2001:db8:1::1  -        100  ready     unknown   33.33 %  its next hop is not resolved

* 10.1.0.1 in web: draining on this node only, until it reboots
* 10.1.0.3 in web: path MTU 1400, as a router says
".to_string(), Exit::Ok));
}

#[tokio::test]
async fn list_of_one_pool_as_json() {
    let answer = Bench::new(FakeNode::lb())
        .run("backend list --pool web6 -o json")
        .await;
    assert_eq!(
        answer,
        (
            "\
{
  \"schema\": \"anylb/v1\",
  \"generation\": 12,
  \"backends\": [
    {
      \"pool\": \"web6\",
      \"address\": \"2001:db8:1::1\",
      \"name\": null,
      \"weight\": 100,
      \"admin\": \"ready\",
      \"configured_weight\": 100,
      \"admin_until_reboot\": false,
      \"weight_until_reboot\": false,
      \"health\": \"unknown\",
      \"reason\": null,
      \"row_ratio\": 0.3333333333333333,
      \"reachable\": false,
      \"path_mtu\": null
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
async fn a_pool_that_is_not_there_ends_with_5() {
    let answer = Bench::new(FakeNode::lb())
        .run("backend list --pool x")
        .await;
    let text = "anylb: there is no pool x: this node has web, web6";
    assert_eq!(answer, (text.to_string(), Exit::NotFound));
}

#[tokio::test]
async fn a_backend_node_has_no_backends() {
    let answer = Bench::new(FakeNode::backend()).run("backend list").await;
    assert_eq!(
        answer,
        ("this node has no backends\n".to_string(), Exit::Ok)
    );
}
