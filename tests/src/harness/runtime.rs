//! A tokio runtime whose one thread lives in a namespace: every socket its tasks open is opened there.

use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::netns::Netns;

/// The thread, stopped and joined when dropped.
#[derive(Debug)]
pub struct NetnsRuntime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl NetnsRuntime {
    /// Starts the thread inside `netns`.
    pub fn start(netns: &Netns) -> Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (report, started) = std::sync::mpsc::channel();
        let file = std::fs::File::open(netns.path())
            .with_context(|| netns.path().display().to_string())?;
        let thread = thread::Builder::new()
            .name(format!("in-{}", netns.name()))
            .spawn(move || {
                let runtime = nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)
                    .map_err(anyhow::Error::from)
                    .and_then(|()| Ok(Builder::new_current_thread().enable_all().build()?));
                match runtime {
                    Err(error) => drop(report.send(Err(error))),
                    Ok(runtime) => {
                        drop(report.send(Ok(runtime.handle().clone())));
                        // Ends on the signal as well as when the owner is gone.
                        let _ = runtime.block_on(stopped);
                    }
                }
            })?;
        let handle = started
            .recv()
            .map_err(|_| anyhow!("the thread inside {} ended", netns.name()))??;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where to spawn tasks. Their join handles may be awaited from any runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for NetnsRuntime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of a task has been reported through its join handle.
            let _ = thread.join();
        }
    }
}
