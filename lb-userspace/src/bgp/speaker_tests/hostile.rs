//! What has broken other speakers: the right NOTIFICATION or none, and a good peer beside that notices nothing.

use lb_oracle::hostile::{Vector, established, message};

use super::*;
use crate::bgp::NotificationKey;

const GOOD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A speaker with a hostile peer and a good one, both Established, and their ends.
async fn two_peers() -> (
    Speaker,
    Scripted,
    Scripted,
    watch::Sender<Option<Arc<RouteSet>>>,
) {
    let (hostile, port) = listener().await;
    let good = TcpListener::bind((GOOD, port)).await.expect("a free port");
    let (send, receive) = watch::channel(routes(&["192.0.2.10/32"], true));
    let config = SpeakerConfig {
        peers: vec![
            peer(port),
            PeerConfig {
                name: GOOD.into(),
                ..peer(port)
            },
        ],
        ..config(peer(port))
    };
    let speaker = Speaker::start(config, receive).expect("starts");
    let mut ends = Vec::new();
    for listener in [&hostile, &good] {
        let mut end = Scripted::accept(listener).await;
        end.establish().await;
        end.hear_update().await;
        assert_eq!(end.hear_update().await, END_OF_RIB);
        ends.push(end);
    }
    let (good, hostile) = (ends.pop().expect("two"), ends.pop().expect("two"));
    (speaker, hostile, good, send)
}

/// The good peer has its session, and hears what is new.
async fn undisturbed(
    what: &str,
    speaker: &Speaker,
    good: &mut Scripted,
    send: &watch::Sender<Option<Arc<RouteSet>>>,
) {
    send.send_replace(routes(&["192.0.2.10/32", "192.0.2.11/32"], true));
    let body = good.hear_update().await;
    assert!(announces(&body, &[32, 192, 0, 2, 11]), "{what}: {body:?}");
    let status = &speaker.status()[1];
    assert_eq!(status.state, State::Established, "{what}");
    assert!(status.flaps.is_empty(), "{what}");
}

#[tokio::test]
async fn rfc4271_6_what_ends_a_session_is_told_and_ends_no_other() {
    for Vector {
        name: what,
        bytes,
        answer,
    } in established()
    {
        let Some(expected) = answer else { continue };
        let (speaker, mut hostile, mut good, send) = two_peers().await;
        hostile.say(&bytes).await;
        let told = loop {
            match hostile.hear().await {
                Heard::Other(Message::Keepalive) => {}
                Heard::Other(Message::Notification(told)) => break told,
                other => panic!("{what}: {other:?}"),
            }
        };
        assert_eq!((told.code, told.subcode), expected, "{what}");
        assert_eq!(
            hostile.hear().await,
            Heard::End,
            "{what}: then it is closed"
        );
        undisturbed(what, &speaker, &mut good, &send).await;
        let status = &speaker.status()[0];
        let key = NotificationKey {
            sent: true,
            code: told.code,
            subcode: told.subcode,
        };
        assert_eq!(status.notifications.get(&key), Some(&1), "{what}");
        assert!(status.last_reset.is_some(), "{what}");
    }
}

#[tokio::test]
async fn rfc7606_2_what_only_concerns_routes_ends_nothing() {
    let mut table = established();
    table.retain(|vector| vector.answer.is_none());
    let count = table.len() as u64;
    let (speaker, mut hostile, mut good, send) = two_peers().await;
    for vector in &table {
        hostile.say(&vector.bytes).await;
    }
    until("all heard", &speaker, |s| {
        s.received.get("update") == Some(&count)
    })
    .await;
    let status = &speaker.status()[0];
    assert_eq!(status.state, State::Established, "{:?}", status.last_reset);
    undisturbed("attributes", &speaker, &mut good, &send).await;
}

#[tokio::test]
async fn rfc2918_4_a_flood_of_refreshes_costs_a_table_at_a_time() {
    const REFRESHES: u64 = 20_000;
    let (speaker, mut hostile, mut good, send) = two_peers().await;
    let refresh = message(5, &[0, 1, 0, 1]);
    hostile.say(&refresh.repeat(REFRESHES as usize)).await;
    until("all heard", &speaker, |s| {
        s.received.get("route_refresh") == Some(&REFRESHES)
    })
    .await;
    let sent = speaker.status()[0].sent["update"];
    assert!(
        sent < REFRESHES / 50,
        "one for all that came at once: {sent}"
    );
    undisturbed("refreshes", &speaker, &mut good, &send).await;
    assert!(announces(
        &hostile.hear_update().await,
        &[32, 192, 0, 2, 10]
    ));
}
