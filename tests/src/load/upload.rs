//! One large request.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper::body::Bytes;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::client::Client;

/// Uploads `size` bytes within `patience`; returns how long it took. The server must have received all of it.
pub async fn upload(
    runtime: &Handle,
    target: SocketAddr,
    size: usize,
    patience: Duration,
) -> Result<Duration> {
    let work = async move {
        let start = Instant::now();
        let mut client = Client::connect(target).await?;
        let answer = client.request(0, Bytes::from(vec![0x5a; size])).await?;
        ensure!(
            answer.received == size as u64,
            "the server received {} of {size} bytes",
            answer.received
        );
        Ok(start.elapsed())
    };
    runtime
        .spawn(async move {
            timeout(patience, work)
                .await
                .with_context(|| format!("no end within {patience:?}"))?
        })
        .await?
}
