//! The text of a backend's metrics, over HTTP.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time for one answer.
const TIME: Duration = Duration::from_secs(3);
/// Largest answer: ten thousand services are less than 1 MiB.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Where metrics come from.
pub(in super::super) trait Scrape {
    /// The text that is served at `address`, or why there is none.
    async fn text(&self, address: SocketAddr) -> Result<String, String>;
}

/// The network.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Http;

impl Scrape for Http {
    async fn text(&self, address: SocketAddr) -> Result<String, String> {
        match timeout(TIME, fetch(address)).await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) => Err(with_source(&*error)),
            Err(_) => Err(format!("no answer within {} s", TIME.as_secs())),
        }
    }
}

type Broken = Box<dyn Error + Send + Sync>;

async fn fetch(address: SocketAddr) -> Result<String, Broken> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/metrics")
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let mut answer = pin!(async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(Broken::from(format!("it answers {}", response.status())));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES);
        let bytes = body.collect().await?.to_bytes();
        Ok(String::from_utf8(bytes.into())?)
    });
    // Cancel-safe: whichever future is ready first is not polled again.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection may end before its last bytes are read out of it.
        _ended = connection => answer.await,
    }
}

/// hyper's errors say what failed, and their sources why.
fn with_source(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
