//! Leader election on a `coordination.k8s.io` Lease: at most one process acts, or one for each shard.
//!
//! - [`decide`](fn@decide) is the rule, pure: what to do about the record that was seen.
//! - Expiry is counted on this process's monotonic clock from when the record was last seen to change, as client-go does,
//!   so no clock of another machine matters. (A machine that is suspended as a whole stops this clock; the protocol of
//!   creating versions does not rest on the Lease alone.)
//! - Every write carries the `resourceVersion` that was seen. A conflict means that somebody else wrote: look again.
//! - Where the work is divided ([`Part`]), the Lease is held by all shards of one division together, and each shard has one of its
//!   own beside it. Who acts holds both, so processes of two divisions never act at once.
//! - A leader that could not renew until its deadline has lost, for good: [`Guard::may_act`] is never true again, and the
//!   process exits.
//!
//! Who deletes a Lease takes this away: a process that starts then, and never saw the old record, leads at once, before
//! the old leader notices.
//!
//! A Lease does not fence the remote: a call that was begun in time may end late. What that needs is the protocol's.

mod decide;
mod elect;
mod election;
mod record;
mod term;

use std::time::Duration;

pub use decide::{Candidate, Decision, Seen, decide};
pub use elect::{Held, Lease, Status};
pub use election::{Election, Part};
pub use term::Guard;

/// The times of leader election: `lease_duration > renew_deadline > retry_period > 0`, the first in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long others wait after they last saw the record change.
    pub lease_duration: Duration,
    /// How long a leader acts after it began its last successful renewal.
    pub renew_deadline: Duration,
    /// Time between two tries.
    pub retry_period: Duration,
}

/// Which Lease is contended for, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// The times.
    pub timing: Timing,
}

impl Timing {
    /// How long one call to the apiserver may take: a deadline has room for several.
    fn call_timeout(&self) -> Duration {
        (self.renew_deadline / 3).min(Duration::from_secs(3))
    }
}

/// A client for the Lease alone: each call is tried once, since a retry inside the client would outlive the deadline.
pub fn client(mut config: kube::Config) -> kube::Result<kube::Client> {
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(2));
    kube::Client::try_from(config)
}

#[cfg(test)]
mod tests;
