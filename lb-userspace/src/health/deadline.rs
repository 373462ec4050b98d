//! One point in time for all that a check does.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Failure;

/// When a check has failed, whatever it is doing then.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        Deadline {
            at: Instant::now() + timeout,
            timeout,
        }
    }

    /// The whole time that there was.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Waits for `step`, at most until the deadline; `late` names the step that was not over by then.
    pub async fn bound<T>(
        &self,
        step: impl Future<Output = T>,
        late: fn(Duration) -> Failure,
    ) -> Result<T, Failure> {
        timeout_at(self.at, step)
            .await
            .map_err(|_elapsed| late(self.timeout))
    }
}
