//! `run`, `backend run` and `bfd`: hand over to who does the work.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::error::CliError;
use super::output::Answer;
use crate::dataplane::BpfLog;
use crate::dataplane::guard::Guard;
use crate::status::Exit;
use crate::{agent, backend, bfd};

/// `anylb run`.
pub(super) fn node(config: PathBuf, bpf_log: BpfLog) -> Result<Answer, CliError> {
    log();
    runtime()?
        .block_on(agent::run(config, bpf_log))
        .map(|()| nothing_more())
        .map_err(|error| CliError::new(error.exit(), error.to_string()))
}

/// `anylb backend run`.
pub(super) fn backend(config: PathBuf) -> Result<Answer, CliError> {
    log();
    runtime()?
        .block_on(backend::run(config))
        .map(|()| nothing_more())
        .map_err(|error| CliError::new(error.exit(), error.to_string()))
}

/// `anylb bfd`. In a session of its own: what ends the agent does not end it.
pub(super) fn bfd(directory: &Path) -> Result<Answer, CliError> {
    log();
    // Fails where it leads a group already, as under a service manager: then that looks after it.
    let _ = nix::unistd::setsid();
    let run = async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        bfd::process::run(directory, Guard::default(), stop)
            .await
            .map_err(failed)
    };
    runtime()?.block_on(run).map(|()| nothing_more())
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::new(Exit::Failed, error.to_string())
}

/// One thread: the agent waits most of the time, and a thread per core would cost memory and nothing else.
pub(super) fn runtime() -> Result<Runtime, CliError> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot start the runtime: {error}")))
}

/// The log goes to standard error, filtered by RUST_LOG (`info` unless set). The journal has its own clock.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Who reads it may be gone, and a process that outlives him must not end for that.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().init();
    } else {
        builder.init();
    }
}

fn nothing_more() -> Answer {
    Answer {
        text: String::new(),
        exit: Exit::Ok,
    }
}
