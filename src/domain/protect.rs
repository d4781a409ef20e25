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
    /// Whether a resource has to clean up through it.
    pub duties: bool,
    /// Whether a resource may come to have to.
    pub managed: bool,
    /// For how long nobody needed it. Zero where somebody does, or it is not held.
    pub idle: Duration,
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
        self.duties || (self.managed && !self.deleting)
    }

    /// What is to become of the finalizer.
    pub fn finalizer(self) -> Finalizer {
        match (self.is_needed(), self.held) {
            // Nothing can be added to what is being deleted.
            (true, false) if !self.deleting => Finalizer::Add,
            (false, true) if self.deleting || self.idle >= IDLE => Finalizer::Remove,
            (false, true) => Finalizer::Wait(IDLE - self.idle),
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
        for (held, deleting, duties, managed, idle, expected) in [
            // Needed, or soon to be.
            (false, false, true, true, 0, Finalizer::Add),
            (false, false, false, true, 0, Finalizer::Add),
            (true, false, true, false, 0, Finalizer::Keep),
            (true, false, false, true, 0, Finalizer::Keep),
            // Being deleted: only what is to be cleaned up keeps it.
            (true, true, true, true, 0, Finalizer::Keep),
            (true, true, false, true, 0, Finalizer::Remove),
            (false, true, true, true, 0, Finalizer::Keep),
            // Not needed.
            (false, false, false, false, 0, Finalizer::Keep),
            (true, true, false, false, 0, Finalizer::Remove),
            (true, false, false, false, 0, Finalizer::Wait(IDLE)),
            (true, false, false, false, 10, Finalizer::Wait(seconds(20))),
            (true, false, false, false, 30, Finalizer::Remove),
        ] {
            let state = Held { held, deleting, duties, managed, idle: seconds(idle) };
            assert_eq!(state.finalizer(), expected, "{state:?}");
        }
    }
}
