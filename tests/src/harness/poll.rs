//! Waiting for a condition, with a deadline, and watching that one holds: the only ways tests wait.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
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

/// Tries `probe` every 10 ms for `time`, the length of a measurement. The first refusal ends it.
pub async fn holds(
    what: &str,
    time: Duration,
    mut probe: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        probe()
            .await
            .with_context(|| format!("after {} ms: {what}", start.elapsed().as_millis()))?;
        sleep(STEP.min(time.saturating_sub(start.elapsed()))).await;
    }
    Ok(())
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

    #[tokio::test]
    async fn what_holds_is_watched_to_the_end_and_what_does_not_ends_it() {
        let time = Duration::from_millis(30);
        let start = Instant::now();
        holds("quiet", time, async || Ok(())).await.expect("holds");
        assert!(start.elapsed() >= time);

        let mut tries = 0;
        let long = Duration::from_secs(3600);
        let refused = holds("three tries", long, async || {
            tries += 1;
            ensure!(tries < 3, "no third");
            Ok(())
        });
        let error = refused.await.unwrap_err();
        assert!(format!("{error:#}").ends_with("ms: three tries: no third"));
        assert_eq!(tries, 3);
    }
}
