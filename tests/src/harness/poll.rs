//! Waiting for a condition, with a deadline: the only way tests wait.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep};

const STEP: Duration = Duration::from_millis(10);

/// Tries `probe` every 10 ms until it succeeds and returns its answer and how long that took. At the deadline the
/// last refusal is the error.
pub async fn until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        let refusal = match probe().await {
            Ok(answer) => return Ok((answer, start.elapsed())),
            Err(refusal) => refusal,
        };
        if start.elapsed() >= deadline {
            return Err(anyhow!(
                "not within {} ms: {what}: {refusal:#}",
                deadline.as_millis()
            ));
        }
        sleep(STEP).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    #[tokio::test]
    async fn returns_the_first_success_and_names_the_last_refusal() {
        let mut tries = 0;
        let (answer, _) = until("three tries", Duration::from_secs(5), async || {
            tries += 1;
            ensure!(tries == 3, "only {tries}");
            Ok(tries)
        })
        .await
        .expect("the third try succeeds");
        assert_eq!(answer, 3);

        let refused: Result<((), Duration)> =
            until("never", Duration::from_millis(30), async || {
                Err(anyhow!("no such luck"))
            })
            .await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "not within 30 ms: never: no such luck"
        );
    }
}
