//! One HTTP/1.1 connection to a server of [`super::server`].

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::server::{Answer, PADDING};

/// An open connection.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    local: SocketAddr,
    target: SocketAddr,
}

impl Client {
    /// Connects.
    pub async fn connect(target: SocketAddr) -> Result<Self> {
        Self::over(open(target).await?, target).await
    }

    /// Connects; the end will be a reset and not a FIN, which a connection that lost its peer would send again and
    /// again.
    pub async fn connect_to_abort(target: SocketAddr) -> Result<Self> {
        let stream = open(target).await?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Self::over(stream, target).await
    }

    async fn over(stream: TcpStream, target: SocketAddr) -> Result<Self> {
        let local = stream.local_addr()?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its error reaches whoever waits for the answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self {
            sender,
            local,
            target,
        })
    }

    /// Sends request number `sequence` with `body` and returns the answer, which must be to that request.
    pub async fn request(&mut self, sequence: u64, body: Bytes) -> Result<Answer> {
        self.exchange(format!("/{sequence}"), body).await
    }

    /// Asks for so many bytes besides the answer.
    pub async fn download(&mut self, sequence: u64, size: usize) -> Result<()> {
        let path = format!("/{sequence}?{PADDING}{size}");
        let answer = self.exchange(path, Bytes::new()).await?;
        let received = answer.padding.len();
        ensure!(received == size, "{received} of {size} bytes");
        Ok(())
    }

    async fn exchange(&mut self, path: String, body: Bytes) -> Result<Answer> {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let request = Request::builder()
            .method(method)
            .uri(&path)
            .header("host", self.target.to_string())
            .body(Full::new(body))
            .context("a request of fixed parts is valid")?;
        self.sender.ready().await.context("send")?;
        let response = self.sender.send_request(request).await.context("answer")?;
        ensure!(
            response.status().is_success(),
            "status {}",
            response.status()
        );
        let body = response
            .into_body()
            .collect()
            .await
            .context("body")?
            .to_bytes();
        let answer: Answer = serde_json::from_slice(&body).context("body is not ours")?;
        ensure!(
            answer.path == path,
            "answer {} to request {path}",
            answer.path
        );
        Ok(answer)
    }

    /// Whether the server saw this end's own address and port.
    pub fn is_seen_in(&self, answer: &Answer) -> bool {
        answer.peer == self.local
    }
}

async fn open(target: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(target).await.context("connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
