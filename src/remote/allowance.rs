//! What one connection may send: within what it allows itself, and within what the remote bears of its organization, which
//! others share.
//!
//! The two are apart, lest who names an organization in one namespace slow those down who use it from another.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::budget::Standing;

use super::limiter::Limiter;

/// Two budgets of requests, each of which must have room for a request.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    /// What the connection allows itself.
    pub own: Arc<Limiter>,
    /// What the remote bears, as all found out who name the same endpoint and organization.
    pub shared: Arc<Limiter>,
}

impl Allowance {
    /// The lower limit, and for how long the remote is to be left alone.
    pub fn standing(&self) -> Standing {
        let (own, shared) = (self.own.standing(), self.shared.standing());
        let per_minute = own.per_minute.into_iter().chain(shared.per_minute).min();
        Standing { per_minute, ..shared }
    }

    /// Takes a token of each for a request that can not wait: others wait for it instead.
    pub(super) fn take(&self) {
        self.own.take();
        self.shared.take();
    }

    /// Takes a token of each, where both have one within `patience`, and answers after how long; or takes none, and says after how
    /// long to ask again.
    pub(super) fn admit(&self, patience: Duration) -> Result<Duration, Duration> {
        let own = self.own.admit(patience)?;
        match self.shared.admit(patience) {
            Ok(shared) => Ok(own.max(shared)),
            Err(after) => {
                self.own.give_back();
                Err(after)
            }
        }
    }

    /// The remote answered a request.
    pub(super) fn answered(&self) {
        self.shared.answered();
    }

    /// The remote refused a request because there were too many.
    pub(super) fn refused(&self, leave_alone: Option<Duration>) {
        self.shared.refused(leave_alone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_connection_sets_is_its_own_and_what_the_remote_says_is_for_all() {
        let modest = Allowance::default();
        let other = Allowance { shared: modest.shared.clone(), ..Allowance::default() };
        modest.own.set(Some((60, 1)));
        assert_eq!(modest.admit(Duration::ZERO), Ok(Duration::ZERO));
        assert!(modest.admit(Duration::ZERO).is_err(), "one at once");
        assert!((0..1000).all(|_| other.admit(Duration::ZERO).is_ok()), "nobody limits the other");
        other.refused(Some(Duration::from_secs(30)));
        for allowance in [&modest, &other] {
            assert!(allowance.admit(Duration::from_secs(5)).unwrap_err() >= Duration::from_secs(29));
            assert_eq!(allowance.standing().blocked, Duration::from_secs(30));
        }
        assert_eq!(modest.standing().per_minute, Some(60));
        tokio::time::advance(Duration::from_mins(2)).await;
        assert_eq!(modest.admit(Duration::ZERO), Ok(Duration::ZERO), "who was sent away took nothing");
    }
}
