//! The servers as `curl` sees them: bytes in, bytes out.

mod admin;
mod bounds;
mod scrape;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// An answer: status, head and body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Sends `request` and reads until the server closes, as it does after one answer.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A server that closes without reading all of a request resets the connection after its answer.
    let ended = stream.read_to_end(&mut bytes).await;
    assert!(ended.is_ok() || !bytes.is_empty(), "{ended:?}");
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status line");
    Answer {
        status: status.parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_string(),
    }
}

fn get(resource: &str) -> String {
    format!("GET {resource} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A POST of JSON with more header lines, each ending in CRLF.
fn post(resource: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {resource} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}
