//! What a router's kernel tells of the routes to one prefix, at the moment when it happens.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::harness::netns::Netns;

const DAY: Duration = Duration::from_secs(86_400);

/// A listener to changes of routes; it ends when dropped.
#[derive(Debug)]
pub struct Watch {
    listener: Child,
    ends: Receiver<Gone>,
}

/// The end of a route.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    /// When it was told.
    pub at: Instant,
    /// Time since midnight UTC.
    time_of_day: Duration,
}

impl Gone {
    #[expect(clippy::disallowed_methods, reason = "logs have the time of day")]
    fn now() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            at: Instant::now(),
            time_of_day: Duration::from_nanos((since_epoch.as_nanos() % DAY.as_nanos()) as u64),
        }
    }

    /// Time from a moment of the day, which lies before it by less than a day.
    pub fn since(&self, time_of_day: Duration) -> Duration {
        match self.time_of_day.checked_sub(time_of_day) {
            Some(time) => time,
            None => self.time_of_day + DAY - time_of_day,
        }
    }
}

impl Watch {
    /// Listens in a router's namespace; a host route is written without its length.
    pub fn start(router: &Netns, prefix: &str) -> Result<Self> {
        let mut command = router.command("ip");
        command.args(["-o", "monitor", "route"]);
        let mut listener = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(listener.stdout.take().context("its output")?).lines();
        let address = prefix.split('/').next().unwrap_or(prefix).to_owned();
        let (sender, ends) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut words = line.split_whitespace();
                let deleted = words.next() == Some("Deleted");
                if deleted && words.next() == Some(&address) && sender.send(Gone::now()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { listener, ends })
    }

    /// Forgets the ends that have been told, and says how many they were.
    pub fn forget(&mut self) -> usize {
        self.ends.try_iter().count()
    }

    /// Waits for the next end.
    pub fn gone(&mut self, patience: Duration) -> Result<Gone> {
        let ended = self.ends.recv_timeout(patience);
        ended.context("the route is still in the router's kernel")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and been reaped.
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_that_ends_between() {
        let gone = Gone {
            at: Instant::now(),
            time_of_day: Duration::from_millis(20),
        };
        assert_eq!(
            gone.since(Duration::from_millis(5)),
            Duration::from_millis(15)
        );
        let before = DAY - Duration::from_millis(30);
        assert_eq!(gone.since(before), Duration::from_millis(50));
    }
}
