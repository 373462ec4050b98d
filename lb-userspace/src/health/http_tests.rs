//! Checks against servers on loopback: what each answer, and each failure to answer, is called.

use std::future::{Future, pending};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::model::{Check, CheckKind, Expect, HttpCheck, HttpMethod, StatusRange};

/// Longer than any of these checks takes, but for those that run into it with the clock stopped.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn http_check(port: u16) -> HttpCheck {
    HttpCheck {
        port,
        tls: None,
        method: HttpMethod::Get,
        path: PathAndQuery::from_static("/alive"),
        host: None,
        expect: Expect(vec![StatusRange::Class(2)]),
        body: None,
    }
}

/// What an operator reads of a check of `address`; "ok" for a success.
pub(super) async fn probe(address: IpAddr, request: HttpCheck) -> String {
    let check = Check {
        kind: CheckKind::Http(Arc::new(request)),
        interval: PATIENCE,
        timeout: PATIENCE,
        rise: 1,
        fall: 1,
    };
    match NetworkProbe::default().probe(address, &check).await {
        Outcome::Success => "ok".to_owned(),
        Outcome::Failure(failure) => failure.to_string(),
        Outcome::Inconclusive(why) => format!("inconclusive: {why}"),
    }
}

async fn listen(address: IpAddr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address, 0))
        .await
        .expect("loopback is up");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Everything up to the empty line after a request's headers.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.expect("a whole request"));
    }
    String::from_utf8(request).expect("a request is ASCII")
}

/// Checks a server that takes one connection and does `serve` with it once it has read the request.
async fn against<F: Future<Output = ()> + Send + 'static>(
    edit: impl FnOnce(&mut HttpCheck),
    serve: impl FnOnce(TcpStream, String) -> F + Send + 'static,
) -> String {
    let (listener, address) = listen(Ipv4Addr::LOCALHOST.into()).await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let request = read_request(&mut stream).await;
        serve(stream, request).await;
    });
    let mut request = http_check(address.port());
    edit(&mut request);
    let said = probe(address.ip(), request).await;
    if server.is_finished() {
        server.await.expect("the server did not panic");
    }
    said
}

/// Checks a server that answers with `answer` and closes.
async fn answered(answer: impl Into<Vec<u8>>, edit: impl FnOnce(&mut HttpCheck)) -> String {
    let answer = answer.into();
    against(edit, |mut stream, _| async move {
        // The check may have heard enough before all is sent.
        let _ = stream.write_all(&answer).await;
    })
    .await
}

/// Checks a server that answers with `answer` and then keeps still, with the clock stopped: it runs on when nothing
/// else can happen.
async fn stalled(answer: &'static str, edit: impl FnOnce(&mut HttpCheck)) -> String {
    against(edit, move |mut stream, _| async move {
        stream
            .write_all(answer.as_bytes())
            .await
            .expect("it listens");
        tokio::time::pause();
        pending().await
    })
    .await
}

fn body(wanted: &str) -> impl FnOnce(&mut HttpCheck) {
    move |check| check.body = Some(wanted.to_owned())
}

fn expect(ranges: &[StatusRange]) -> impl FnOnce(&mut HttpCheck) {
    move |check| check.expect = Expect(ranges.to_vec())
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nall is well";

#[tokio::test]
async fn the_status_decides() {
    let one = StatusRange::One;
    let cases: [(&str, &[StatusRange], &str); 7] = [
        ("200 OK", &[StatusRange::Class(2)], "ok"),
        ("204 No Content", &[StatusRange::Class(2)], "ok"),
        ("204 No Content", &[one(200)], "status 204, expected 200"),
        (
            "503 Service Unavailable",
            &[one(200), one(204)],
            "status 503, expected 200 or 204",
        ),
        ("503 Service Unavailable", &[one(503)], "ok"),
        (
            "999 Odd",
            &[StatusRange::Class(2)],
            "status 999, expected 2xx",
        ),
        (
            "301 Moved Permanently\r\nlocation: http://web.example/",
            &[StatusRange::Class(2)],
            "status 301, expected 2xx",
        ),
    ];
    for (status, ranges, said) in cases {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(answered(answer, expect(ranges)).await, said, "{status}");
    }
    let old = "HTTP/1.0 200 OK\r\n\r\nhello";
    assert_eq!(
        answered(old, |_| {}).await,
        "ok",
        "HTTP/1.0 is an answer too"
    );
    let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(answered(early, |_| {}).await, "status 500, expected 2xx");
}

#[tokio::test]
async fn the_body_decides_where_asked() {
    assert_eq!(answered(OK, body("is well")).await, "ok");
    assert_eq!(
        answered(OK, body("OK")).await,
        "\"OK\" is not in the first 64 KiB of the body"
    );
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nall i\r\n6\r\ns well\r\n0\r\n\r\n";
    assert_eq!(answered(chunked, body("is well")).await, "ok");
    let to_the_end = "HTTP/1.1 200 OK\r\n\r\nall is well";
    assert_eq!(answered(to_the_end, body("well")).await, "ok");
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}OK", "x".repeat(70_000));
    assert_eq!(
        answered(endless, body("OK")).await,
        "\"OK\" is not in the first 64 KiB of the body"
    );
    let torn = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nall";
    assert_eq!(
        answered(torn, body("well")).await,
        "connection closed within the answer"
    );
    assert_eq!(
        answered(torn, |_| {}).await,
        "ok",
        "nobody asked for the body"
    );
}

#[tokio::test]
async fn what_is_no_answer() {
    let many = |size: usize| format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(size));
    let headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
    let cases = [
        (
            "nothing",
            String::new(),
            "connection closed before an answer",
        ),
        (
            "half a head",
            "HTTP/1.1 200 OK\r\nx".into(),
            "connection closed before an answer",
        ),
        (
            "another protocol",
            "220 mail.example ESMTP\r\n".into(),
            "the answer is not HTTP/1.1",
        ),
        (
            "a TLS alert",
            "\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{46}".into(),
            "the answer is not HTTP/1.1",
        ),
        (
            "no status",
            "HTTP/1.1 abc\r\n\r\n".into(),
            "the answer is not HTTP/1.1",
        ),
        ("a large header", many(60_000), "ok"),
        (
            "too large a header",
            many(70_000),
            "the headers of the answer are too large",
        ),
        (
            "too many headers",
            headers,
            "the headers of the answer are too large",
        ),
    ];
    for (what, answer, said) in cases {
        assert_eq!(answered(answer, |_| {}).await, said, "{what}");
    }
    let reset = against(
        |_| {},
        |stream, _| async move {
            stream.set_zero_linger().expect("a socket");
        },
    );
    assert_eq!(reset.await, "connection reset");
}

#[tokio::test]
async fn a_refused_connection() {
    let (listener, address) = listen(Ipv4Addr::LOCALHOST.into()).await;
    drop(listener);
    let check = http_check(address.port());
    let said = probe(address.ip(), check).await;
    assert_eq!(said, "connection refused");
}

#[tokio::test]
async fn silence_before_an_answer() {
    assert_eq!(stalled("", |_| {}).await, "no answer within 10s");
}

#[tokio::test]
async fn silence_within_the_headers() {
    let head = "HTTP/1.1 200 OK\r\ncontent-le";
    assert_eq!(stalled(head, |_| {}).await, "no answer within 10s");
}

#[tokio::test]
async fn silence_within_the_body() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nall i";
    assert_eq!(
        stalled(half, body("well")).await,
        "answer not complete after 10s"
    );
}

#[tokio::test]
async fn what_is_asked() {
    async fn asked(edit: impl FnOnce(&mut HttpCheck)) -> String {
        let (tell, told) = tokio::sync::oneshot::channel();
        let said = against(edit, |mut stream, request| async move {
            tell.send(request).expect("the test waits");
            stream.write_all(OK.as_bytes()).await.expect("it listens");
        });
        assert_eq!(said.await, "ok");
        told.await.expect("a request was read")
    }
    let request = asked(|check| {
        check.host = Some(HeaderValue::from_static("web.example"));
        check.path = PathAndQuery::from_static("/alive?deep=1");
    });
    let expected = format!(
        "GET /alive?deep=1 HTTP/1.1\r\nhost: web.example\r\nuser-agent: anylb/{} (health check)\r\naccept: */*\r\n\
         connection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(request.await, expected);
    let request = asked(|check| check.method = HttpMethod::Head).await;
    assert!(
        request.starts_with("HEAD /alive HTTP/1.1\r\nhost: 127.0.0.1:"),
        "{request}"
    );
}

/// The server sees the end of the connection when the check is over, and when it is given up.
#[tokio::test]
async fn no_connection_outlives_its_check() {
    let (listener, address) = listen(Ipv4Addr::LOCALHOST.into()).await;
    let over = probe(address.ip(), http_check(address.port()));
    let served = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_request(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.expect("it listens");
        stream
    };
    let (said, mut stream) = tokio::join!(over, served);
    assert_eq!(said, "ok");
    assert_ended(&mut stream).await;

    let given_up = probe(address.ip(), http_check(address.port()));
    let served = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_request(&mut stream).await;
        stream
    };
    let mut stream = tokio::select! {
        said = given_up => panic!("nobody has answered: {said}"),
        stream = served => stream,
    };
    assert_ended(&mut stream).await;
}

async fn assert_ended(stream: &mut TcpStream) {
    match stream.read(&mut [0; 1]).await {
        Ok(read) => assert_eq!(read, 0, "nothing more is sent"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}
