//! The emulator, its console and its end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// From power on to power off. Emulated processors are some twenty times slower than real ones.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The emulator's process, killed when dropped.
struct Machine(Child);

/// Boots, and gives every line of the console to `heard` until the machine ends.
pub fn run(
    emulator: Command,
    kernel: &Path,
    initrd: &Path,
    mut heard: impl FnMut(&str),
) -> Result<()> {
    let mut machine = Machine(start(emulator, kernel, initrd)?);
    let console = machine.0.stdout.take().context("a piped console")?;
    let (line_sender, lines) = mpsc::sync_channel(64);
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if line_sender.send(line).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + PATIENCE;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => heard(&line),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the machine still ran after {} s", PATIENCE.as_secs())
            }
        }
    }
}

fn start(mut emulator: Command, kernel: &Path, initrd: &Path) -> Result<Child> {
    const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 rdinit=/init nokaslr mitigations=off";
    emulator
        .args("-M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1536".split(' '))
        .args("-nographic -no-reboot -nodefaults -serial stdio".split(' '))
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", COMMAND_LINE])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("qemu-system-x86_64")
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and been reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
