//! Recording what a change came to: the Secret first, then one status write.

use crate::api::v1alpha1::{Intent, ObjectSeen, Origin, Record, SecretVersion, SecretVersionStatus, VersionState};

use super::condition::Problem;
use super::create::is_open;
use super::decide::{settled, status};
use super::hold;
use super::observed::{Observed, Sight, Source, Version};
use super::place::Place;
use super::reason::Reason;
use super::step::{Effect, Event, Step};

/// The most versions that a record holds. At about 300 bytes each they stay far below what an object may hold.
const MAX_HISTORY: usize = 500;

/// A version found to be the outcome of something.
pub(super) struct Found<'a> {
    version: &'a Version,
    origin: Origin,
    create_id: Option<&'a str>,
    digest: &'a str,
    source: Option<&'a ObjectSeen>,
}

/// Uses a version that was found with the source's value.
pub(super) fn reference(
    o: &Observed,
    place: &Place,
    version: &Version,
    create_id: Option<&str>,
    (digest, source): (&str, &ObjectSeen),
    mut events: Vec<Event>,
) -> Step {
    let note = format!(
        "version {} ({}) holds the source's value already and is used; nothing was created",
        version.number, version.id
    );
    events.push(Event::normal(Reason::VersionReferenced, note));
    let found = Found { version, origin: Origin::Referenced, create_id, digest, source: Some(source) };
    record(o, place, &found, events)
}

pub(super) fn record_intent(
    o: &Observed,
    place: &Place,
    intent: &Intent,
    version: &Version,
    origin: Origin,
    events: Vec<Event>,
) -> Step {
    let source = match &o.seen.source {
        Some(Source::Bytes { object, is_intent: Sight::Equal, .. }) => Some(object),
        _ => None,
    };
    let found = Found { version, origin, create_id: Some(&intent.id), digest: &intent.digest, source };
    record(o, place, &found, events)
}

/// The Secret first, then one status write with record and outcome; the status also where the Secret cannot be written.
fn record(o: &Observed, place: &Place, found: &Found<'_>, mut events: Vec<Event>) -> Step {
    let version = found.version;
    let mut next = status(&o.cr);
    note_place(&mut next, place);
    hold::note_version(&mut next, version);
    next.digest = Some(found.digest.to_owned());
    next.source = found.source.cloned();
    next.origin = Some(enter(&mut next, o, place, found));
    forget(&mut next, |r| r.version_id != version.id && o.memory.gone.contains(&r.version_id));
    events.extend(truncate(&mut next, &version.id));
    let target = match hold::target(o, &version.id, Some(version), &mut next) {
        Ok(target) => target,
        Err(step) => return *step,
    };
    let remote = if wants_other_state(o, version) {
        Some(Problem::passing(Reason::Progressing, "the version is recorded; its state comes next"))
    } else {
        altered(&next)
    };
    let verdict = hold::verdict(o, &next, remote, target);
    let status = Box::new(settled(o, next, &verdict));
    Step::Do(Effect::WriteStatus { status, events })
}

/// Takes versions out of the record. What came of an intent came of it: without the record of its version it is not open again.
pub(super) fn forget(status: &mut SecretVersionStatus, which: impl Fn(&Record) -> bool) {
    let open = is_open(status);
    status.history.retain(|r| !which(r));
    let reopened = !open && is_open(status);
    status.create.iter_mut().for_each(|intent| intent.withdrawn |= reopened);
}

/// Keeps the record within what an object may hold.
fn truncate(status: &mut SecretVersionStatus, current: &str) -> Vec<Event> {
    let excess = status.history.len().saturating_sub(MAX_HISTORY);
    let oldest: Vec<Record> = status.history.iter().filter(|r| r.version_id != current).take(excess).cloned().collect();
    forget(status, |r| oldest.contains(r));
    oldest
        .iter()
        .filter(|r| r.origin == Origin::Created)
        .map(|r| {
            let note = format!(
                "version {} ({}) is no longer recorded; delete it at the remote by hand when it is not wanted",
                r.version, r.version_id
            );
            Event::warning(Reason::HistoryTruncated, note)
        })
        .collect()
}

fn wants_other_state(o: &Observed, version: &Version) -> bool {
    version.state != o.cr.spec.state.unwrap_or(VersionState::Active)
}

/// Puts the version into the history, and answers how it came here: what was created here once stays so.
fn enter(next: &mut SecretVersionStatus, o: &Observed, place: &Place, found: &Found<'_>) -> Origin {
    let uid = o.cr.metadata.uid.clone().unwrap_or_default();
    let create_id = found.create_id.map(str::to_owned);
    if let Some(known) = next.history.iter_mut().find(|r| r.version_id == found.version.id) {
        known.create_id = create_id.or(known.create_id.take());
        return if known.uid == uid { known.origin } else { Origin::Referenced };
    }
    next.history.push(Record {
        version_id: found.version.id.clone(),
        version: found.version.number,
        origin: found.origin,
        digest: found.version.digest.clone().unwrap_or_else(|| found.digest.to_owned()),
        uid,
        place: place.to_string(),
        created_at: Some(found.version.created_at.clone()),
        create_id,
    });
    found.origin
}

/// The remote serves other bytes than were sent: this change is never sent again.
pub(super) fn altered(status: &SecretVersionStatus) -> Option<Problem> {
    let current = status.history.iter().find(|r| Some(&r.version_id) == status.version_id.as_ref())?;
    let same_key = |a: &str, b: &str| a.rsplit_once('.').map(|p| p.0) == b.rsplit_once('.').map(|p| p.0);
    let sent = status.digest.as_deref()?;
    (current.origin == Origin::Created && same_key(&current.digest, sent) && current.digest != sent).then(|| {
        Problem::stalled(
            Reason::ValueAltered,
            "the remote serves other bytes than were sent; the target holds what it serves, and nothing is sent again until \
             the source changes",
        )
    })
}

/// The status of a resource whose name was found to mean this place, and of which nothing else is known yet.
pub fn pinned(cr: &SecretVersion, place: &Place) -> SecretVersionStatus {
    let mut status = status(cr);
    note_place(&mut status, place);
    status
}

pub(super) fn note_place(status: &mut SecretVersionStatus, place: &Place) {
    status.url = Some(place.url.clone());
    status.organization_id = Some(place.organization_id.clone());
    status.secret_id = Some(place.secret_id.clone());
}
