//! Holding what is recorded: the remote state, and the target Secret.

use crate::api::v1alpha1::{CreationPolicy, Origin, Record, SecretVersionStatus, VersionState};

use super::condition::{Problem, Verdict, kind};
use super::decide::{
    forced, previous_target, rest, rest_remote, rest_waiting, settled, status, target_unmoved, was_ready,
};
use super::observed::{Access, Observed, Sent, TargetSight, Version};
use super::projection::TargetView;
use super::reason::Reason;
use super::step::{Effect, Event, Look, Rest, Step};
use super::{condition, create, record, twins};

/// The next step for a managed resource whose source has not changed, or cannot be read.
pub(super) fn decide(o: &Observed, access: &Access, source: Option<Problem>) -> Step {
    let status = status(&o.cr);
    let uid = o.cr.metadata.uid.as_deref();
    let created = |r: &Record| r.origin == Origin::Created && Some(r.uid.as_str()) == uid;
    if status.history.iter().any(created) {
        // The policy may have been Retain when they were created.
        if let Some(step) = create::finalizer(o, access) {
            return step;
        }
    }
    let Some(id) = status.version_id.clone() else {
        let nothing = || Problem::passing(Reason::Progressing, "no version is recorded yet");
        return rest_remote(o, source.unwrap_or_else(nothing));
    };
    if must_ask_remote(o) && o.seen.versions.is_none() {
        return Step::Look(Look::Versions { values: false });
    }
    let wanted = o.cr.spec.state.unwrap_or(VersionState::Active);
    let current = o.seen.find(&id);
    match current {
        None if o.seen.versions.is_some() => return lacking(o, &id),
        Some(version) if version.state != wanted => {
            if wanted == VersionState::Inactive && !status.history.iter().any(|r| created(r) && r.version_id == id) {
                let message = "the version was found at the remote, not created here, so it is not deactivated; remove \
                               spec.state, or deactivate it at the remote";
                return rest_remote(o, Problem::stalled(Reason::NotCreatedHere, message));
            }
            if !o.live {
                return Step::Look(Look::Live);
            }
            return Step::Do(Effect::SetState { version_id: id, state: wanted });
        }
        _ => {}
    }
    if let Some(step) = twins::compare(o) {
        return step;
    }
    let mut next = status;
    if let Some(version) = current {
        note_version(&mut next, version);
    }
    let events = twins::events(o);
    let remote = source.or_else(|| record::altered(&next));
    finish(o, next, &id, current, remote, events)
}

/// Takes over from the remote what can move: number, state, time of change.
pub(super) fn note_version(status: &mut SecretVersionStatus, version: &Version) {
    status.version_id = Some(version.id.clone());
    status.version = Some(version.number);
    status.state = Some(version.state);
    status.updated_at = Some(version.updated_at.clone());
}

/// The end of a pass over a version: the target first, then the status.
pub(super) fn finish(
    o: &Observed,
    mut next: SecretVersionStatus,
    id: &str,
    version: Option<&Version>,
    remote: Option<Problem>,
    events: Vec<Event>,
) -> Step {
    let target = match target(o, id, version, &mut next) {
        Ok(target) => target,
        Err(step) => return *step,
    };
    let verdict = verdict(o, &next, remote, target);
    rest(o, next, &verdict, events)
}

/// The verdict with its summary.
pub(super) fn verdict(
    o: &Observed,
    next: &SecretVersionStatus,
    remote: Option<Problem>,
    target: Option<Problem>,
) -> Verdict {
    let view = TargetView::of(&o.cr);
    let no_target = view.policy() == CreationPolicy::None;
    let state = match next.state {
        Some(VersionState::Inactive) => "inactive",
        _ => "active",
    };
    let number = next.version.unwrap_or_default();
    let summary = if no_target {
        format!("version {number} is {state} at the remote")
    } else {
        format!("version {number} is {state} at the remote and its value is in Secret {}", view.name())
    };
    Verdict { remote, target, summary, no_target }
}

fn must_ask_remote(o: &Observed) -> bool {
    let status = status(&o.cr);
    o.refresh_due
        || forced(o)
        || status.observed_generation != o.cr.metadata.generation
        || !condition::is_true(&status.conditions, kind::REMOTE_SYNCED, o.cr.metadata.generation)
}

/// The recorded version is not in the list: not yet shown, or gone.
fn lacking(o: &Observed, id: &str) -> Step {
    match create::missing(o, &[id]) {
        // Lists may lag for the settle time: until that is over nothing is known to have changed, so nothing is said.
        Some(Step::Rest(waiting)) if (was_ready(o) || was_gone(o)) && !forced(o) => {
            return Step::Rest(Rest { status: Box::new(status(&o.cr)), ..waiting });
        }
        Some(step) => return step,
        None => {}
    }
    let mut next = status(&o.cr);
    if next.origin == Some(Origin::Created) {
        let message = format!(
            "version {id} was created by this resource and is gone at the remote; its value stays in use here until the \
             source changes"
        );
        if let Some(step) = twins::compare(o) {
            return step;
        }
        let problem = Problem::stalled(Reason::VersionGone, message);
        let verdict = Verdict { remote: Some(problem), target: previous_target(o), ..Verdict::default() };
        return rest(o, next, &verdict, twins::events(o));
    }
    record::forget(&mut next, |r| r.version_id == id);
    (next.version_id, next.version, next.state, next.updated_at) = (None, None, None, None);
    (next.origin, next.digest, next.source) = (None, None, None);
    let problem = Problem::passing(
        Reason::Progressing,
        "the referenced version is gone at the remote; looking for its successor",
    );
    let verdict = Verdict { remote: Some(problem), target: previous_target(o), ..Verdict::default() };
    let status = Box::new(settled(o, next, &verdict));
    Step::Do(Effect::WriteStatus { status, events: Vec::new() })
}

/// Whether status says already, of the present spec, that the version is gone.
fn was_gone(o: &Observed) -> bool {
    let remote = o.cr.status.as_ref().and_then(|s| condition::get(&s.conditions, kind::REMOTE_SYNCED));
    remote
        .is_some_and(|c| c.reason == Reason::VersionGone.as_str() && c.observed_generation == o.cr.metadata.generation)
}

/// The target: what keeps it from being synced, or the step that comes first. Notes in `next` what was written.
pub(super) fn target(
    o: &Observed,
    id: &str,
    version: Option<&Version>,
    next: &mut SecretVersionStatus,
) -> Result<Option<Problem>, Box<Step>> {
    let view = TargetView::of(&o.cr);
    if view.policy() == CreationPolicy::None {
        next.target = None;
        return Ok(None);
    }
    if o.seen.target_of(id).is_none() && target_is_current(o, id, version) {
        return Ok(None);
    }
    let Some(sight) = o.seen.target_of(id) else {
        return Err(Box::new(Step::Look(if has_value(o, id) {
            Look::Target { version_id: id.to_owned() }
        } else {
            Look::Version { id: id.to_owned() }
        })));
    };
    let name = view.name();
    let write = || Err(Box::new(Step::Do(Effect::WriteTarget { version_id: id.to_owned(), policy: view.policy() })));
    let problem = match sight {
        TargetSight::Matches(object) => {
            remove_former(o, name)?;
            let recorded = next.target.as_ref();
            if o.seen.target_written.is_some() || recorded.is_none_or(|t| t.name != object.name || t.uid != object.uid)
            {
                next.target = Some(object.clone());
            }
            return Ok(None);
        }
        TargetSight::Absent if view.policy() == CreationPolicy::Merge => Problem::passing(
            Reason::TargetNotFound,
            format!("Secret {name} does not exist, and creationPolicy Merge only adds keys; create it, or use Owner"),
        ),
        TargetSight::Absent | TargetSight::Differs(_) => return write(),
        TargetSight::NotOwned => Problem::passing(
            Reason::TargetNotOwned,
            format!(
                "Secret {name} exists and was not made by this resource; name another target, delete the Secret, or hand \
                 it over with: kubectl annotate secret {name} secrets.abeja.io/adopt={}",
                o.cr.metadata.name.as_deref().unwrap_or_default()
            ),
        ),
        TargetSight::Leftover => Problem::passing(
            Reason::TargetNotOwned,
            format!(
                "Secret {name} belongs to an earlier resource of this name; waiting until the garbage collector removes it"
            ),
        ),
        TargetSight::Conflict(who) => Problem::passing(
            Reason::TargetConflict,
            format!("a key of Secret {name} is held by {who}, and Merge never takes a key by force; name another key"),
        ),
        TargetSight::Invalid(why) => Problem::stalled(
            Reason::TargetInvalid,
            format!("Secret {name} cannot be written: {why}; name another target"),
        ),
        TargetSight::Unprojectable(error) => {
            let reason = match error {
                super::projection::ProjectionError::NotJson => Reason::ValueNotJson,
                super::projection::ProjectionError::Missing(_) => Reason::PropertyNotFound,
            };
            Problem::passing(reason, format!("{error} (what Secret {name} held before stays)"))
        }
        TargetSight::NotServed => Problem::passing(
            Reason::ValueNotServed,
            format!(
                "the remote did not serve the value of version {id} as base64 (what Secret {name} held before stays)"
            ),
        ),
    };
    Ok(Some(problem))
}

fn target_is_current(o: &Observed, id: &str, version: Option<&Version>) -> bool {
    let Some(status) = &o.cr.status else { return false };
    status.version_id.as_deref() == Some(id)
        && version.is_none_or(|v| {
            status.updated_at.as_deref() == Some(v.updated_at.as_str()) || only_state_moved(o, status, v)
        })
        && status.observed_generation == o.cr.metadata.generation
        && condition::is_true(&status.conditions, kind::TARGET_SYNCED, o.cr.metadata.generation)
        && target_unmoved(o)
}

/// A switch of state moves the version's time of change, and never its bytes.
fn only_state_moved(o: &Observed, status: &SecretVersionStatus, version: &Version) -> bool {
    o.seen.sent.is_none() && status.state.is_some_and(|s| s != version.state)
}

/// Whether this pass holds the version's value, or knows that it is not served.
fn has_value(o: &Observed, id: &str) -> bool {
    let listed = || o.seen.versions.as_ref().is_some_and(|v| v.values && v.all.iter().any(|v| v.id == id));
    let answered = || matches!(&o.seen.sent, Some((_, Sent::Answered(v))) if v.id == id && v.digest.is_some());
    o.seen.version.contains_key(id) || listed() || answered()
}

/// The Secret under the former name goes once the new one holds the value.
fn remove_former(o: &Observed, name: &str) -> Result<(), Box<Step>> {
    let former = o.cr.status.as_ref().and_then(|s| s.target.as_ref()).filter(|t| t.name != name);
    match former {
        Some(former) if !o.seen.former_target_done => Err(Box::new(Step::Do(Effect::RemoveTarget {
            name: former.name.clone(),
            uid: former.uid.clone().unwrap_or_default(),
        }))),
        _ => Ok(()),
    }
}

/// Ends a pass in which lists lack a version that should be there.
pub(super) fn incomplete(o: &Observed, ids: &[&str], wait: std::time::Duration) -> Step {
    let message = format!(
        "the remote's list lacks version {}; waiting until it shows it, or until it is proved gone",
        ids.join(", ")
    );
    rest_waiting(o, Problem::passing(Reason::ListIncomplete, message), wait, Vec::new())
}
