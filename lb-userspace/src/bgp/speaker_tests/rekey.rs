//! TCP MD5 secrets that change while a session runs.

use std::os::fd::AsFd as _;

use super::*;
use crate::bgp::sockopt::set_md5_password;

/// Long enough for a segment that is not dropped.
const A_WHILE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn rfc2385_a_new_password_does_not_end_the_session() {
    let (listener, port) = listener().await;
    let sign = |socket: std::os::fd::BorrowedFd<'_>, password: &str| {
        set_md5_password(socket, PEER, password).expect("a kernel with TCP MD5");
    };
    sign(listener.as_fd(), "old");
    let (send, receive) = watch::channel(routes(&["192.0.2.10/32"], true));
    let with_password = PeerConfig {
        password: Some("old".into()),
        ..peer(port)
    };
    let mut speaker = Speaker::start(config(with_password), receive).expect("starts");
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    other.hear_update().await;
    assert_eq!(other.hear_update().await, END_OF_RIB);

    let new = BTreeMap::from([(PEER, "new".to_owned())]);
    speaker.rekey(&new);
    // Until the peer has the new one as well, nothing arrives, and nothing is lost.
    assert!(speaker.flushed(PATIENCE).await, "it has come to that");
    send.send_replace(routes(&["192.0.2.10/32", "192.0.2.11/32"], true));
    let early = tokio::time::timeout(A_WHILE, other.hear_update()).await;
    assert!(early.is_err(), "signed with the old one: {early:?}");
    sign(other.stream.as_fd(), "new");
    sign(listener.as_fd(), "new");
    assert!(announces(&other.hear_update().await, &[32, 192, 0, 2, 11]));
    let status = &speaker.status()[0];
    assert_eq!(status.state, State::Established);
    assert!(status.flaps.is_empty());

    // The next connection has it too.
    drop(other);
    let mut other = Scripted::accept(&listener).await;
    other.establish().await;
    assert!(announces(
        &other.hear_update().await,
        &[32, 192, 0, 2, 10, 32, 192, 0, 2, 11]
    ));
}
