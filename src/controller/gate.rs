//! A gate that opens once: whoever waits is let through then, and everybody after.
//!
//! Beside `Store::wait_until_ready`, which wakes only the last of several tasks that wait for it.

use tokio::sync::watch;

/// Closed at first.
#[derive(Debug)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Gate {
    /// Opens, for good.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn opened(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn everybody_who_waits_is_let_through() {
        let gate = Arc::new(Gate::default());
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let gate = gate.clone();
                tokio::spawn(async move { gate.opened().await })
            })
            .collect();
        tokio::task::yield_now().await;
        gate.open();
        for task in waiting {
            task.await.unwrap();
        }
        gate.opened().await;
    }
}
