//! The create protocol: at most one version per change, whatever dies. The promise, and why each step is as it is, are
//! in `docs/adr/0002-create-protocol.md`.
//!
//! `begin` is taken when the source changed, `resume` whenever an intent is open. Both end in `record`.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::FINALIZER;
use crate::api::v1alpha1::{
    Baseline, CreationPolicy, DeletionPolicy, EarlierIntent, Intent, Origin, SecretVersion, SecretVersionStatus,
};

use super::condition::{Problem, Verdict};
use super::decide::{
    advice, forced, next_try, previous_target, rest_remote, rest_until, rest_waiting, settled, status,
};
use super::hold;
use super::managed::source_problem;
use super::observed::{Access, Fate, Observed, SendFailure, Sent, Sight, Source, Version};
use super::outcome::{Outcome, classify, later, refused_for_good};
use super::place::Place;
use super::projection::TargetView;
use super::reason::Reason;
use super::record::{note_place, record_intent, reference};
use super::step::{Effect, Event, Look, Rest, Step, Wake};

/// How long after the intent was begun the request may still be sent.
pub const SEND_WINDOW: Duration = Duration::from_secs(5);

/// The schema of intents that this operator writes and reads.
pub const INTENT_SCHEMA: i64 = 1;

/// Attempts of unknown outcome after which a person is asked.
const MAX_ATTEMPTS: i64 = 3;

/// How many replaced intents are kept.
const EARLIER: usize = 4;

/// The grace after which "none" may be believed: the request's window and timeouts, and the remote's time to settle,
/// doubled per attempt.
pub fn grace(o: &Observed, timeout: Duration, attempts: i64) -> Duration {
    let doubled = u32::try_from(attempts.saturating_sub(1).clamp(0, 8)).unwrap_or(0);
    let once = SEND_WINDOW.saturating_add(timeout).saturating_add(timeout).saturating_add(o.settings.settle);
    once.saturating_mul(1 << doubled)
}

fn intent_grace(o: &Observed, intent: &Intent) -> Duration {
    let timeout = Duration::from_secs(u64::try_from(intent.timeout_seconds).unwrap_or(0));
    grace(o, timeout, intent.attempts)
}

/// The open intent of this resource in this place: written, and not yet named by a record.
pub fn open_intent<'a>(o: &'a Observed, place: &Place) -> Option<&'a Intent> {
    let status = o.cr.status.as_ref()?;
    let intent = status.create.as_ref()?;
    let own = Some(&intent.uid) == o.cr.metadata.uid.as_ref() && intent.place == place.to_string();
    (own && is_open(status)).then_some(intent)
}

/// Whether a status has an intent that no record names, and that was not withdrawn.
pub fn is_open(status: &SecretVersionStatus) -> bool {
    status.create.as_ref().is_some_and(|intent| {
        !intent.withdrawn && !status.history.iter().any(|r| r.create_id.as_ref() == Some(&intent.id))
    })
}

/// What this process knows of an intent.
pub(super) fn fate(o: &Observed, intent: &Intent) -> Fate {
    match &o.memory.intent {
        Some((id, fate)) if *id == intent.id => *fate,
        _ => Fate::Found(Duration::ZERO),
    }
}

/// Whether no attempt of this change can have reached the remote.
fn never_sent(o: &Observed, intent: &Intent) -> bool {
    intent.attempts == 1 && matches!(fate(o, intent), Fate::Fresh | Fate::NotSent | Fate::Rejected | Fate::Refused)
}

/// How much longer "none" may not be believed.
pub(super) fn grace_left(o: &Observed, intent: &Intent) -> Duration {
    match fate(o, intent) {
        Fate::Ambiguous(age) | Fate::Found(age) => intent_grace(o, intent).saturating_sub(age),
        Fate::Fresh | Fate::NotSent | Fate::Rejected | Fate::Refused => Duration::ZERO,
    }
}

/// Versions that may be the outcome of an intent: later than its baseline and outside our record.
pub(super) fn candidates<'a>(o: &'a Observed, intent: &Intent) -> (Vec<&'a Version>, Vec<&'a Version>) {
    let recorded = |id: &str| o.cr.status.as_ref().is_some_and(|s| s.history.iter().any(|r| r.version_id == id));
    let fresh = o.seen.versions.iter().flat_map(|v| &v.all).filter(|v| later(v, &intent.baseline) && !recorded(&v.id));
    let (equal, rest): (Vec<_>, Vec<_>) = fresh.partition(|v| v.is_intent == Sight::Equal);
    (equal, rest.into_iter().filter(|v| v.is_intent == Sight::Unknown).collect())
}

/// The source changed: find an equal version, or make the change durable as an intent.
pub(super) fn begin(o: &Observed, access: &Access, place: &Place) -> Step {
    if let Some(step) = gate(o, access) {
        return step;
    }
    let Some(Source::Bytes { object, digest, .. }) = &o.seen.source else { return Step::Look(Look::Source) };
    let Some(versions) = o.seen.versions.as_ref().filter(|v| v.values) else {
        return Step::Look(Look::Versions { values: true });
    };
    if let Some(step) = missing(o, &recorded_ids(o)) {
        return step;
    }
    let mut events = Vec::new();
    let status_lost = bare(&o.cr) && !o.memory.finalizer_is_fresh;
    if status_lost {
        if let Some(step) = wait_for_lost_status(o, access) {
            return step;
        }
        events.push(status_lost_event(&versions.all));
        let equal = versions.all.iter().filter(|v| v.is_source == Sight::Equal).max_by_key(|v| v.number);
        if let Some(version) = equal {
            return reference(o, place, version, None, (digest, object), events);
        }
        if let Some(step) = hold_unknown(o, versions.all.iter().filter(|v| v.is_source == Sight::Unknown)) {
            return step;
        }
    }
    if let Some(version) = newest_active(&versions.all).filter(|v| v.is_source == Sight::Equal) {
        return reference(o, place, version, None, (digest, object), events);
    }
    write_intent(o, access, place, baseline(&versions.all), (digest, 1), events)
}

/// What a newer operator meant cannot be known.
pub(super) fn of_newer(intent: &Intent) -> Option<Problem> {
    let message = "status.create was written by a newer operator; upgrade this one, and nothing is created or deleted \
                   until then";
    (intent.schema > INTENT_SCHEMA).then(|| Problem::passing(Reason::AmbiguousCreate, message))
}

/// An intent is open: send it if it is fresh, else find out what became of it.
pub(super) fn resume(o: &Observed, access: &Access, place: &Place, intent: &Intent) -> Step {
    if let Some(problem) = of_newer(intent) {
        return rest_remote(o, problem);
    }
    if let Some(sent) = o.seen.sent_under(&intent.id) {
        let listed = o.seen.versions.as_ref().map_or(&[][..], |v| v.all.as_slice());
        match (classify(sent, listed, &intent.baseline), sent) {
            (outcome @ (Outcome::Created | Outcome::Referenced), Sent::Answered(version)) => {
                let origin = if outcome == Outcome::Created { Origin::Created } else { Origin::Referenced };
                return record_intent(o, place, intent, version, origin, Vec::new());
            }
            (Outcome::Rejected, Sent::Failed(failure)) => return rest_rejected(o, failure),
            (Outcome::NotSent, _) => {
                let problem =
                    Problem::passing(Reason::Progressing, "the time to send the new version ran out; trying again");
                return rest_waiting(o, problem, Duration::from_secs(1), Vec::new());
            }
            _ => {}
        }
    } else if fate(o, intent) == Fate::Fresh {
        return Step::Do(Effect::CreateVersion { intent: intent.id.clone() });
    }
    resolve(o, access, place, intent)
}

/// Finds out what became of an intent whose outcome is not known.
fn resolve(o: &Observed, access: &Access, place: &Place, intent: &Intent) -> Step {
    if !o.live {
        return Step::Look(Look::Live);
    }
    let Some(versions) = o.seen.versions.as_ref().filter(|v| v.values) else {
        return Step::Look(Look::Versions { values: true });
    };
    let (equal, unknown) = candidates(o, intent);
    match equal.as_slice() {
        [] => {}
        [one] => {
            let origin = if never_sent(o, intent) { Origin::Referenced } else { Origin::Created };
            let event = Event::normal(
                Reason::VersionRecovered,
                format!("version {} ({}) is the outcome of a create whose answer was lost", one.number, one.id),
            );
            return record_intent(o, place, intent, one, origin, vec![event]);
        }
        several => {
            let Some(lowest) = several.iter().min_by_key(|v| v.number) else { return Step::Look(Look::Live) };
            return record_intent(o, place, intent, lowest, Origin::Referenced, vec![ambiguous_event(several)]);
        }
    }
    if let Some(step) = missing(o, &recorded_ids(o)) {
        return step;
    }
    if let Some(step) = hold_unknown(o, unknown.into_iter()) {
        return step;
    }
    let left = grace_left(o, intent);
    if !left.is_zero() {
        return wait_for_grace(o, intent, left);
    }
    if let Some(step) = gate(o, access) {
        return step;
    }
    match &o.seen.source {
        None => Step::Look(Look::Source),
        Some(Source::Bytes { digest, is_intent, is_last, object }) => match is_intent {
            // Nothing changed since the remote refused it for good: what was said of it stays said.
            Sight::Equal if fate(o, intent) == Fate::Refused => {
                Step::Rest(Rest { status: Box::new(status(&o.cr)), wake: Wake::Refresh, events: Vec::new() })
            }
            Sight::Equal if !never_sent(o, intent) => send_again(o, access, place, intent, digest),
            Sight::Different if *is_last == Sight::Equal => withdraw(o),
            // Nothing was made for this value yet, so one that is there by now serves as well as it would have then.
            Sight::Equal | Sight::Different => {
                match newest_active(&versions.all).filter(|v| v.is_source == Sight::Equal) {
                    Some(version) => reference(o, place, version, Some(&intent.id), (digest, object), Vec::new()),
                    None => write_intent(o, access, place, baseline(&versions.all), (digest, 1), Vec::new()),
                }
            }
            Sight::Unknown => rest_remote(
                o,
                Problem::stalled(
                    Reason::DigestUnknown,
                    "an open create was digested with a key that is gone, so nothing can tell whether the source is still \
                     the same; restore the key's Secret",
                ),
            ),
        },
        Some(other) => {
            let nothing = || Problem::passing(Reason::Progressing, "the source cannot be read");
            rest_remote(o, source_problem(other).unwrap_or_else(nothing))
        }
    }
}

/// The same change once more, unless too many attempts had no outcome.
fn send_again(o: &Observed, access: &Access, place: &Place, intent: &Intent, digest: &str) -> Step {
    let unknown_outcome = matches!(fate(o, intent), Fate::Ambiguous(_) | Fate::Found(_));
    if unknown_outcome && intent.attempts >= MAX_ATTEMPTS && !forced(o) {
        let message = "several attempts to create the version had no outcome that can be seen; check the remote, then \
                       request a sync with the annotation secrets.abeja.io/reconcile-requested-at, or change the source";
        return rest_remote(o, Problem::stalled(Reason::CreateUnresolved, message));
    }
    let attempts = match (unknown_outcome, forced(o)) {
        (true, true) if intent.attempts >= MAX_ATTEMPTS => 1,
        (true, _) => intent.attempts + 1,
        (false, _) => intent.attempts,
    };
    write_intent(o, access, place, intent.baseline.clone(), (digest, attempts), Vec::new())
}

/// The source is back to what the last carried-through change made of it, and nothing came of the one between.
fn withdraw(o: &Observed) -> Step {
    let mut next = status(&o.cr);
    next.create.iter_mut().for_each(|intent| intent.withdrawn = true);
    let problem = Problem::passing(Reason::Progressing, "the source is back to its former value");
    let verdict = Verdict { remote: Some(problem), target: previous_target(o), ..Verdict::default() };
    Step::Do(Effect::WriteStatus { status: Box::new(settled(o, next, &verdict)), events: Vec::new() })
}

/// What forbids a create for now.
fn gate(o: &Observed, access: &Access) -> Option<Step> {
    let view = TargetView::of(&o.cr);
    let source = o.cr.spec.value_from.as_ref().and_then(|v| v.secret_key_ref.as_ref());
    let own_target = source.is_some_and(|s| s.name == view.name() && view.keys().contains(&s.key.as_str()));
    if own_target && view.policy() != CreationPolicy::None {
        let message = "source and target are the same key of the same Secret; set target.name, or creationPolicy None";
        return Some(rest_remote(o, Problem::stalled(Reason::SourceRefused, message)));
    }
    if access.deleting {
        let message = "the connection is being deleted, so no version is created; use another connection";
        return Some(rest_remote(o, Problem::passing(Reason::ConnectionDeleting, message)));
    }
    if let Some(wait @ Step::Rest(_)) = finalizer(o, access) {
        return Some(wait);
    }
    let wait = o.memory.create_wait?;
    let message = format!(
        "versions were created, or refused, as fast as they may be tried: five at once, then one a minute; see to it that \
         the source changes less often, or that the remote takes them; {}",
        next_try(o, wait)
    );
    Some(rest_waiting(o, Problem::passing(Reason::CreateRateLimited, message), wait, Vec::new()))
}

/// The step that puts our finalizer on a resource whose deletion policy needs one. `None` where nothing is missing.
pub(super) fn finalizer(o: &Observed, access: &Access) -> Option<Step> {
    if o.cr.spec.deletion_policy.unwrap_or_default() == DeletionPolicy::Retain
        || has_finalizer(&o.cr)
        || access.deleting
    {
        return None;
    }
    if !access.protected {
        // The connection gets our finalizer first, which wakes this resource: too short a wait to speak of.
        let wake = Wake::After(Duration::from_secs(2));
        return Some(Step::Rest(Rest { status: Box::new(status(&o.cr)), wake, events: Vec::new() }));
    }
    Some(if o.live { Step::Do(Effect::AddFinalizer) } else { Step::Look(Look::Live) })
}

fn write_intent(
    o: &Observed,
    access: &Access,
    place: &Place,
    baseline: Baseline,
    (digest, attempts): (&str, i64),
    events: Vec<Event>,
) -> Step {
    if let Some(step) = finalizer(o, access) {
        return step;
    }
    let mut next = status(&o.cr);
    let mut earlier = Vec::new();
    if let Some(old) = next.create.take() {
        if old.digest != digest {
            earlier.push(EarlierIntent { digest: old.digest, baseline: old.baseline });
        }
        earlier.extend(old.earlier);
        earlier.truncate(EARLIER);
    }
    note_place(&mut next, place);
    next.create = Some(Box::new(Intent {
        schema: INTENT_SCHEMA,
        id: o.fresh_id.clone(),
        uid: o.cr.metadata.uid.clone().unwrap_or_default(),
        place: place.to_string(),
        baseline,
        digest: digest.to_owned(),
        attempts,
        timeout_seconds: i64::try_from(access.timeout.as_secs()).unwrap_or(i64::MAX),
        started_at: o.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        withdrawn: false,
        earlier,
    }));
    let problem = Problem::passing(Reason::Progressing, "a version is being created");
    let verdict = Verdict { remote: Some(problem), target: previous_target(o), ..Verdict::default() };
    Step::Do(Effect::WriteIntent { status: Box::new(settled(o, next, &verdict)), events })
}

fn rest_rejected(o: &Observed, failure: &SendFailure) -> Step {
    let wait = o.backoff.max(failure.retry_after.unwrap_or_default());
    let stalled = refused_for_good(failure);
    let next = if stalled { "change the source, the spec or the connection".to_owned() } else { next_try(o, wait) };
    let message =
        format!("the remote did not create the version: {}{}; {next}", failure.message, advice(failure.reason));
    let reason = if stalled { Reason::CreateRejected } else { failure.reason };
    let verdict = Verdict {
        remote: Some(Problem { reason, message, stalled }),
        target: previous_target(o),
        ..Verdict::default()
    };
    let wake = if stalled { Wake::Refresh } else { Wake::Backoff(wait) };
    rest_until(o, status(&o.cr), &verdict, wake, Vec::new())
}

fn newest_active(all: &[Version]) -> Option<&Version> {
    all.iter().filter(|v| v.state == crate::api::v1alpha1::VersionState::Active).max_by_key(|v| v.number)
}

fn baseline(all: &[Version]) -> Baseline {
    let newest_time =
        all.iter().filter_map(|v| v.created_at.parse::<Timestamp>().ok().map(|at| (at, &v.created_at))).max();
    Baseline {
        version: all.iter().map(|v| v.number).max().unwrap_or(0),
        created_at: newest_time.map(|(_, text)| text.clone()),
    }
}

/// Whether the resource has our finalizer and no sign of what it did.
pub fn bare(cr: &SecretVersion) -> bool {
    has_finalizer(cr) && cr.status.as_ref().is_none_or(|s| s.history.is_empty() && s.create.is_none())
}

/// Whether the resource has our finalizer.
pub fn has_finalizer(cr: &SecretVersion) -> bool {
    cr.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
}

/// Recorded ids, and whatever else this process knows to exist at the remote.
pub(super) fn recorded_ids(o: &Observed) -> Vec<&str> {
    let recorded = o.cr.status.iter().flat_map(|s| &s.history).map(|r| r.version_id.as_str());
    let mut ids: Vec<&str> = recorded.chain(o.memory.known.iter().map(String::as_str)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The step that finds out about ids that the list lacks: wait for the remote to settle, then ask for each. `None` where
/// all are listed or proved gone.
pub(super) fn missing(o: &Observed, ids: &[&str]) -> Option<Step> {
    let listed = |id: &str| o.seen.find(id).is_some();
    let absent: Vec<&str> = ids
        .iter()
        .copied()
        .filter(|id| !listed(id) && !o.memory.gone.contains(*id) && !o.seen.deleted.contains(*id))
        .collect();
    let first = absent.first()?;
    let left = |id: &str| o.settings.settle.saturating_sub(o.memory.missing.get(id).copied().unwrap_or_default());
    let longest = absent.iter().map(|id| left(id)).max().unwrap_or_default();
    if longest.is_zero() {
        return Some(Step::Look(Look::Gone { id: (*first).to_owned() }));
    }
    Some(hold::incomplete(o, &absent, longest.min(Duration::from_secs(5))))
}

/// Holds while versions exist that could be ours and that nothing can compare.
fn hold_unknown<'a>(o: &Observed, unknown: impl Iterator<Item = &'a Version>) -> Option<Step> {
    let ids: Vec<&str> = unknown.map(|v| v.id.as_str()).collect();
    (!ids.is_empty()).then(|| {
        let message = format!(
            "the remote does not serve the value of version {}, which may be the outcome of an earlier create; make the value \
             readable, or delete the version at the remote if it is not wanted",
            ids.join(", ")
        );
        rest_remote(o, Problem::passing(Reason::AmbiguousCreate, message))
    })
}

/// The finalizer is there and nothing else: an earlier life may have sent something that the list does not show yet.
pub(super) fn wait_for_lost_status(o: &Observed, access: &Access) -> Option<Step> {
    let left = grace(o, access.timeout, 1).saturating_sub(o.memory.bare_for.unwrap_or_default());
    (!left.is_zero()).then(|| {
        let message =
            "the record of what was done is gone; waiting until the remote must show whatever was sent before";
        rest_waiting(o, Problem::passing(Reason::StatusLost, message), left.min(Duration::from_secs(10)), Vec::new())
    })
}

pub(super) fn status_lost_event(all: &[Version]) -> Event {
    let ids: Vec<&str> = all.iter().map(|v| v.id.as_str()).collect();
    let listed = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
    Event::warning(
        Reason::StatusLost,
        format!(
            "the record of what this resource created is gone; versions at the remote: {listed}; delete by hand what is not wanted"
        ),
    )
}

pub(super) fn ambiguous_event(several: &[&Version]) -> Event {
    let ids: Vec<&str> = several.iter().map(|v| v.id.as_str()).collect();
    Event::warning(
        Reason::AmbiguousCreate,
        format!(
            "versions {} hold the same new value; the lowest is used and none is deleted: delete by hand what is not wanted",
            ids.join(", ")
        ),
    )
}

fn wait_for_grace(o: &Observed, intent: &Intent, left: Duration) -> Step {
    let waited = intent_grace(o, intent).saturating_sub(left);
    let again = (waited / 2).clamp(Duration::from_secs(1), Duration::from_secs(30)).min(left);
    let message = "it is not known yet whether the remote created the version; looking until it must have shown it";
    rest_waiting(o, Problem::passing(Reason::ResolvingCreate, message), again, Vec::new())
}
