//! What a world begins with, and which faults may happen in it, each how often.

use crate::breaks::Break;

/// Faults and events that the adversary may still use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Faults {
    /// The leader dies; a fresh process leads.
    pub crashes: u8,
    /// The leader loses its Lease and ends with the call that it has begun.
    pub lease_losses: u8,
    /// Where two processes act at once: passes that the second may begin.
    pub intrusions: u8,
    /// An answer of the remote to a create does not come.
    pub lost: u8,
    /// A create is refused and nothing comes of it.
    pub rejected: u8,
    /// An answer of the apiserver to a write does not come.
    pub kube_lost: u8,
    /// A source is edited.
    pub edits: u8,
    /// Somebody makes a version at the console.
    pub made: u8,
    /// Somebody deletes a version at the console.
    pub deleted: u8,
    /// The remote ceases to serve a version's value.
    pub unserved: u8,
    /// A version is created that lists do not show yet.
    pub lagging: u8,
    /// A create is committed later than any grace covers.
    pub late: u8,
    /// The first resource is only created now; nothing tells it from the second in age.
    pub newcomers: u8,
    /// A status is lost.
    pub status_lost: u8,
    /// A resource is deleted.
    pub deletions: u8,
    /// The key of digests is replaced, and the process with it.
    pub key_lost: u8,
    /// A person asks for a sync.
    pub syncs: u8,
    /// A refresh is due.
    pub refreshes: u8,
}

/// How versions go with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// They are deleted.
    Delete,
    /// They stay; the resource has no finalizer.
    Retain,
}

/// A world to explore.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// How many resources share the remote secret.
    pub resources: u8,
    /// How many processes act at once, without a Lease.
    pub processes: u8,
    /// How long a create request may take, in ticks.
    pub timeout: u8,
    /// How long lists may lag, in ticks.
    pub settle: u8,
    /// Values that sources take: 1 to this.
    pub values: u8,
    /// The values at the start, by resource.
    pub start: [u8; 2],
    /// Whether caches may lag.
    pub stale: bool,
    /// Whether there is a target, and whether somebody else's Secret has its name.
    pub target: Option<bool>,
    /// What becomes of versions when a resource goes.
    pub policy: Policy,
    /// The faults.
    pub faults: Faults,
    /// The faults of the long form.
    pub more: Faults,
    /// What is broken on purpose.
    pub broken: Option<Break>,
}

impl Config {
    /// The long form.
    #[must_use]
    pub fn full(self) -> Self {
        Self { faults: self.more, ..self }
    }

    /// The same world with the protocol broken in one place.
    #[must_use]
    pub fn broken_by(self, broken: Break) -> Self {
        Self { broken: Some(broken), ..self }
    }

    /// A grace, in ticks: the send window is one.
    pub fn grace(&self) -> u8 {
        1 + 2 * self.timeout + self.settle
    }

    /// The longest age that makes a difference.
    pub fn oldest(&self) -> u8 {
        self.grace() << 2
    }
}
