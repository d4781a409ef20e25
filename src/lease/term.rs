//! A leader's time in office: extended by renewals, over once it is over.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

#[derive(Clone, Copy, Debug)]
struct Term {
    deadline: Instant,
    over: bool,
}

impl Term {
    fn holds(&self, now: Instant) -> bool {
        !self.over && now < self.deadline
    }
}

/// The one that extends and ends the term.
#[derive(Debug)]
pub(super) struct TermKeeper(watch::Sender<Term>);

/// Tells whether this process may act. Cheap to clone and to ask: ask before every call that has an effect.
#[derive(Clone, Debug)]
pub struct Guard {
    term: watch::Receiver<Term>,
    /// Another term, outside of which this one counts for nothing.
    within: Option<watch::Receiver<Term>>,
}

impl TermKeeper {
    pub(super) fn begin(deadline: Instant) -> (Self, Guard) {
        let (sender, receiver) = watch::channel(Term { deadline, over: false });
        (Self(sender), Guard { term: receiver, within: None })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.0.borrow().deadline
    }

    /// Moves the deadline. `false` where the term was over before: it stays over.
    pub(super) fn extend(&self, deadline: Instant) -> bool {
        self.0.send_if_modified(|term| {
            let holds = term.holds(Instant::now());
            if holds {
                term.deadline = deadline;
            } else {
                term.over = true;
            }
            holds
        })
    }

    pub(super) fn end(&self) {
        self.0.send_modify(|term| term.over = true);
    }
}

impl Guard {
    /// Whether a call may begin now: before the deadline of the last renewal, and neither lost nor released.
    /// Once false, false for ever.
    pub fn may_act(&self) -> bool {
        let now = Instant::now();
        self.terms().all(|term| term.borrow().holds(now))
    }

    /// Until when this process may act if no renewal succeeds any more.
    pub fn deadline(&self) -> Instant {
        let own = self.term.borrow().deadline;
        self.within.as_ref().map_or(own, |term| own.min(term.borrow().deadline))
    }

    /// Ends when [`Self::may_act`] has become false, be it by loss or by release.
    pub async fn lost(&self) {
        let outer = async {
            match &self.within {
                Some(term) => over(term.clone()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = over(self.term.clone()) => {}
            () = outer => {}
        }
    }

    /// A guard that holds while both do.
    pub(super) fn and(&self, outer: &Self) -> Self {
        Self { term: self.term.clone(), within: Some(outer.term.clone()) }
    }

    fn terms(&self) -> impl Iterator<Item = &watch::Receiver<Term>> {
        [&self.term].into_iter().chain(&self.within)
    }
}

/// Ends with the term.
async fn over(mut term: watch::Receiver<Term>) {
    loop {
        let current = *term.borrow_and_update();
        if !current.holds(Instant::now()) {
            return;
        }
        tokio::select! {
            biased;
            changed = term.changed() => if changed.is_err() {
                // Nobody is left to extend it.
                sleep_until(current.deadline).await;
            },
            () = sleep_until(current.deadline) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::time::{advance, timeout};

    use super::*;

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn renewals_carry_it_on_and_it_ends_at_the_deadline() {
        let (keeper, guard) = TermKeeper::begin(after(10));
        advance(Duration::from_secs(9)).await;
        assert!(guard.may_act());
        assert!(keeper.extend(after(10)));
        advance(Duration::from_secs(9)).await;
        assert!(guard.may_act());
        assert!(guard.lost().now_or_never().is_none());
        advance(Duration::from_secs(1)).await;
        assert!(!guard.may_act());
        assert!(guard.lost().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_comes_late_brings_nothing_back() {
        let (keeper, guard) = TermKeeper::begin(after(10));
        advance(Duration::from_secs(10)).await;
        assert!(!keeper.extend(after(100)));
        assert!(!guard.may_act());
        assert!(!keeper.extend(after(100)));
        assert!(!guard.may_act());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_told_at_once() {
        let (keeper, guard) = TermKeeper::begin(after(10));
        let waiting = tokio::spawn({
            let guard = guard.clone();
            async move { guard.lost().await }
        });
        tokio::task::yield_now().await;
        let ended = Instant::now();
        keeper.end();
        waiting.await.unwrap();
        assert_eq!(Instant::now(), ended);
        assert!(!guard.may_act());
        assert!(!keeper.extend(after(100)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_keeper_it_runs_out() {
        let (keeper, guard) = TermKeeper::begin(after(10));
        drop(keeper);
        assert!(guard.may_act());
        assert!(timeout(Duration::from_secs(9), guard.lost()).await.is_err());
        assert!(timeout(Duration::from_secs(2), guard.lost()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_within_another_ends_with_the_first_of_them() {
        for outer_ends in [false, true] {
            let ((keeper, own), (outer_keeper, outer)) = (TermKeeper::begin(after(10)), TermKeeper::begin(after(7)));
            let guard = own.and(&outer);
            assert_eq!(guard.deadline(), after(7));
            assert!(outer_keeper.extend(after(20)));
            assert_eq!(guard.deadline(), after(10));
            assert!(guard.may_act() && guard.lost().now_or_never().is_none());
            if outer_ends {
                outer_keeper.end();
            } else {
                keeper.end();
            }
            assert!(!guard.may_act() && guard.lost().now_or_never().is_some());
            assert_eq!((own.may_act(), outer.may_act()), (outer_ends, !outer_ends));
        }
    }
}
