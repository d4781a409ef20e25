//! Conditions: from what is so to what status says, after the Kubernetes API conventions and kstatus.
//!
//! `Ready` sums up `RemoteSynced` and `TargetSynced`. `Reconciling` and `Stalled` are present only while True; `Stalled`
//! only where a person must edit something, since tools give up on it at once.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::reason::Reason;

/// Types of condition.
pub mod kind {
    /// Everything is as the spec says.
    pub const READY: &str = "Ready";
    /// The remote version is as the spec says.
    pub const REMOTE_SYNCED: &str = "RemoteSynced";
    /// The native Secret holds what it should.
    pub const TARGET_SYNCED: &str = "TargetSynced";
    /// Not there yet, and may get there by itself.
    pub const RECONCILING: &str = "Reconciling";
    /// Will not get there without a person.
    pub const STALLED: &str = "Stalled";
    /// Acting is switched off.
    pub const SUSPENDED: &str = "Suspended";
}

/// Something that keeps a resource from being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why.
    pub reason: Reason,
    /// What is so, and what to do.
    pub message: String,
    /// Whether a person must edit something before it can heal.
    pub stalled: bool,
}

impl Problem {
    /// A problem that may heal by itself.
    pub fn passing(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), stalled: false }
    }

    /// A problem that a person must mend.
    pub fn stalled(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), stalled: true }
    }
}

/// How both sides of a resource stand.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What keeps the remote side from being synced.
    pub remote: Option<Problem>,
    /// What keeps the target from being synced.
    pub target: Option<Problem>,
    /// What is so when all is well.
    pub summary: String,
    /// Whether no target is asked for.
    pub no_target: bool,
}

/// Sets one condition: the transition time moves only when the status does.
pub fn set(
    all: &mut Vec<Condition>,
    kind: &str,
    status: bool,
    reason: Reason,
    message: &str,
    gen_: Option<i64>,
    now: Timestamp,
) {
    let status = if status { "True" } else { "False" };
    let new = |at: Time| Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.to_owned(),
        observed_generation: gen_,
        last_transition_time: at,
    };
    match all.iter_mut().find(|c| c.type_ == kind) {
        Some(old) if old.status == status => {
            let at = old.last_transition_time.clone();
            *old = new(at);
        }
        Some(old) => *old = new(Time(now)),
        None => all.push(new(Time(now))),
    }
}

/// Takes one condition away.
pub fn clear(all: &mut Vec<Condition>, kind: &str) {
    all.retain(|c| c.type_ != kind);
}

/// The condition of a type.
pub fn get<'a>(all: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    all.iter().find(|c| c.type_ == kind)
}

/// Whether a condition is True for this generation.
pub fn is_true(all: &[Condition], kind: &str, gen_: Option<i64>) -> bool {
    get(all, kind).is_some_and(|c| c.status == "True" && c.observed_generation == gen_)
}

/// Every condition of a `SecretVersion` that acts, computed anew.
pub fn apply(all: &mut Vec<Condition>, verdict: &Verdict, gen_: Option<i64>, now: Timestamp) {
    let synced = "in sync";
    let side = |all: &mut Vec<Condition>, kind, problem: Option<&Problem>, fine: Reason| match problem {
        Some(p) => set(all, kind, false, p.reason, &p.message, gen_, now),
        None => set(all, kind, true, fine, synced, gen_, now),
    };
    side(all, kind::REMOTE_SYNCED, verdict.remote.as_ref(), Reason::Synced);
    let fine = if verdict.no_target { Reason::NoTarget } else { Reason::Synced };
    side(all, kind::TARGET_SYNCED, verdict.target.as_ref(), fine);
    clear(all, kind::SUSPENDED);
    summarize(all, verdict.remote.as_ref().or(verdict.target.as_ref()), &verdict.summary, gen_, now);
}

/// `Ready`, and whichever of `Reconciling` and `Stalled` goes with it.
pub fn summarize(all: &mut Vec<Condition>, problem: Option<&Problem>, fine: &str, gen_: Option<i64>, now: Timestamp) {
    clear_unless(all, kind::STALLED, problem.is_some_and(|p| p.stalled));
    clear_unless(all, kind::RECONCILING, problem.is_some_and(|p| !p.stalled));
    match problem {
        None => set(all, kind::READY, true, Reason::Synced, fine, gen_, now),
        Some(p) => {
            set(all, kind::READY, false, p.reason, &p.message, gen_, now);
            let also = if p.stalled { kind::STALLED } else { kind::RECONCILING };
            set(all, also, true, p.reason, &p.message, gen_, now);
        }
    }
}

fn clear_unless(all: &mut Vec<Condition>, kind: &str, keep: bool) {
    if !keep {
        clear(all, kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn kinds(all: &[Condition]) -> Vec<(&str, &str)> {
        all.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect()
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut all = Vec::new();
        set(&mut all, kind::READY, false, Reason::Progressing, "a", Some(1), at(1));
        set(&mut all, kind::READY, false, Reason::Throttled, "b", Some(2), at(2));
        assert_eq!((all[0].last_transition_time.0, all[0].message.as_str()), (at(1), "b"));
        set(&mut all, kind::READY, true, Reason::Synced, "c", Some(2), at(3));
        assert_eq!(all[0].last_transition_time.0, at(3));
    }

    #[test]
    fn reconciling_and_stalled_exclude_each_other_and_go_when_ready() {
        let mut all = Vec::new();
        let verdict = |remote| Verdict { remote, ..Verdict::default() };
        apply(&mut all, &verdict(Some(Problem::passing(Reason::Throttled, "m"))), Some(1), at(1));
        assert!(is_true(&all, kind::RECONCILING, Some(1)) && get(&all, kind::STALLED).is_none());
        apply(&mut all, &verdict(Some(Problem::stalled(Reason::SourceRefused, "m"))), Some(1), at(1));
        assert!(is_true(&all, kind::STALLED, Some(1)) && get(&all, kind::RECONCILING).is_none());
        apply(&mut all, &verdict(None), Some(1), at(1));
        let all_true = [("RemoteSynced", "True"), ("TargetSynced", "True"), ("Ready", "True")];
        assert_eq!(kinds(&all), all_true);
    }

    #[test]
    fn conditions_of_other_writers_stay() {
        let mut all = Vec::new();
        set(&mut all, "example.com/Audited", true, Reason::Synced, "m", None, at(1));
        apply(&mut all, &Verdict::default(), Some(1), at(2));
        assert_eq!(all[0].type_, "example.com/Audited");
    }
}
