//! Why a command line cannot be run with.

use std::time::Duration;

use super::{BindAddressError, EndpointError};
use crate::domain::shard::NoShard;
use crate::lease::Timing;

/// Why the command line cannot be run with. Each message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not a namespace's name.
    #[error(
        "{flag}: {value:?} is not the name of a namespace: write at most 63 of a-z, 0-9 and '-', beginning and ending \
         with a letter or digit"
    )]
    Namespace {
        /// The flag or variable.
        flag: &'static str,
        /// What it held.
        value: String,
    },
    /// Not an object's name.
    #[error(
        "--leader-elect-resource-name: {0:?} is not the name of a Lease: write at most 253 of a-z, 0-9, '-' and '.', \
         each part beginning and ending with a letter or digit, and leave room for a shard's number"
    )]
    LeaseName(String),
    /// An endpoint that may not be allowed. The text is left out: it might hold a password.
    #[error("--allow-endpoint: URL {position} {error}")]
    Endpoint {
        /// Counted from 1.
        position: usize,
        /// What is wrong.
        error: EndpointError,
    },
    /// Every endpoint given was empty.
    #[error("--allow-endpoint: no URL given: write one such as https://api.abeja.io, or leave the flag out")]
    NoEndpoint,
    /// The times of leader election do not fit each other.
    #[error(
        "leader election needs --leader-elect-lease-duration ({:?}) > --leader-elect-renew-deadline ({:?}) > \
         --leader-elect-retry-period ({:?}) > 0s: a leader must stop before others start, and try more than once before \
         it stops", .0.lease_duration, .0.renew_deadline, .0.retry_period
    )]
    ElectionOrder(Timing),
    /// Leases count whole seconds.
    #[error(
        "--leader-elect-lease-duration: {0:?} is not a whole number of seconds up to 1h, which is what a Lease records"
    )]
    LeaseDuration(Duration),
    /// Out of bounds, or a fraction.
    #[error("--watch-timeout: {0:?} is not a whole number of seconds within 5s and 1h")]
    WatchTimeout(Duration),
    /// Too long.
    #[error("--remote-settle-time: {0:?} is more than 1h: a create whose answer was lost would wait that long")]
    SettleTime(Duration),
    /// Out of bounds.
    #[error("--default-refresh-interval: {0:?} is not within 5s and 720h")]
    RefreshInterval(Duration),
    /// Nothing would ever run.
    #[error("--max-concurrent-reconciles: 0 would work on nothing: write 1 or more (the default is 32)")]
    NoConcurrency,
    /// Not a shard.
    #[error("--shard: {0:?} {1}")]
    Shard(String, NoShard),
    /// Not an address.
    #[error("{flag}: {value:?} {error}")]
    Address {
        /// The flag.
        flag: &'static str,
        /// What it held.
        value: String,
        /// What to write.
        error: BindAddressError,
    },
}
