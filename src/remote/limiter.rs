//! A budget of requests.
//!
//! It allows what is set, where something is, and what the remote was found to bear: a 429 halves the rate, which then rises
//! again, soon up to what was borne and slowly beyond, as long as somebody asks for more and nothing is refused.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::budget::Standing;

/// How long the remote is left alone after a 429 that does not say.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the rate is left as it is after it was lowered: the requests under way meet the same limit.
const SETTLE: Duration = Duration::from_secs(1);

/// How long it takes from half of what was borne back to all of it.
const RECOVERY: Duration = Duration::from_secs(5);

/// How long nothing is refused until more is tried: so long, and again for each time that more was refused, up to this.
const QUIET: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(2));

/// How much more is tried at first.
const MORE: f64 = 1.1;

/// Where that is not refused, the limit is another: it doubles after each of these, until something is.
const BEYOND: Duration = Duration::from_secs(5);

/// What is kept of the rate at which answers came.
const MARGIN: f64 = 0.95;

/// How long nothing is refused until the remote is taken to have no limit.
const FORGET: Duration = Duration::from_hours(1);

/// The least that is tried, in requests a second.
const LEAST: f64 = 1.0;

/// The least that is tried after a first refusal: one alone says little where little was asked.
const LEAST_AT_FIRST: f64 = 10.0;

/// A token bucket.
#[derive(Debug)]
pub struct Limiter(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    /// What is set.
    set: Option<Set>,
    /// What the remote bears, once it refused something.
    learnt: Option<Learnt>,
    tokens: f64,
    at: Instant,
    /// Until when the remote asked to be left alone.
    blocked_until: Instant,
    /// Requests that were told to come later and have not come yet.
    told_later: f64,
    answers: Answers,
}

#[derive(Clone, Copy, Debug)]
struct Set {
    per_second: f64,
    burst: f64,
}

#[derive(Clone, Copy, Debug)]
struct Learnt {
    /// Requests a second.
    rate: f64,
    /// What the rate recovers to.
    borne: f64,
    /// The same before more was tried.
    proved: f64,
    /// Whether somebody had to wait since more was tried: where nobody does, that nothing is refused says nothing.
    waited: bool,
    /// How often the limit was met.
    met: u32,
    /// How often more was tried since.
    raises: u32,
    /// Answers since the rate was lowered.
    answers: u32,
    lowered: Instant,
    raised: Instant,
}

/// Answers in the second that began then, and in the one before.
#[derive(Clone, Copy, Debug)]
struct Answers {
    began: Instant,
    now: u32,
    before: u32,
}

impl Limiter {
    /// A full bucket.
    pub fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(Bucket {
            set: None,
            learnt: None,
            tokens: f64::INFINITY,
            at: now,
            blocked_until: now,
            told_later: 0.0,
            answers: Answers { began: now, now: 0, before: 0 },
        }))
    }

    /// From now on so many requests a minute, and so many at once; or as many as the remote bears.
    pub fn set(&self, limit: Option<(u32, u32)>) {
        let set = limit.map(|(per_minute, burst)| Set {
            per_second: f64::from(per_minute.max(1)) / 60.0,
            burst: f64::from(burst.max(1)),
        });
        self.with(|bucket, _| bucket.set = set);
    }

    /// The limit, and for how long the remote is to be left alone.
    pub fn standing(&self) -> Standing {
        self.with(|bucket, now| {
            let set = bucket.set.map(|set| set.per_second);
            let borne = bucket.learnt.map(|learnt| learnt.borne);
            let limit = set.into_iter().chain(borne).reduce(f64::min);
            Standing {
                per_minute: limit.map(|limit| seconds((60.0 * limit).round()).as_secs()).map(whole),
                met: bucket.learnt.is_some(),
                blocked: bucket.blocked_until.saturating_duration_since(now),
            }
        })
    }

    /// Takes a token for a request that can not wait: others wait for it instead.
    pub(super) fn take(&self) {
        self.with(|bucket, _| bucket.tokens -= 1.0);
    }

    /// Gives a token back that was taken for a request which is not sent.
    pub(super) fn give_back(&self) {
        self.with(|bucket, _| bucket.tokens = (bucket.tokens + 1.0).min(bucket.burst()));
    }

    /// Takes a token that is there within `patience`, and answers after how long; or says after how long to ask again.
    /// Whoever is sent away is given a time of his own.
    pub(super) fn admit(&self, patience: Duration) -> Result<Duration, Duration> {
        self.with(|bucket, now| {
            let blocked = bucket.blocked_until.saturating_duration_since(now);
            let Some(rate) = bucket.rate() else {
                return if blocked <= patience { Ok(blocked) } else { Err(blocked) };
            };
            let wait = blocked.max(seconds((1.0 - bucket.tokens) / rate));
            if let Some(learnt) = &mut bucket.learnt {
                learnt.waited |= !wait.is_zero();
            }
            if wait <= patience {
                bucket.tokens -= 1.0;
                return Ok(wait);
            }
            bucket.told_later += 1.0;
            Err(wait.max(blocked + bucket.until(bucket.told_later, rate, now)))
        })
    }

    /// The remote answered a request.
    pub(super) fn answered(&self) {
        self.with(|bucket, now| {
            bucket.answers.count(now);
            if let Some(learnt) = &mut bucket.learnt {
                learnt.answers = learnt.answers.saturating_add(1);
            }
        });
    }

    /// The remote refused a request because there were too many.
    pub(super) fn refused(&self, leave_alone: Option<Duration>) {
        self.with(|bucket, now| {
            bucket.blocked_until = bucket.blocked_until.max(now + leave_alone.unwrap_or(PATIENCE));
            let before = bucket.learnt;
            if before.is_some_and(|learnt| now.saturating_duration_since(learnt.lowered) < SETTLE) {
                return;
            }
            let borne = before.map_or_else(
                || (MARGIN * bucket.answers.a_second(now)).max(LEAST_AT_FIRST),
                |learnt| learnt.still_borne(now).max(LEAST),
            );
            // Only who tried more, and was refused, is to wait longer until he tries again.
            let met = before.map_or(1, |learnt| learnt.met.saturating_add(u32::from(learnt.raises > 0)));
            bucket.learnt = Some(Learnt {
                rate: (borne / 2.0).max(LEAST),
                borne,
                proved: borne,
                waited: false,
                met,
                raises: 0,
                answers: 0,
                lowered: now,
                raised: now,
            });
            bucket.tokens = bucket.tokens.min(0.0);
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut Bucket, Instant) -> T) -> T {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        bucket.pass(now);
        f(&mut bucket, now)
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

impl Bucket {
    /// Requests a second. `None`: no limit is known.
    fn rate(&self) -> Option<f64> {
        let set = self.set.map(|set| set.per_second);
        let learnt = self.learnt.map(|learnt| learnt.rate);
        set.into_iter().chain(learnt).reduce(f64::min)
    }

    fn burst(&self) -> f64 {
        let set = self.set.map(|set| set.burst);
        let learnt = self.learnt.map(|learnt| (learnt.rate / 5.0).max(1.0));
        set.into_iter().chain(learnt).reduce(f64::min).unwrap_or(f64::INFINITY)
    }

    /// How long it takes to earn so many tokens at this rate. Where the rate was learnt more is tried soon, and if that is borne
    /// it doubles: whoever is sent away for long comes back then, lest he sleep while there is room.
    fn until(&self, tokens: f64, rate: f64, now: Instant) -> Duration {
        let steady = seconds(tokens / rate);
        let Some(learnt) = self.learnt else { return steady };
        let raise = (learnt.raised + learnt.quiet()).saturating_duration_since(now) + BEYOND;
        let left = tokens - rate * raise.as_secs_f64();
        let doublings = (left / (rate * BEYOND.as_secs_f64()) + 1.0).max(1.0).log2();
        steady.min(raise + BEYOND.mul_f64(doublings))
    }

    /// Lets the time since the last look pass.
    fn pass(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        // While the remote is left alone nothing is earned: what comes after it comes at the rate.
        let earning = elapsed.min(now.saturating_duration_since(self.blocked_until).as_secs_f64());
        let earned = self.rate().map_or(f64::INFINITY, |rate| rate * earning);
        self.tokens = (self.tokens + earned).min(self.burst());
        self.told_later = (self.told_later - earned).max(0.0);
        let Some(learnt) = &mut self.learnt else { return };
        if now.saturating_duration_since(learnt.lowered) > FORGET {
            self.learnt = None;
            return;
        }
        if learnt.waited && now.saturating_duration_since(learnt.raised) > learnt.quiet() {
            let more = if learnt.raises == 0 { MORE } else { 2.0 };
            (learnt.borne, learnt.raised, learnt.raises) = (learnt.borne * more, now, learnt.raises + 1);
            learnt.waited = false;
        }
        let recovered = learnt.borne / 2.0 * earning / RECOVERY.as_secs_f64();
        learnt.rate = (learnt.rate + recovered).min(learnt.borne);
    }
}

impl Learnt {
    /// How long nothing must be refused until more is tried.
    fn quiet(&self) -> Duration {
        if self.raises == 0 { (QUIET.0 * self.met).min(QUIET.1) } else { BEYOND }
    }

    /// What the remote is taken to bear once it refused this: what it bore before more was tried, else what it answered. That is
    /// little where little was asked, so it is no more than halved.
    fn still_borne(&self, now: Instant) -> f64 {
        let least = if self.raises > 0 { self.proved } else { self.borne / 2.0 };
        // Many remotes let a burst through before they refuse: over the time since the last refusal it counts for little.
        least.max(MARGIN * self.a_second(now))
    }

    /// Answers a second since the rate was lowered: never more than the rate that was allowed.
    fn a_second(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.lowered).as_secs_f64();
        (f64::from(self.answers) / elapsed.max(1.0)).min(self.rate)
    }
}

impl Answers {
    fn roll(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed >= Duration::from_secs(1) {
            let before = if elapsed < Duration::from_secs(2) { self.now } else { 0 };
            *self = Self { began: now, now: 0, before };
        }
    }

    fn count(&mut self, now: Instant) {
        self.roll(now);
        self.now = self.now.saturating_add(1);
    }

    fn a_second(&mut self, now: Instant) -> f64 {
        self.roll(now);
        f64::from(self.now.max(self.before))
    }
}

fn whole(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX).max(1)
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_AT_ALL: Duration = Duration::ZERO;

    #[tokio::test(start_paused = true)]
    async fn what_is_set_comes_at_once_and_then_at_the_rate() {
        let limiter = Limiter::new();
        limiter.set(Some((60, 2)));
        let waits: Vec<u64> = (0..4).map(|_| limiter.admit(Duration::from_mins(1)).unwrap().as_secs()).collect();
        assert_eq!(waits, [0, 0, 1, 2]);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(limiter.admit(NOT_AT_ALL), Ok(Duration::ZERO));
        limiter.set(Some((6, 1)));
        limiter.take();
        assert!(limiter.admit(Duration::from_mins(1)).unwrap() >= Duration::from_secs(9));
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_wait_is_sent_away_each_for_a_while_longer() {
        let limiter = Limiter::new();
        limiter.set(Some((60, 1)));
        assert_eq!(limiter.admit(NOT_AT_ALL), Ok(Duration::ZERO));
        let away: Vec<u64> = (0..3).map(|_| limiter.admit(NOT_AT_ALL).unwrap_err().as_secs()).collect();
        assert_eq!(away, [1, 2, 3]);
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(limiter.admit(NOT_AT_ALL), Ok(Duration::ZERO), "each finds a token when he was told to come");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_remote_that_asks_to_be_left_alone_is_left_alone() {
        let limiter = Limiter::new();
        assert_eq!(limiter.admit(NOT_AT_ALL), Ok(Duration::ZERO));
        assert_eq!(limiter.standing(), Standing::default());
        limiter.refused(Some(Duration::from_secs(30)));
        let learnt = limiter.standing();
        assert_eq!((learnt.blocked, learnt.per_minute), (Duration::from_secs(30), Some(600)), "the least at first");
        limiter.set(Some((60, 1)));
        assert_eq!(limiter.standing().per_minute, Some(60), "less is set");
        assert!(limiter.admit(Duration::from_secs(5)).unwrap_err() >= Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(limiter.admit(NOT_AT_ALL).is_err());
    }

    /// A remote that carries out ten requests a second, and more of them at first, against as many as are admitted. Answers
    /// how many it carried out and refused in each second.
    async fn against_ten_a_second(limiter: &Limiter, seconds: usize) -> Vec<(usize, usize)> {
        let mut theirs: f64 = 10.0;
        let mut all = Vec::new();
        for _ in 0..seconds {
            let (mut done, mut refused) = (0, 0);
            for _ in 0..100 {
                theirs = (theirs + 0.1).min(10.0);
                while refused < 50 && limiter.admit(NOT_AT_ALL).is_ok() {
                    if theirs >= 1.0 {
                        theirs -= 1.0;
                        done += 1;
                        limiter.answered();
                    } else {
                        refused += 1;
                        limiter.refused(None);
                    }
                }
                tokio::time::advance(Duration::from_millis(10)).await;
            }
            all.push((done, refused));
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_found_and_then_kept() {
        let limiter = Limiter::new();
        let found = against_ten_a_second(&limiter, 30).await;
        assert!(found[0].1 > 0, "nothing is known of the limit at first: {found:?}");
        let settled = against_ten_a_second(&limiter, 100).await;
        let refused: usize = settled.iter().map(|(_, refused)| refused).sum();
        let done: usize = settled.iter().map(|(done, _)| done).sum();
        assert!(refused <= 4, "it goes on being exceeded: {settled:?}");
        assert!(done >= 700, "{done} in a hundred seconds: less than it bears: {settled:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_sent_away_from_a_limit_that_was_met_comes_back_when_it_may_have_risen() {
        let limiter = Limiter::new();
        for _ in 0..10 {
            limiter.refused(None);
            tokio::time::advance(Duration::from_millis(1100)).await;
        }
        let away: Vec<u64> = (0..1000).map(|_| limiter.admit(NOT_AT_ALL).unwrap_err().as_secs()).collect();
        assert!(away.is_sorted(), "{away:?}");
        assert_eq!(away[..3], [1, 2, 3], "at the rate that is known, as long as nothing more is tried");
        assert!((30..60).contains(&away[999]), "{} s, not a quarter of an hour", away[999]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_rose_is_found_out_within_minutes() {
        let limiter = Limiter::new();
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(2)).await;
            limiter.refused(None);
        }
        let mut admitted = 0;
        for _ in 0..180 {
            tokio::time::advance(Duration::from_secs(1)).await;
            admitted =
                std::iter::repeat_with(|| limiter.admit(NOT_AT_ALL)).take(1000).take_while(Result::is_ok).count();
        }
        assert!(admitted > 10, "{admitted} at once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_of_a_limit_is_kept_while_little_is_asked() {
        let limiter = Limiter::new();
        against_ten_a_second(&limiter, 30).await;
        let known = limiter.standing().per_minute.unwrap();
        for _ in 0..600 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(limiter.admit(NOT_AT_ALL), Ok(Duration::ZERO));
            limiter.answered();
        }
        let now = limiter.standing().per_minute.unwrap();
        assert!(now <= known + known / 10, "{now} of {known}: that nobody is refused who asks little proves nothing");
        let all = against_ten_a_second(&limiter, 10).await;
        let done: usize = all.iter().map(|(done, _)| done).sum();
        assert!(done >= 80, "nor is it less for it: {all:?}");
        limiter.refused(None);
        let learnt = limiter.standing().per_minute.unwrap();
        assert!(learnt >= known / 2 - 1, "{learnt} of {known} after one more refusal");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_gone_is_forgotten() {
        let limiter = Limiter::new();
        limiter.refused(None);
        assert!(limiter.admit(NOT_AT_ALL).is_err());
        tokio::time::advance(Duration::from_mins(61)).await;
        assert!((0..10_000).all(|_| limiter.admit(NOT_AT_ALL).is_ok()));
    }
}
