//! A TCP connection is accepted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::{TcpSocket, TcpStream};

use super::deadline::Deadline;
use super::probe::{Failure, Trouble};

/// Connects; the connection will end with a RST.
pub async fn connect(address: SocketAddr, deadline: Deadline) -> Result<TcpStream, Trouble> {
    let socket = open(address).map_err(|error| Trouble::Node(error.to_string()))?;
    deadline
        .bound(socket.connect(address), Failure::Timeout)
        .await?
        .map_err(|error| judge(&error, deadline.timeout()))
}

fn open(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_zero_linger()?;
    Ok(socket)
}

/// What an error of a connection says about the backend, or about this node.
pub fn judge(error: &io::Error, timeout: Duration) -> Trouble {
    let failure = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNREFUSED) => Failure::Refused,
        Some(Errno::ECONNRESET) => Failure::Reset,
        Some(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN) => {
            Failure::NoRoute
        }
        // A blackhole route.
        Some(Errno::EINVAL) => Failure::NoRoute,
        Some(Errno::EPERM | Errno::EACCES) => Failure::Prohibited,
        Some(Errno::ETIMEDOUT) => Failure::Timeout(timeout),
        Some(Errno::EADDRNOTAVAIL | Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => {
            return Trouble::Node(error.to_string());
        }
        Some(_) | None => Failure::Other(error.to_string()),
    };
    Trouble::Backend(failure)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::health::{NetworkProbe, Outcome, Probe};
    use crate::model::{Check, CheckKind};
    use crate::netlink::testing::{Peer, in_namespace, ip as ip_command};

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn probe(address: SocketAddr, timeout: Duration) -> Outcome {
        let kind = CheckKind::Tcp {
            port: address.port(),
        };
        let check = Check {
            kind,
            interval: PATIENCE,
            timeout,
            rise: 1,
            fall: 1,
        };
        NetworkProbe::default().probe(address.ip(), &check).await
    }

    #[tokio::test]
    async fn accepted_and_closed_with_a_reset() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        assert_eq!(
            probe(listener.local_addr().unwrap(), PATIENCE).await,
            Outcome::Success
        );
        let (mut accepted, _) = listener.accept().await.unwrap();
        let error = accepted.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::ConnectionReset,
            "a FIN would leave a TIME_WAIT here"
        );
    }

    #[tokio::test]
    async fn refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(
            probe(address, PATIENCE).await,
            Outcome::Failure(Failure::Refused)
        );
    }

    #[tokio::test]
    async fn silence_is_a_timeout() {
        // A listener whose queue is full drops SYNs.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let _queued = TcpStream::connect(address).await.unwrap();

        let timeout = Duration::from_millis(100);
        let outcome = probe(address, timeout).await;
        assert_eq!(outcome, Outcome::Failure(Failure::Timeout(timeout)));
        let Outcome::Failure(failure) = outcome else {
            unreachable!("just compared")
        };
        assert_eq!(failure.to_string(), "timeout after 100ms");
    }

    #[test]
    fn both_families_and_every_kind_of_route() {
        in_namespace(|| async {
            let _peer = Peer::connect();
            let failure = |failure| Outcome::Failure(failure);
            for (route, words, expected) in [
                ("", "nobody listens", failure(Failure::Refused)),
                ("unreachable", "rejected", failure(Failure::NoRoute)),
                ("blackhole", "swallowed", failure(Failure::NoRoute)),
                ("prohibit", "forbidden", failure(Failure::Prohibited)),
            ] {
                for (address, prefix) in [
                    ("10.0.0.1:80", "10.0.0.1/32"),
                    ("[2001:db8::1]:80", "2001:db8::1/128"),
                ] {
                    if !route.is_empty() {
                        ip_command(&format!("route replace {route} {prefix}"));
                    }
                    assert_eq!(
                        probe(address.parse().unwrap(), PATIENCE).await,
                        expected,
                        "{address}: {words}"
                    );
                }
            }
            for address in ["198.51.100.1:80", "[2001:db8:1::1]:80"] {
                let outcome = probe(address.parse().unwrap(), PATIENCE).await;
                assert_eq!(
                    outcome,
                    failure(Failure::NoRoute),
                    "{address}: no route at all"
                );
            }
        });
    }

    #[test]
    fn what_is_this_nodes_own_fault_is_inconclusive() {
        let judged = |errno: Errno| judge(&io::Error::from(errno), PATIENCE);
        for errno in [
            Errno::EADDRNOTAVAIL,
            Errno::ENOBUFS,
            Errno::ENOMEM,
            Errno::EAGAIN,
        ] {
            assert!(matches!(judged(errno), Trouble::Node(_)), "{errno}");
        }
        for (errno, words) in [
            (Errno::ECONNREFUSED, "connection refused"),
            (Errno::EHOSTUNREACH, "no route to host"),
            (Errno::ENETUNREACH, "no route to host"),
            (Errno::EPERM, "prohibited by a firewall or a route"),
            (Errno::ECONNRESET, "connection reset"),
            (Errno::ETIMEDOUT, "timeout after 10s"),
            (Errno::EPROTO, "Protocol error (os error 71)"),
        ] {
            let Trouble::Backend(failure) = judged(errno) else {
                panic!("{errno} is the backend's fault")
            };
            assert_eq!(failure.to_string(), words);
        }
    }
}
