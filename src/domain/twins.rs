//! Versions that nobody here recorded: late outcomes of our own creates, and other people's.

use crate::api::v1alpha1::SecretVersionStatus;

use super::condition::{self, kind};
use super::observed::{Observed, Sight, Version};
use super::outcome::later;
use super::reason::Reason;
use super::step::{Event, Look, Rest, Step};

/// Versions that nobody here recorded, newer than what is in use, and not judged yet.
pub(super) fn unjudged(o: &Observed) -> Vec<&Version> {
    let Some(status) = &o.cr.status else { return Vec::new() };
    let all = o.seen.versions.iter().flat_map(|v| &v.all);
    unrecorded(status, all).filter(|v| !o.memory.judged.contains(&v.id)).collect()
}

/// Versions that a status does not record, newer than what is in use or what its creates began from.
pub(super) fn unrecorded<'a>(
    status: &'a SecretVersionStatus,
    all: impl IntoIterator<Item = &'a Version> + 'a,
) -> impl Iterator<Item = &'a Version> + 'a {
    let recorded = |id: &str| status.history.iter().any(|r| r.version_id == id);
    let newer = |v: &Version| {
        status.create.as_ref().map_or(v.number > status.version.unwrap_or_default(), |intent| {
            later(v, &intent.baseline) || intent.earlier.iter().any(|e| later(v, &e.baseline))
        })
    };
    all.into_iter().filter(move |v| newer(v) && !recorded(&v.id))
}

/// Whether a pass that ends so has judged all that it listed. Who only follows judges nobody. One that ends before it holds what is
/// recorded has not, and what it listed is for a later pass to judge.
pub fn are_judged(o: &Observed, rest: &Rest) -> bool {
    let held = condition::is_true(&rest.status.conditions, kind::REMOTE_SYNCED, o.cr.metadata.generation);
    let compared = o.seen.versions.as_ref().is_some_and(|versions| versions.values);
    o.cr.spec.value_from.is_some() && (!rest.events.is_empty() || (held && compared))
}

/// Asks for values where a version may be a late outcome of one of our creates.
pub(super) fn compare(o: &Observed) -> Option<Step> {
    let compare = o.cr.status.as_ref().is_some_and(|s| s.create.is_some());
    let have_values = o.seen.versions.as_ref().is_some_and(|v| v.values);
    (compare && !have_values && !unjudged(o).is_empty()).then_some(Step::Look(Look::Versions { values: true }))
}

/// What to tell people of versions that nobody here recorded.
pub(super) fn events(o: &Observed) -> Vec<Event> {
    let current = o.cr.status.as_ref().and_then(|s| s.version).unwrap_or_default();
    let unjudged = unjudged(o);
    let twin = |v: &&&Version| v.is_intent == Sight::Equal || v.is_earlier == Sight::Equal;
    let late = unjudged.iter().filter(twin).map(|v| {
        let note = format!("version {} ({}) looks like a late outcome of an earlier create; delete it at the remote if it is not wanted", v.number, v.id);
        Event::warning(Reason::LateVersion, note)
    });
    let foreign = unjudged.iter().filter(|v| !twin(v) && v.number > current).map(|v| {
        let note = format!("somebody else made version {} ({}); the target stays on version {current}", v.number, v.id);
        Event::normal(Reason::ForeignVersion, note)
    });
    late.chain(foreign).collect()
}
