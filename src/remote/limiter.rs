//! The budget of requests of one place, shared by every connection that names it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A token bucket. Who takes a token that is not there yet owes it, and waits until it is.
#[derive(Debug)]
pub struct Limiter(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Limiter {
    /// A full bucket: so many requests a minute, and so many at once.
    pub fn new(per_minute: u32, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self(Mutex::new(Bucket { per_second: rate(per_minute), burst, tokens: burst, at: Instant::now() }))
    }

    /// Another limit from now on.
    pub fn set(&self, per_minute: u32, burst: u32) {
        self.with(|bucket| (bucket.per_second, bucket.burst) = (rate(per_minute), f64::from(burst.max(1))));
    }

    /// Takes a token, and answers how long it is until it is there.
    pub(super) fn take(&self) -> Duration {
        self.with(|bucket| {
            bucket.tokens -= 1.0;
            Duration::from_secs_f64((-bucket.tokens / bucket.per_second).max(0.0))
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = now.saturating_duration_since(bucket.at).as_secs_f64() * bucket.per_second;
        bucket.tokens = (bucket.tokens + earned).min(bucket.burst);
        bucket.at = now;
        f(&mut bucket)
    }
}

fn rate(per_minute: u32) -> f64 {
    f64::from(per_minute.max(1)) / 60.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_burst_is_free_and_the_rest_comes_at_the_rate() {
        let limiter = Limiter::new(60, 2);
        let waits: Vec<u64> = (0..4).map(|_| limiter.take().as_secs()).collect();
        assert_eq!(waits, [0, 0, 1, 2]);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(limiter.take(), Duration::ZERO);
        limiter.set(6, 1);
        limiter.take();
        assert!(limiter.take() >= Duration::from_secs(9));
    }
}
