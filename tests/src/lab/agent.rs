//! A running agent, asked and told through its admin socket by the command line, as an operator does.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::cli::client::Client;
use anylb::status::{Counters, Envelope, NodeStatus};
use nix::sys::signal::Signal;

use super::files;
use crate::harness::process::{self, Process};
use crate::harness::star::Node;
use crate::harness::{poll, shell};

const START: Duration = Duration::from_secs(10);
const LOG_LINES: usize = 12;
/// Exit code of `anylb status` for a node that works and has a problem.
const DEGRADED: i32 = 7;

/// The agent of an LB node or of a backend.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    binary: PathBuf,
    socket: PathBuf,
}

impl Agent {
    /// Starts `anylb run` on an LB node.
    pub fn lb(binary: &Path, node: &Node) -> Result<Self> {
        Self::start(binary, node, &["run"])
    }

    /// Starts `anylb backend run`.
    pub fn backend(binary: &Path, node: &Node) -> Result<Self> {
        Self::start(binary, node, &["backend", "run"])
    }

    /// Starts it in this role, `run` with its options.
    pub fn start(binary: &Path, node: &Node, role: &[&str]) -> Result<Self> {
        let mut command = node.netns.command(binary);
        command.args(role).arg("-c").arg(files::path(&node.dir));
        let process = Process::spawn("agent", command, &node.dir)?;
        Ok(Self {
            process,
            binary: binary.to_owned(),
            socket: files::socket(&node.dir),
        })
    }

    /// Waits until it answers.
    pub async fn ready(&mut self) -> Result<()> {
        let asked = self.ask();
        poll::until("an answer of the agent", START, async || {
            let ended = self.process.ended()?;
            ensure!(
                ended.is_none(),
                "it ended:\n{}",
                self.process.log_tail(LOG_LINES)
            );
            status_text(&asked)
        })
        .await?;
        Ok(())
    }

    /// `anylb status`.
    pub fn status(&self) -> Result<NodeStatus> {
        let text = status_text(&self.ask())?;
        let envelope: Envelope<NodeStatus> =
            serde_json::from_str(&text).context("anylb status --json")?;
        Ok(envelope.body)
    }

    /// Polls the status until it is as `wanted` has it.
    pub async fn until(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&NodeStatus) -> bool,
    ) -> Result<NodeStatus> {
        let (status, _) = poll::until(what, patience, async || {
            let status = self.status()?;
            ensure!(wanted(&status), "{status:?}");
            Ok(status)
        })
        .await?;
        Ok(status)
    }

    /// What the datapath has counted.
    pub async fn counters(&self) -> Result<Counters> {
        Ok(Client::new(&self.socket).counters().await?.body)
    }

    /// Any command; its output.
    pub fn tell(&self, arguments: &[&str]) -> Result<String> {
        shell::output(&mut command(&self.ask(), arguments))
    }

    /// What a command to this agent needs; usable while the agent is borrowed otherwise.
    fn ask(&self) -> Ask {
        (self.binary.clone(), self.socket.clone())
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        process::memory(self.process.id(), "VmRSS:")
    }

    /// The part of it that is no file's: without the program itself.
    pub fn anonymous_bytes(&self) -> Result<u64> {
        process::memory(self.process.id(), "RssAnon:")
    }

    /// The stop intent: SIGTERM, and the time it is given to end.
    pub async fn stop(mut self, deadline: Duration) -> Result<ExitStatus> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(deadline).await
    }

    /// Waits for its end.
    pub async fn ended(mut self, deadline: Duration) -> Result<ExitStatus> {
        self.process.wait(deadline).await
    }

    /// SIGTERM without waiting.
    pub fn terminate(&self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)
    }

    /// SIGHUP: the configuration is to be read again.
    pub fn hang_up(&self) -> Result<()> {
        self.process.signal(Signal::SIGHUP)
    }

    /// SIGSTOP: it stands still, and everything else goes on.
    pub fn halt(&self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// SIGCONT.
    pub fn go_on(&self) -> Result<()> {
        self.process.signal(Signal::SIGCONT)
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// SIGKILL.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_none())
    }
}

/// Binary and admin socket.
type Ask = (PathBuf, PathBuf);

fn command((binary, socket): &Ask, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.arg("--socket").arg(socket).args(arguments);
    command
}

/// A degraded node answers as well.
fn status_text(ask: &Ask) -> Result<String> {
    shell::output_with_codes(&mut command(ask, &["status", "--json"]), &[0, DEGRADED])
}
