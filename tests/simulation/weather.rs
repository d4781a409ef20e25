//! What goes wrong, by chance: drawn per world, and then per request.

use std::time::Duration;

use abeja_simulator::fault::{
    Action, DelayFault, DelayPoint, DropFault, DropPoint, ErrorBody, LateCommitFault, Malformation, PageShift, Span,
    StatusFault,
};
use fake_apiserver::WatchFault;
use fastrand::Rng;

use crate::world::{SETTLE, TIMEOUT};

/// How bad a world is. Each is the share of requests, or of events, that it strikes.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Milliseconds of the world after which nothing goes wrong any more.
    pub(crate) until: u64,
    /// Requests to the apiserver that fail.
    pub(crate) kube: f64,
    /// Renewals and other requests of the Lease that fail.
    pub(crate) lease: f64,
    /// Events of watches that come late, or are the last of their watch.
    pub(crate) watch: f64,
    /// Requests to the remote that fail.
    pub(crate) remote: f64,
    /// Requests that the process does not survive.
    pub(crate) crash: f64,
    /// How old a version is before a list shows it, at the most.
    pub(crate) lag: Duration,
}

/// What becomes of a request to the apiserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kube {
    Serve,
    /// Not served; with this status.
    Refuse(u16),
    /// Served, and answered with this status.
    ServeAndRefuse(u16),
    CutBefore,
    CutAfter,
    CrashBefore,
    CrashAfter,
    /// Served, after so many milliseconds, and answered after so many more.
    Slow(u64, u64),
}

/// What becomes of a request to the remote.
#[derive(Clone, Debug)]
pub(crate) enum Remote {
    Serve,
    NotConnected,
    CrashBefore,
    CrashAfter,
    Strike(Box<Action>),
}

impl Weather {
    /// The weather of a world whose faults end at `until`.
    pub(crate) fn draw(rng: &mut Rng, until: u64) -> Self {
        let mut pick = |choices: &[f64]| choices[rng.usize(..choices.len())];
        Self {
            until,
            kube: pick(&[0.0, 0.0, 0.02, 0.1, 0.3]),
            lease: pick(&[0.0, 0.0, 0.1, 0.5]),
            watch: pick(&[0.0, 0.0, 0.05, 0.3]),
            remote: pick(&[0.0, 0.05, 0.2, 0.5]),
            crash: pick(&[0.0, 0.0, 0.01, 0.03, 0.1]),
            lag: Duration::from_secs(if rng.bool() { 0 } else { rng.u64(1..=3) }),
        }
    }

    /// A world in which nothing goes wrong.
    pub(crate) fn fair() -> Self {
        Self { until: 0, kube: 0.0, lease: 0.0, watch: 0.0, remote: 0.0, crash: 0.0, lag: Duration::ZERO }
    }

    /// The fate of a request to the apiserver.
    pub(crate) fn kube(&self, now: u64, rng: &mut Rng, lease: bool, write: bool) -> Kube {
        if now >= self.until {
            return Kube::Serve;
        }
        if rng.f64() < self.crash {
            return if rng.bool() { Kube::CrashBefore } else { Kube::CrashAfter };
        }
        if rng.f64() >= if lease { self.lease } else { self.kube } {
            return Kube::Serve;
        }
        let code = |rng: &mut Rng| [429, 500, 503, 504][rng.usize(..4)];
        match rng.u8(..7) {
            0 | 1 => Kube::Refuse(code(rng)),
            2 if write => Kube::Refuse(409),
            3 if write => Kube::ServeAndRefuse([500, 504][rng.usize(..2)]),
            4 => Kube::CutBefore,
            5 => Kube::CutAfter,
            _ => {
                // Over when the faults are.
                let longest = [1000, 4000, 30_000][rng.usize(..3)].min((self.until - now) / 2 + 2);
                Kube::Slow(rng.u64(1..longest), rng.u64(1..longest))
            }
        }
    }

    /// The fate of an event of a watch.
    pub(crate) fn watch(&self, now: u64, rng: &mut Rng) -> WatchFault {
        if now >= self.until || rng.f64() >= self.watch {
            return WatchFault::Deliver;
        }
        match rng.u8(..8) {
            0 => WatchFault::End,
            1 => WatchFault::Break,
            2 => WatchFault::Expire,
            _ => WatchFault::Delay(Duration::from_millis(rng.u64(1..20_000))),
        }
    }

    /// The fate of a request to the remote. What it promises stays true: it refuses nothing that it carries out, and shows
    /// within its time to settle what it accepted.
    pub(crate) fn remote(&self, now: u64, rng: &mut Rng) -> Remote {
        if now >= self.until {
            return Remote::Serve;
        }
        if rng.f64() < self.crash {
            return if rng.bool() { Remote::CrashBefore } else { Remote::CrashAfter };
        }
        if rng.f64() >= self.remote {
            return Remote::Serve;
        }
        Remote::Strike(Box::new(match rng.u8(..12) {
            0 => return Remote::NotConnected,
            1 => drop_at(DropPoint::BeforeCommit),
            2 | 3 => drop_at(DropPoint::AfterCommit),
            4 => drop_at(DropPoint::InsideBody),
            5 => status([500, 502, 503, 504, 409, 307][rng.usize(..6)], rng.bool(), rng),
            6 => status([401, 403, 404, 429, 503][rng.usize(..5)], false, rng),
            7 => late(rng),
            8 => delay(rng, DelayPoint::BeforeCommit),
            9 => delay(rng, DelayPoint::AfterCommit),
            10 => Action::Malformed(
                [Malformation::TruncatedJson, Malformation::EmptyBody, Malformation::InvalidJson][rng.usize(..3)],
            ),
            _ => Action::PageShift(PageShift::Insert),
        }))
    }
}

fn drop_at(at: DropPoint) -> Action {
    Action::Drop(DropFault { at, reset: false })
}

fn status(code: u16, committed: bool, rng: &mut Rng) -> Action {
    // The API's own 404 is a statement, and would be a lie.
    let bodies = [ErrorBody::Html, ErrorBody::Empty, ErrorBody::Json];
    let body = bodies[rng.usize(..if code == 404 { 2 } else { 3 })];
    let retry_after = (code == 429 || code == 503).then(|| rng.u64(..4));
    Action::Status(StatusFault { code, body, retry_after, headers: std::collections::BTreeMap::new(), committed })
}

fn late(rng: &mut Rng) -> Action {
    let longest = u64::try_from(SETTLE.as_millis() - 4000).unwrap_or(0);
    let after = Span(Duration::from_millis(rng.u64(1..longest)));
    Action::LateCommit(LateCommitFault { after, code: [None, Some(502), Some(504)][rng.usize(..3)] })
}

fn delay(rng: &mut Rng, at: DelayPoint) -> Action {
    let longest = u64::try_from((2 * TIMEOUT).as_millis()).unwrap_or(0);
    Action::Delay(DelayFault { at, duration: Span(Duration::from_millis(rng.u64(1..longest))) })
}
