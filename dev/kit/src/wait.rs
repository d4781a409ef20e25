//! Conditions are awaited, never slept for.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::run_dir::RunDir;

const POLL: Duration = Duration::from_millis(50);

/// Tries `check` until it answers `Ok`, and gives what it answered.
///
/// An error of `check` means *not yet*; the last one is told when `timeout` has
/// passed, with the folders of the logs, which are kept. `what` completes the
/// sentence "waited in vain until …". One try may not outlast the timeout.
///
/// ```
/// # tokio_test(async {
/// use std::time::Duration;
/// let answer = kit::eventually(Duration::from_secs(5), "it is 42", || async {
///     Ok(42)
/// });
/// assert_eq!(answer.await?, 42);
/// # anyhow::Ok(()) });
/// # fn tokio_test(f: impl Future<Output = anyhow::Result<()>>) {
/// #     tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f).unwrap();
/// # }
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
    let logs: Vec<_> = RunDir::keep_all().iter().map(|folder| format!("; logs in {}", folder.display())).collect();
    Err(last.context(format!("waited {} s in vain until {what}{}", timeout.as_secs_f32(), logs.concat())))
}
