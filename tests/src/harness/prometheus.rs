//! Prometheus in a namespace, and what it and its promtool say about an exposition.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{netns::Netns, poll, process::Process};

const START: Duration = Duration::from_secs(20);
const PORT: u16 = 9490;

/// A running Prometheus; it ends when dropped.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
}

impl Prometheus {
    /// Starts it in `netns`, scraping `target` there five times a second; its files and its log are in `dir`.
    pub async fn start(netns: &Netns, target: &str, dir: &Path) -> Result<Self> {
        let file = dir.join("prometheus.yml");
        let configuration = format!(
            "global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\nscrape_configs:\n\
             - job_name: anylb\n  static_configs:\n  - targets: [\"{target}\"]\n"
        );
        std::fs::write(&file, configuration).with_context(|| file.display().to_string())?;
        let mut command = netns.command("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}/tsdb", dir.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{PORT}"));
        let mut prometheus = Self {
            process: Process::spawn("prometheus", command, dir)?,
        };
        poll::until("Prometheus answering", START, async || {
            ensure!(
                prometheus.process.ended()?.is_none(),
                "it ended: {}",
                prometheus.process.log_tail(5)
            );
            get(netns, PORT, "/-/ready")
        })
        .await?;
        Ok(prometheus)
    }

    /// The value of `query`, which is to have one series.
    pub fn value(&self, netns: &Netns, query: &str) -> Result<f64> {
        let path = format!("/api/v1/query?query={}", escaped(query));
        let answer: Value = serde_json::from_str(&get(netns, PORT, &path)?)?;
        let found = answer["data"]["result"].as_array();
        let found = found.with_context(|| format!("{query}: {answer}"))?;
        ensure!(found.len() == 1, "{query}: {answer}");
        let value = found[0]["value"][1].as_str().context("a value")?;
        Ok(value.parse()?)
    }

    /// SIGTERM, and waits for its end.
    pub async fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(START).await?;
        Ok(())
    }
}

/// What a listener on a namespace's loopback answers with status 200.
pub fn get(netns: &Netns, port: u16, path: &str) -> Result<String> {
    let answer = netns.run(|| {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        connection.set_read_timeout(Some(START))?;
        // HTTP/1.0: the answer is one piece and ends with the connection.
        connection.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").context("a whole answer")?;
    ensure!(head.contains(" 200 "), "{path}: {answer}");
    Ok(body.to_owned())
}

/// Has promtool check an exposition. Its complaints are the error, and so is a warning.
pub fn check_metrics(exposition: &str) -> Result<()> {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("no promtool: run cargo xtask setup")?;
    // The pipe is closed at the end of the statement: that is the end of its input.
    child
        .stdin
        .take()
        .context("a pipe")?
        .write_all(exposition.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success() && said.is_empty(), "{said}");
    Ok(())
}

/// For the query of a URL.
fn escaped(query: &str) -> String {
    let mut out = String::new();
    for byte in query.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_escaped_whole() {
        assert_eq!(escaped("up{job=\"anylb\"}"), "up%7Bjob%3D%22anylb%22%7D");
    }
}
