//! Probes, metrics and the log level over HTTP.
//!
//! - `/livez` fails only when the controllers' loop stands still: restarting is the one cure it asks for. Neither an
//!   outage of the remote nor one of the apiserver is cured by it, so neither fails it.
//! - `/readyz` is true once this process does what its role asks. A standby is ready: a rolling update waits for the new
//!   pod to be ready before the old one, which leads, gives up the Lease.
//! - `/log-level` is for callers on the same machine, in a pod through `kubectl port-forward`.

mod serve;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub use serve::{ServeError, Servers};

/// How long the controllers' loop may be silent. Longer than any watch is, even where nothing happens.
const HEARTBEAT_LIMIT: Duration = Duration::from_mins(10);

/// What this process is among those of the installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The Lease could not be read yet.
    #[default]
    Unknown,
    /// Somebody else leads.
    Standby,
    /// This process leads.
    Leader,
}

/// What readiness and liveness are made of. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    crds: bool,
    role: Role,
    caches: bool,
    heartbeat: Option<Instant>,
}

/// An answer to a probe, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The answer.
    pub passed: bool,
    /// Each check by name, in a fixed order.
    pub checks: Vec<(&'static str, Result<&'static str, &'static str>)>,
}

impl Health {
    /// Nothing is ready; no heartbeat is expected yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether all our kinds are served. Asked of a leader only.
    pub fn set_crds(&self, established: bool) {
        self.change(|state| state.crds = established);
    }

    /// Where the election stands.
    pub fn set_role(&self, role: Role) {
        self.change(|state| state.role = role);
    }

    /// Whether the caches of all watches hold a complete list. Asked of a leader only.
    pub fn set_caches(&self, synced: bool) {
        self.change(|state| state.caches = synced);
    }

    /// The controllers' loop is alive. From the first beat on, liveness expects one every few minutes.
    pub fn beat(&self) {
        let now = Instant::now();
        self.change(|state| state.heartbeat = Some(now));
    }

    /// The answer to `/livez`.
    pub fn live(&self) -> Verdict {
        let heartbeat = match self.state().heartbeat {
            None => Ok("not expected before the controllers run"),
            Some(beat) if beat.elapsed() <= HEARTBEAT_LIMIT => Ok(""),
            Some(_) => Err("the controllers' loop stands still"),
        };
        Verdict::of(vec![("heartbeat", heartbeat)])
    }

    /// The answer to `/readyz`.
    pub fn ready(&self) -> Verdict {
        let state = self.state();
        let lease = match state.role {
            Role::Unknown => Err("the Lease could not be read yet"),
            Role::Standby => Ok("standby"),
            Role::Leader => Ok("leader"),
        };
        // A standby does not watch, so it cannot know.
        let of_a_leader = |passed: bool, otherwise| match (passed, state.role) {
            (true, _) => Ok(""),
            (false, Role::Standby) => Ok("not needed on standby"),
            (false, _) => Err(otherwise),
        };
        let crds = of_a_leader(state.crds, "not served: are the CRDs installed?");
        let caches = of_a_leader(state.caches, "not synced yet");
        Verdict::of(vec![("crds", crds), ("lease", lease), ("caches", caches)])
    }

    fn state(&self) -> State {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Verdict {
    fn of(checks: Vec<(&'static str, Result<&'static str, &'static str>)>) -> Self {
        Self { passed: checks.iter().all(|(_, check)| check.is_ok()), checks }
    }

    /// The checks as the apiserver lists its own: `[+]` passed, `[-]` failed.
    fn describe(&self, probe: &str) -> String {
        let mut text = String::new();
        for (name, check) in &self.checks {
            let (mark, word, note) = match check {
                Ok(note) => ('+', "ok", note),
                Err(note) => ('-', "failed", note),
            };
            let separator = if note.is_empty() { "" } else { ": " };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "[{mark}]{name} {word}{separator}{note}");
        }
        let _ = writeln!(text, "{probe} check {}", if self.passed { "passed" } else { "failed" });
        text
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[test]
    fn readiness() {
        for (crds, role, caches, expected) in [
            (false, Role::Unknown, false, false),
            (true, Role::Unknown, false, false),
            (true, Role::Unknown, true, false),
            (false, Role::Standby, false, true),
            (true, Role::Standby, false, true),
            (true, Role::Leader, false, false),
            (true, Role::Leader, true, true),
            (false, Role::Leader, true, false),
        ] {
            let health = Health::new();
            health.set_crds(crds);
            health.set_role(role);
            health.set_caches(caches);
            assert_eq!(health.ready().passed, expected, "{crds} {role:?} {caches}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn liveness_expects_beats_after_the_first() {
        let health = Health::new();
        advance(HEARTBEAT_LIMIT * 10).await;
        assert!(health.live().passed, "a standby beats never");
        health.beat();
        advance(HEARTBEAT_LIMIT).await;
        assert!(health.live().passed);
        advance(Duration::from_secs(1)).await;
        assert!(!health.live().passed);
        health.beat();
        assert!(health.live().passed);
    }

    #[test]
    fn verbose_answers_name_each_check() {
        let health = Health::new();
        health.set_crds(true);
        health.set_role(Role::Leader);
        assert_eq!(
            health.ready().describe("readyz"),
            "[+]crds ok\n[+]lease ok: leader\n[-]caches failed: not synced yet\nreadyz check failed\n"
        );
    }
}
