//! The emulator, its console and its end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::guest::RESULT;

/// From power on to power off. Emulated processors are some twenty times slower than real ones.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The emulator's process, killed when dropped.
struct Machine(Child);

/// Boots, repeats the console, and returns the exit code of each test that ended.
pub fn run(kernel: &Path, initrd: &Path) -> Result<BTreeMap<String, i32>> {
    let mut machine = Machine(start(kernel, initrd)?);
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
    let mut results = BTreeMap::new();
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => match result(&line) {
                Some((test, code)) => {
                    results.insert(test.to_owned(), code);
                }
                None => println!("vm: {line}"),
            },
            Err(RecvTimeoutError::Disconnected) => return Ok(results),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the machine still ran after {} s", PATIENCE.as_secs())
            }
        }
    }
}

fn start(kernel: &Path, initrd: &Path) -> Result<Child> {
    const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 rdinit=/init nokaslr mitigations=off";
    Command::new("qemu-system-x86_64")
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

/// The test and its exit code in a line of [`super::guest`]'s first process.
fn result(line: &str) -> Option<(&str, i32)> {
    let (test, code) = line.strip_prefix(RESULT)?.split_once(' ')?;
    Some((test, code.parse().ok()?))
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and been reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::result;

    #[test]
    fn results_among_the_consoles_lines() {
        for (line, expected) in [
            ("RESULT backend 0", Some(("backend", 0))),
            ("RESULT backend 101", Some(("backend", 101))),
            ("RESULT backend", None),
            ("test result: ok. 3 passed", None),
        ] {
            assert_eq!(result(line), expected, "{line}");
        }
    }
}
