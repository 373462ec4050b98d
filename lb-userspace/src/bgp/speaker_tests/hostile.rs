//! What has broken other speakers: the right NOTIFICATION or none, and a good peer beside that notices nothing.

use super::*;
use crate::bgp::NotificationKey;

const GOOD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let counted = |part: &[u8]| [&(part.len() as u16).to_be_bytes()[..], part].concat();
    message(
        2,
        &[counted(withdrawn), counted(attributes), nlri.to_vec()].concat(),
    )
}

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
    let unreach = [0x80, 15, 3, 0, 2, 1];
    let mut marker = message(4, &[]);
    marker[3] = 0;
    let mut long = message(2, &[0; 4]);
    long[16..18].copy_from_slice(&4097_u16.to_be_bytes());
    let lying = |parameters: &[u8], length: u8| {
        let body = [
            &[4, 0xfd, 0xe8, 0, 90, 192, 0, 2, 2, length][..],
            parameters,
        ]
        .concat();
        message(1, &body)
    };
    let table: [(&str, Vec<u8>, (u8, u8)); 12] = [
        ("marker", marker, (1, 1)),
        ("4097 octets", long, (1, 2)),
        ("KEEPALIVE of 20", message(4, &[0]), (1, 2)),
        ("UPDATE of 21", message(2, &[0, 0]), (1, 2)),
        ("type 9", message(9, &[]), (1, 3)),
        ("parameters beyond an OPEN", lying(&[2, 0], 200), (2, 0)),
        ("a second OPEN", codec::encode_open(&open()), (5, 3)),
        (
            "withdrawn beyond the message",
            message(2, &[0xff, 0xff, 0, 0]),
            (3, 1),
        ),
        (
            "MP_UNREACH_NLRI twice",
            update(&[], &[unreach, unreach].concat(), &[]),
            (3, 1),
        ),
        (
            "MP_REACH_NLRI of two",
            update(&[], &[0x80, 14, 2, 0, 2], &[]),
            (3, 9),
        ),
        (
            "prefix of 33 bits",
            update(&[], &[], &[33, 1, 2, 3, 4, 5]),
            (3, 10),
        ),
        (
            "withdrawn prefix cut",
            update(&[24, 198], &[], &[]),
            (3, 10),
        ),
    ];
    for (what, bytes, expected) in table {
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
    let nlri = [24, 198, 51, 100];
    let long_path = [
        &[0x50, 2, 3, 0xfe, 2, 255][..],
        &[0, 0, 0xfd, 0xe8].repeat(255),
    ]
    .concat();
    let table: [(&str, Vec<u8>); 10] = [
        (
            "prefix-SID of one octet",
            update(&[], &[0xc0, 40, 1, 1], &nlri),
        ),
        (
            "tunnel encapsulation without end",
            update(&[], &[0xc0, 23, 1, 0], &nlri),
        ),
        (
            "only-to-customer of none",
            update(&[], &[0xc0, 35, 0], &nlri),
        ),
        (
            "unknown, marked well-known",
            update(&[], &[0x40, 250, 0], &nlri),
        ),
        (
            "ATTR_SET in itself",
            update(&[], &[0xc0, 128, 6, 0, 0, 0, 1, 0xc0, 128], &nlri),
        ),
        ("NEXT_HOP of one", update(&[], &[0x40, 3, 1, 9], &nlri)),
        (
            "AS4_PATH before AS_PATH",
            update(&[], &[0xc0, 17, 0, 0x40, 2, 0], &nlri),
        ),
        ("AS_PATH of zero octets", update(&[], &[0x40, 2, 0], &nlri)),
        (
            "path of 255 with a length beyond it",
            update(&[], &long_path[..1024], &nlri),
        ),
        ("nothing mandatory", update(&[], &[], &nlri)),
    ];
    let count = table.len() as u64;
    let (speaker, mut hostile, mut good, send) = two_peers().await;
    for (_, bytes) in &table {
        hostile.say(bytes).await;
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
