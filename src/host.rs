//! What the process takes from the machine under it beside the apiserver: the wall clock, random numbers, and the way to
//! the remote. One value, given from the top, so that a simulated world can stand in for all three.
//!
//! Times that only measure (timeouts, graces, backoff, deadlines) are read from tokio's clock, which tests pause.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;

/// The machine as the process sees it.
pub trait Host: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// A number that differs from every other one drawn. Ids need to be unique, not secret.
    fn random(&self) -> u64;

    /// What carries requests to the remote in place of sockets. `None`: nothing does.
    fn carrier(&self) -> Option<Arc<dyn Carry>> {
        None
    }
}

/// Handed to everything that needs it.
pub type SharedHost = Arc<dyn Host>;

/// The machine itself.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl Machine {
    /// The one that everybody shares.
    pub fn shared() -> SharedHost {
        Arc::new(Self)
    }
}

impl Host for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> u64 {
        // The keys of the standard library's hasher are random per process, and differ per instance.
        RandomState::new().hash_one(0_u8)
    }
}

/// Takes a request to the remote, and brings its answer. Timeouts, classification and retries stay the client's own.
pub trait Carry: Send + Sync {
    /// One request, once.
    fn carry(&self, request: reqwest::Request) -> BoxFuture<'static, Result<reqwest::Response, NoAnswer>>;
}

impl fmt::Debug for dyn Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

impl fmt::Debug for dyn Carry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carry")
    }
}

/// Why a carrier brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There was no connection, so nothing was sent.
    NotConnected,
    /// The connection was lost: the request may have been carried out.
    Cut,
}
