//! Deletion: what was created here goes by its policy, nothing else is touched, and there is always a way out.

use std::time::Duration;

use crate::api::v1alpha1::{DeletionPolicy, Intent, Origin, Permission, Record, VersionState};

use super::condition::{Problem, Verdict};
use super::create::{self, bare, candidates, grace_left, has_finalizer, open_intent, recorded_ids};
use super::decide::{access, elsewhere, previous_target, problem, rest_until, settled, status};
use super::observed::{Access, Link, Observed};
use super::place::Place;
use super::reason::Reason;
use super::step::{Effect, Event, Look, Rest, Step, Wake};

/// For how long the credential must have been gone before a resource of a namespace that is being deleted is let go.
const LET_GO_AFTER: Duration = Duration::from_mins(10);

/// The next step for a resource that is being deleted.
pub(super) fn decide(o: &Observed) -> Step {
    if !has_finalizer(&o.cr) {
        return Step::Rest(Rest { status: Box::new(status(&o.cr)), wake: Wake::Refresh, events: Vec::new() });
    }
    let policy = o.cr.spec.deletion_policy.unwrap_or_default();
    if policy == DeletionPolicy::Retain {
        return let_go(o, "deletionPolicy is Retain");
    }
    if o.cr.spec.suspend == Some(true) {
        return let_go(o, "the resource is suspended");
    }
    if o.memory.finalizer_is_fresh && bare(&o.cr) {
        return Step::Do(Effect::RemoveFinalizer { events: Vec::new() });
    }
    let access = match access(o) {
        Ok(access) if access.permission < Permission::ReadWrite => {
            return let_go(o, "the connection's access was revoked");
        }
        Ok(access) => access,
        Err(problem) => return unreachable(o, problem),
    };
    if let Some(trouble) = &o.seen.trouble {
        let (problem, wait) = problem(o, trouble);
        return blocked(o, problem, Wake::Backoff(wait));
    }
    let Some(place) = place(o, access) else {
        return let_go(o, "nothing says in which remote secret they are");
    };
    if elsewhere(&o.cr, &place).is_some() {
        let message = "the connection now names another place than the one the versions were created in; point it back";
        return blocked(o, Problem::stalled(Reason::PlaceChanged, message), Wake::Refresh);
    }
    if !o.live {
        return Step::Look(Look::Live);
    }
    let mut events = Vec::new();
    if let Some(intent) = open_intent(o, &place) {
        if let Some(problem) = create::of_newer(intent) {
            return blocked(o, problem, Wake::Refresh);
        }
        if let Some(step) = resolve(o, intent) {
            return step;
        }
    } else if bare(&o.cr) {
        match lost(o, access) {
            Ok(event) => events.push(event),
            Err(step) => return *step,
        }
    }
    clean(o, policy, events)
}

/// The ids that this resource created in its place.
fn created(o: &Observed) -> Vec<&Record> {
    let uid = o.cr.metadata.uid.as_deref();
    let own = |r: &&Record| r.origin == Origin::Created && Some(r.uid.as_str()) == uid;
    o.cr.status.iter().flat_map(|s| &s.history).filter(own).collect()
}

fn place(o: &Observed, access: &Access) -> Option<Place> {
    let remote = &o.cr.spec.remote_ref;
    let secret_id = remote.secret_id.clone().or_else(|| status(&o.cr).secret_id)?;
    let organization_id = remote.organization_id.clone().unwrap_or_else(|| access.organization_id.clone());
    Some(Place { url: access.url.clone(), organization_id, secret_id })
}

/// Removes or deactivates every created version, then takes the finalizer off.
fn clean(o: &Observed, policy: DeletionPolicy, mut events: Vec<Event>) -> Step {
    let duties = created(o);
    if duties.is_empty() {
        return Step::Do(Effect::RemoveFinalizer { events });
    }
    let Some(versions) = &o.seen.versions else {
        return Step::Look(Look::Versions { values: false });
    };
    for record in duties {
        let id = &record.version_id;
        if o.served_elsewhere.contains(id) {
            let note = format!("version {} ({id}) stays at the remote: another resource serves it", record.version);
            events.push(Event::warning(Reason::VersionInUse, note));
            continue;
        }
        if o.seen.deleted.contains(id) {
            continue;
        }
        let Some(version) = versions.all.iter().find(|v| v.id == *id) else {
            match create::missing(o, &[id]) {
                Some(step) => return step,
                None => continue,
            }
        };
        let active = version.state == VersionState::Active;
        let deactivate = policy == DeletionPolicy::Deactivate || o.seen.deactivate_first.contains(id);
        if active && deactivate {
            return Step::Do(Effect::SetState { version_id: id.clone(), state: VersionState::Inactive });
        }
        if policy == DeletionPolicy::Delete {
            return Step::Do(Effect::DeleteVersion { version_id: id.clone() });
        }
    }
    Step::Do(Effect::RemoveFinalizer { events })
}

/// An open intent is resolved before anything is deleted. `None` once it is known that nothing came of it.
fn resolve(o: &Observed, intent: &Intent) -> Option<Step> {
    if !o.seen.versions.as_ref().is_some_and(|v| v.values) {
        return Some(Step::Look(Look::Versions { values: true }));
    }
    let (equal, unknown) = candidates(o, intent);
    let (origin, events) = match equal.as_slice() {
        [] | [_] => (Origin::Created, Vec::new()),
        several => (Origin::Referenced, vec![create::ambiguous_event(several)]),
    };
    if let Some(version) = equal.iter().min_by_key(|v| v.number) {
        let mut next = status(&o.cr);
        next.history.push(Record {
            version_id: version.id.clone(),
            version: version.number,
            origin,
            digest: intent.digest.clone(),
            uid: intent.uid.clone(),
            place: intent.place.clone(),
            created_at: Some(version.created_at.clone()),
            create_id: Some(intent.id.clone()),
        });
        let verdict = removing(o);
        let status = Box::new(settled(o, next, &verdict));
        return Some(Step::Do(Effect::WriteStatus { status, events }));
    }
    if let Some(step) = create::missing(o, &recorded_ids(o)) {
        return Some(step);
    }
    if !unknown.is_empty() {
        let ids: Vec<&str> = unknown.iter().map(|v| v.id.as_str()).collect();
        let message = format!(
            "the remote does not serve the value of version {}, which may have been created here; make the value readable",
            ids.join(", ")
        );
        return Some(blocked(o, Problem::passing(Reason::AmbiguousCreate, message), Wake::Backoff(o.backoff)));
    }
    let left = grace_left(o, intent);
    (!left.is_zero()).then(|| {
        let message = "a create was under way; looking until the remote must have shown its outcome";
        blocked(o, Problem::passing(Reason::ResolvingCreate, message), Wake::After(left.min(Duration::from_secs(10))))
    })
}

/// The record is lost: after a grace, name what the remote holds and let go.
fn lost(o: &Observed, access: &Access) -> Result<Event, Box<Step>> {
    if let Some(step) = create::wait_for_lost_status(o, access) {
        return Err(Box::new(step));
    }
    let Some(versions) = &o.seen.versions else {
        return Err(Box::new(Step::Look(Look::Versions { values: false })));
    };
    Ok(create::status_lost_event(&versions.all))
}

fn unreachable(o: &Observed, problem: Problem) -> Step {
    if o.link == (Link::NotFound { revoked: true }) {
        return let_go(o, "the connection's access was revoked");
    }
    if o.namespace_terminating && o.memory.unreachable_for.is_some_and(|gone| gone >= LET_GO_AFTER) {
        return let_go(o, "its namespace is being deleted and its credential has been gone for ten minutes");
    }
    blocked(o, problem, Wake::Backoff(o.backoff))
}

/// Takes the finalizer off, and names what stays.
fn let_go(o: &Observed, why: &str) -> Step {
    let ids: Vec<String> = created(o).iter().map(|r| format!("{} ({})", r.version, r.version_id)).collect();
    let open = o.cr.status.as_ref().is_some_and(create::is_open);
    let mut events = Vec::new();
    if !ids.is_empty() || open {
        let unknown = if open { "; a create was under way and may have left one more" } else { "" };
        let note = format!("left at the remote because {why}: versions {}{unknown}", ids.join(", "));
        events.push(Event::warning(Reason::VersionsRetained, note));
    }
    Step::Do(Effect::RemoveFinalizer { events })
}

/// Deletion cannot go on: say what blocks it, and how to let go.
fn blocked(o: &Observed, mut problem: Problem, wake: Wake) -> Step {
    problem.message = format!(
        "{}; to delete this resource and leave its versions at the remote, set spec.deletionPolicy to Retain",
        problem.message
    );
    let verdict = Verdict { remote: Some(problem), target: previous_target(o), ..Verdict::default() };
    rest_until(o, status(&o.cr), &verdict, wake, Vec::new())
}

fn removing(o: &Observed) -> Verdict {
    let problem = Problem::passing(Reason::Progressing, "the versions created here are being removed");
    Verdict { remote: Some(problem), target: previous_target(o), ..Verdict::default() }
}
