//! What a process stands for: the Lease of the installation; or, where the work is divided, its part in that Lease and the Lease
//! of its shard.
//!
//! The Lease of the installation says how many shards there are, because it is held by all of that division together: whoever
//! belongs to it renews it, and whoever belongs to another one waits until nobody does any more. To those who know nothing of
//! shards it is a Lease that somebody holds.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Held, Lease, LeaseConfig, Status};
use crate::host::SharedHost;

/// One shard of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 0.
    pub index: u16,
    /// How many there are.
    pub of: u16,
}

impl Part {
    /// The name of the shard's own Lease.
    pub fn lease_name(self, installation: &str) -> String {
        format!("{installation}-{}", self.index)
    }

    /// The holder of the installation's Lease. No process is called so: names of pods and hosts have no space.
    fn group(self) -> String {
        format!("{} shards", self.of)
    }
}

/// An election that a process stands in.
pub struct Election {
    client: kube::Client,
    config: LeaseConfig,
    part: Option<Part>,
    identity: String,
    host: SharedHost,
    status: watch::Sender<Status>,
}

impl Election {
    /// As [`Lease::new`]; `config` names the Lease of the installation. Without a part this is an election for that alone.
    pub fn new(
        client: kube::Client,
        config: LeaseConfig,
        part: Option<Part>,
        identity: String,
        host: SharedHost,
    ) -> Self {
        Self { client, config, part, identity, host, status: watch::Sender::new(Status::Unknown) }
    }

    /// Where it stands, now and from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Waits until this process leads its shard. `None` where `shutdown` came first.
    pub async fn acquire(self, shutdown: &CancellationToken) -> Option<Held> {
        let Some(part) = self.part else {
            return self.lease(self.config.name.clone(), self.identity.clone()).acquire(shutdown).await;
        };
        loop {
            // The group's first: who waits for another division to end takes nothing from that one's shards.
            let group = self.lease(self.config.name.clone(), part.group()).shared().acquire(shutdown).await?;
            let guard = group.guard();
            let own = self.lease(part.lease_name(&self.config.name), self.identity.clone());
            tokio::select! {
                biased;
                () = guard.lost() => warn!("the group's Lease was lost before this process led: it stands by again"),
                held = own.acquire(shutdown) => return held.map(|held| held.within(group)),
            }
        }
    }

    fn lease(&self, name: String, identity: String) -> Lease {
        let config = LeaseConfig { name, ..self.config.clone() };
        Lease::new(self.client.clone(), config, identity, self.host.clone()).telling(self.status.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_holders() {
        let part = Part { index: 1, of: 3 };
        assert_eq!(part.lease_name("operator"), "operator-1");
        assert_eq!(part.group(), "3 shards");
    }
}
