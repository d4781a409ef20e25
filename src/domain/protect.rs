//! When a connection bears our finalizer: for as long as resources need it to clean up.

use std::time::Duration;

/// How long nobody must have needed a connection before it is let go. Installations that see different resources of one
/// cluster connection take turns no faster than this.
pub const IDLE: Duration = Duration::from_secs(30);

/// What is known of a connection and of those that use it.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Whether it bears our finalizer.
    pub held: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Who needs it.
    pub need: Need,
    /// For how long nobody needed it. Zero where somebody does, or it is not held.
    pub idle: Duration,
}

/// Who needs a connection to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nobody.
    Nobody,
    /// A resource that may come to have something to clean up through it.
    Soon,
    /// A resource that has.
    Now,
}

/// What is to become of the finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finalizer {
    /// It stays as it is, there or not.
    Keep,
    /// It is put on.
    Add,
    /// It is taken off.
    Remove,
    /// It is taken off if nobody comes to need it within this time.
    Wait(Duration),
}

impl Held {
    /// Whether somebody needs the connection to stay. One that is being deleted takes nobody in.
    pub fn is_needed(self) -> bool {
        self.need == Need::Now || (self.need == Need::Soon && !self.deleting)
    }

    /// What is to become of the finalizer.
    pub fn finalizer(self) -> Finalizer {
        match (self.is_needed(), self.held) {
            // Nothing can be added to what is being deleted.
            (true, false) if !self.deleting => Finalizer::Add,
            (false, true) if self.deleting || self.idle >= IDLE => Finalizer::Remove,
            (false, true) => Finalizer::Wait(IDLE.saturating_sub(self.idle)),
            _ => Finalizer::Keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_held_while_it_is_needed_and_let_go_when_nobody_comes_back() {
        let seconds = Duration::from_secs;
        for (held, deleting, need, idle, expected) in [
            // Needed, or soon to be.
            (false, false, Need::Now, 0, Finalizer::Add),
            (false, false, Need::Soon, 0, Finalizer::Add),
            (true, false, Need::Now, 0, Finalizer::Keep),
            (true, false, Need::Soon, 0, Finalizer::Keep),
            // Being deleted: only what is to be cleaned up keeps it.
            (true, true, Need::Now, 0, Finalizer::Keep),
            (true, true, Need::Soon, 0, Finalizer::Remove),
            (false, true, Need::Now, 0, Finalizer::Keep),
            // Not needed.
            (false, false, Need::Nobody, 0, Finalizer::Keep),
            (true, true, Need::Nobody, 0, Finalizer::Remove),
            (true, false, Need::Nobody, 0, Finalizer::Wait(IDLE)),
            (true, false, Need::Nobody, 10, Finalizer::Wait(seconds(20))),
            (true, false, Need::Nobody, 30, Finalizer::Remove),
        ] {
            let state = Held { held, deleting, need, idle: seconds(idle) };
            assert_eq!(state.finalizer(), expected, "{state:?}");
        }
    }
}
