//! One HTTP/1.1 request, over TCP or TLS, and whether its answer is the expected one.
//!
//! Nothing is spawned: the check's own future drives request and connection, so that dropping it closes the socket.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::deadline::Deadline;
use super::probe::{Failure, Trouble};
use super::search::Search;
use super::tcp;
use super::tls::{self, Connectors};
use crate::model::{HttpCheck, HttpMethod};

/// Sends the request and judges the answer.
pub async fn ask(
    address: IpAddr,
    check: &HttpCheck,
    connectors: &Connectors,
    deadline: Deadline,
) -> Result<(), Trouble> {
    let connection = tcp::connect(SocketAddr::new(address, check.port), deadline).await?;
    let request = request(address, check);
    match &check.tls {
        None => talk(connection, request, check, deadline).await,
        Some(tls) => {
            let connection = connectors
                .handshake(connection, address, tls, deadline)
                .await?;
            talk(connection, request, check, deadline).await
        }
    }
}

fn request(address: IpAddr, check: &HttpCheck) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = match check.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
    };
    *request.uri_mut() = Uri::from(check.path.clone());
    let host = check.host.clone();
    let host = host.unwrap_or_else(|| own_host(address, check));
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    request
}

/// So that access logs can tell checks from clients.
const NAME: &str = concat!("anylb/", env!("CARGO_PKG_VERSION"), " (health check)");

/// RFC 9110, 7.2: the port stands there unless it is that of the scheme.
fn own_host(address: IpAddr, check: &HttpCheck) -> HeaderValue {
    let port_of_scheme = if check.tls.is_some() { 443 } else { 80 };
    let host = match address {
        _ if check.port != port_of_scheme => SocketAddr::new(address, check.port).to_string(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    HeaderValue::try_from(host).expect("digits, dots, colons and brackets fit into a header")
}

async fn talk(
    connection: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Empty<Bytes>>,
    check: &HttpCheck,
    deadline: Deadline,
) -> Result<(), Trouble> {
    let (sender, connection) = Builder::new()
        .max_buf_size(HEAD_MAX)
        .max_header_size(HEAD_MAX)
        .handshake(TokioIo::new(connection))
        .await
        .map_err(|error| broken(&error, BEFORE, deadline))?;
    let mut exchange = pin!(exchange(sender, request, check, deadline));
    // Neither is cancelled and asked again: the one that is dropped ends the connection.
    tokio::select! {
        result = &mut exchange => result,
        // What has come in and why it ended is in the exchange's hands.
        _ended = connection => exchange.await,
    }
}

/// Most bytes of an answer's status line and headers; hyper also stops at 100 headers.
const HEAD_MAX: usize = 64 << 10;

const BEFORE: &str = "before an answer";
const WITHIN: &str = "within the answer";

async fn exchange(
    mut sender: SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    check: &HttpCheck,
    deadline: Deadline,
) -> Result<(), Trouble> {
    let answer = deadline
        .bound(sender.send_request(request), Failure::AnswerTimeout)
        .await?
        .map_err(|error| broken(&error, BEFORE, deadline))?;
    let found = answer.status().as_u16();
    if !check.expect.contains(found) {
        let expected = check.expect.clone();
        return Err(Failure::Status { found, expected }.into());
    }
    let Some(wanted) = &check.body else {
        return Ok(());
    };
    let is_in = deadline
        .bound(is_in(answer.into_body(), wanted), Failure::BodyTimeout)
        .await?
        .map_err(|error| broken(&error, WITHIN, deadline))?;
    match is_in {
        true => Ok(()),
        false => Err(Failure::Body(wanted.clone()).into()),
    }
}

async fn is_in(mut body: Incoming, wanted: &str) -> Result<bool, hyper::Error> {
    let mut search = Search::new(wanted.as_bytes());
    while !search.is_over() {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    search.take(data);
                }
            }
            Some(Err(error)) => return Err(error),
            None => break,
        }
    }
    Ok(search.found())
}

/// Why there is no answer, or no whole one; `when` completes "connection closed ...".
fn broken(error: &hyper::Error, when: &'static str, deadline: Deadline) -> Trouble {
    let inner = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    let failure = match inner {
        _ if error.is_parse_too_large() => Failure::HeadTooLarge,
        _ if error.is_parse() => Failure::NotHttp,
        _ if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => {
            Failure::Closed(when)
        }
        Some(inner) if inner.kind() == io::ErrorKind::UnexpectedEof => Failure::Closed(when),
        Some(inner) => return tls::broken(inner, deadline),
        None => Failure::Other(error.to_string()),
    };
    failure.into()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::health::http_tests::http_check;

    #[test]
    fn the_host_is_the_backend_unless_told() {
        let v4 = IpAddr::from([192, 0, 2, 1]);
        let v6 = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        for (address, port, expected) in [
            (v4, 80, "192.0.2.1"),
            (v4, 443, "192.0.2.1:443"),
            (v6, 80, "[2001:db8::1]"),
            (v6, 8080, "[2001:db8::1]:8080"),
        ] {
            assert_eq!(own_host(address, &http_check(port)), expected);
        }
    }

    /// Pieces that answers are made of, in any order.
    const PIECES: &[&str] = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 503 \r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "content-length: 5\r\n",
        "content-length: -1\r\n",
        "transfer-encoding: chunked\r\n",
        "connection: keep-alive\r\n",
        "\r\n",
        "well",
        "5\r\nwell!\r\n",
        "ffffffffffffffff\r\n",
        "0\r\n\r\n",
        "\0\u{7f}:",
    ];

    fn answer() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..40),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// Whatever comes, there is a verdict at once, and a success only where the status and the text were there.
        #[test]
        fn any_answer_has_a_verdict(answer in answer(), with_body in any::<bool>()) {
            let mut check = http_check(80);
            check.body = with_body.then(|| "well".to_owned());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let said = runtime.expect("a runtime").block_on(async {
                let (ours, mut theirs) = tokio::io::duplex(64 << 10);
                theirs.write_all(&answer).await.expect("there is room");
                theirs.shutdown().await.expect("it is open");
                let request = request([192, 0, 2, 1].into(), &check);
                talk(ours, request, &check, Deadline::after(Duration::from_secs(1))).await
            });
            let text = String::from_utf8_lossy(&answer);
            match said {
                Ok(()) => prop_assert!(text.contains(" 200 ") && (!with_body || text.contains("well"))),
                Err(Trouble::Backend(failure)) => {
                    prop_assert_ne!(failure, Failure::AnswerTimeout(Duration::from_secs(1)));
                }
                Err(Trouble::Node(why)) => prop_assert!(false, "not this node's fault: {}", why),
            }
        }
    }
}
