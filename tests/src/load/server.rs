//! The web server of a backend: every answer names the server, the peer address it saw and the sequence number of
//! the request.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const BACKLOG: u32 = 4096;
/// Before the number of bytes that a request wants besides the answer, in the query.
pub const PADDING: &str = "padding=";
const PADDING_MAX: usize = 16 << 20;

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Name of the server.
    pub name: String,
    /// Client address as the server saw it.
    pub peer: SocketAddr,
    /// Path and query of the request: a client puts its sequence number there.
    pub path: String,
    /// Bytes of the request's body.
    pub received: u64,
    /// As long as the request wants it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub padding: String,
}

/// Serves both families on `port` until the process ends.
pub async fn serve(name: String, port: u16) -> Result<()> {
    let listener = listen(port)?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => drop(tokio::spawn(connection(
                stream,
                canonical(peer),
                name.clone(),
            ))),
            // A client that gave up before it was accepted, or no descriptor left: the next one may do.
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

fn listen(port: u16) -> Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    socket
        .bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .with_context(|| format!("bind port {port}"))?;
    Ok(socket.listen(BACKLOG)?)
}

async fn connection(stream: TcpStream, peer: SocketAddr, name: String) {
    // An answer is one small segment; waiting for more would only add delay.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, peer, name.clone()));
    // A reset by the client is its own business.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    name: String,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().to_string();
    let padding = request.uri().query().and_then(padding).unwrap_or_default();
    let mut received = 0;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        received += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    let answer = Answer {
        name,
        peer,
        path,
        received,
        padding: "x".repeat(padding.min(PADDING_MAX)),
    };
    let text = serde_json::to_vec(&answer)
        .unwrap_or_else(|error: serde_json::Error| error.to_string().into_bytes());
    Ok(Response::new(Full::new(Bytes::from(text))))
}

fn padding(query: &str) -> Option<usize> {
    query.strip_prefix(PADDING)?.parse().ok()
}

fn canonical(peer: SocketAddr) -> SocketAddr {
    let ip: IpAddr = peer.ip().to_canonical();
    SocketAddr::new(ip, peer.port())
}
