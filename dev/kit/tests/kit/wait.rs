//! Waiting in vain says what for, and what was last in the way.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{bail, ensure};
use kit::eventually;

#[tokio::test]
async fn a_condition_that_comes_true_gives_its_value() {
    let tries = Cell::new(0);
    let value = eventually(Duration::from_secs(20), "the third try", || async {
        tries.set(tries.get() + 1);
        ensure!(tries.get() == 3, "only try {}", tries.get());
        Ok("value")
    });
    assert_eq!(value.await.unwrap(), "value");
}

#[tokio::test]
async fn a_condition_that_stays_false_is_told_with_its_last_reason() {
    let never = eventually(Duration::from_millis(120), "pigs fly", || async { bail!("gravity") as anyhow::Result<()> });
    let message = format!("{:#}", never.await.unwrap_err());
    assert!(message.contains("until pigs fly"), "{message}");
    assert!(message.ends_with("gravity"), "{message}");
}

#[tokio::test]
async fn one_hanging_try_does_not_outlast_the_timeout() {
    let pending = std::future::pending::<anyhow::Result<()>>;
    let hanging = eventually(Duration::from_millis(120), "it answers", pending);
    let message = format!("{:#}", hanging.await.unwrap_err());
    assert!(message.contains("no try came to an end"), "{message}");
}
