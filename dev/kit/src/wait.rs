//! Conditions are awaited, never slept for.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

const POLL: Duration = Duration::from_millis(50);

/// Tries `check` until it answers `Ok`, and gives what it answered.
///
/// An error of `check` means *not yet*; the last one is told when `timeout` has
/// passed. `what` completes the sentence "waited in vain until …". One try may not
/// outlast the timeout.
///
/// ```
/// use std::time::Duration;
///
/// #[tokio::main]
/// async fn main() -> anyhow::Result<()> {
///     let answer = kit::eventually(Duration::from_secs(5), "it is 42", || async { Ok(42) });
///     assert_eq!(answer.await?, 42);
///     Ok(())
/// }
/// ```
pub async fn eventually<T, F, C>(timeout: Duration, what: &str, mut check: C) -> Result<T>
where
    C: FnMut() -> F,
    F: Future<Output = Result<T>>,
{
    let start = Instant::now();
    let mut last = anyhow!("no try came to an end");
    while let Some(left) = timeout.checked_sub(start.elapsed()) {
        match tokio::time::timeout(left, check()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = error,
            Err(_) => break,
        }
        tokio::time::sleep(POLL).await;
    }
    Err(last.context(format!("waited {} s in vain until {what}", timeout.as_secs_f32())))
}
