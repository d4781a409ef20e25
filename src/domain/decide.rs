//! From a snapshot to the next step. Total and deterministic; what differs by kind of resource is in [`super::managed`],
//! [`super::follow`] and [`super::delete`].

use std::time::Duration;

use crate::api::RECONCILE_REQUESTED_AT;
use crate::api::v1alpha1::{ConnectionKind, CreationPolicy, RefreshPolicy, SecretVersion, SecretVersionStatus};

use super::class::Class;
use super::condition::{self, Problem, Verdict, kind};
use super::observed::{Access, Link, Meta, NameFound, Observed, Side, Trouble};
use super::place::Place;
use super::projection::TargetView;
use super::reason::Reason;
use super::step::{Event, Look, Rest, Step, Wake};
use super::{create, delete, follow, managed};

/// The next step for a resource.
pub fn decide(o: &Observed) -> Step {
    if o.cr.metadata.deletion_timestamp.is_some() {
        return delete::decide(o);
    }
    if o.cr.spec.suspend == Some(true) {
        return suspended(o);
    }
    if let Some(trouble) = &o.seen.trouble {
        return rest_trouble(o, trouble);
    }
    if o.target_meta == Meta::NotWatched && o.cr.spec.refresh_policy == Some(RefreshPolicy::OnChange) {
        let message = "this installation does not watch Secrets, so changes are not seen; use refreshPolicy Periodic";
        return rest_remote(o, Problem::stalled(Reason::SecretsNotWatched, message));
    }
    let access = match access(o) {
        Ok(access) => access,
        Err(problem) => return rest_remote(o, problem),
    };
    let place = match place(o, access) {
        Ok(place) => place,
        Err(step) => return *step,
    };
    if o.cr.spec.value_from.is_some() { managed::decide(o, access, &place) } else { follow::decide(o, access, &place) }
}

/// The connection, or why it cannot be used.
pub(super) fn access(o: &Observed) -> Result<&Access, Problem> {
    let name = &o.cr.spec.connection_ref;
    match &o.link {
        Link::NotFound { .. } => Err(Problem::passing(
            Reason::ConnectionNotFound,
            match name.kind {
                ConnectionKind::AbejaConnection => {
                    format!("AbejaConnection {} does not exist in this namespace; create it", name.name)
                }
                ConnectionKind::ClusterAbejaConnection => format!(
                    "ClusterAbejaConnection {} does not exist or is not open to this resource; create it, or have its access \
                     rules extended",
                    name.name
                ),
            },
        )),
        Link::NotReady { reason, message } => Err(Problem::passing(*reason, message.clone())),
        Link::Ready(access) => Ok(access),
    }
}

/// The place of a resource, or the step that leads to it.
pub(super) fn place(o: &Observed, access: &Access) -> Result<Place, Box<Step>> {
    let fail = |problem| Err(Box::new(rest_remote(o, problem)));
    let remote = &o.cr.spec.remote_ref;
    let organization_id = remote.organization_id.clone().unwrap_or_else(|| access.organization_id.clone());
    if access.cluster && organization_id != access.organization_id {
        return fail(Problem::stalled(
            Reason::OrganizationNotAllowed,
            "a ClusterAbejaConnection serves its own organization only; remove remoteRef.organizationId, or use an \
             AbejaConnection",
        ));
    }
    let secret_id = match (&remote.secret_id, &remote.secret_name) {
        (Some(id), _) => id.clone(),
        (None, Some(name)) => match status(&o.cr).secret_id {
            Some(pinned) => pinned,
            None => found(o, name)?,
        },
        (None, None) => {
            let message = "remoteRef names no secret; set secretId or secretName";
            return fail(Problem::stalled(Reason::InvalidResource, message));
        }
    };
    let place = Place { url: access.url.clone(), organization_id, secret_id };
    match elsewhere(&o.cr, &place) {
        Some(recorded) => fail(Problem::stalled(
            Reason::PlaceChanged,
            format!(
                "this resource's versions live in {recorded}, but its connection now names {place}; point the connection \
                 back, or make another resource for the new place"
            ),
        )),
        None => Ok(place),
    }
}

/// Another place that status speaks of, as a whole or in one of its records: nothing is done here then, because ids of one place
/// say nothing in another.
pub(super) fn elsewhere(cr: &SecretVersion, place: &Place) -> Option<String> {
    let here = place.to_string();
    let whole = recorded_place(cr).map(|recorded| recorded.to_string());
    let records = cr.status.iter().flat_map(|s| &s.history).map(|r| r.place.as_str());
    whole.as_deref().into_iter().chain(records).find(|recorded| *recorded != here).map(str::to_owned)
}

fn found(o: &Observed, name: &str) -> Result<String, Box<Step>> {
    let fail = |problem| Err(Box::new(rest_remote(o, problem)));
    match &o.seen.name {
        None => Err(Box::new(Step::Look(Look::Name(name.to_owned())))),
        Some(NameFound::One(id)) => Ok(id.clone()),
        Some(NameFound::None) => fail(Problem::passing(
            Reason::SecretNotFound,
            format!("no remote secret is named {name:?}; create it, or use secretId"),
        )),
        Some(NameFound::Several(ids)) => fail(Problem::stalled(
            Reason::AmbiguousName,
            format!("several remote secrets are named {name:?} ({}); use secretId", ids.join(", ")),
        )),
        Some(NameFound::Denied) => fail(Problem::passing(
            Reason::NameResolutionDenied,
            "the credential may not list secrets, so the name cannot be looked up; use secretId, or allow the list",
        )),
    }
}

/// The place that status records.
pub fn recorded_place(cr: &SecretVersion) -> Option<Place> {
    let status = cr.status.as_ref()?;
    Some(Place {
        url: status.url.clone()?,
        organization_id: status.organization_id.clone()?,
        secret_id: status.secret_id.clone()?,
    })
}

/// The status as it stands.
pub(super) fn status(cr: &SecretVersion) -> SecretVersionStatus {
    cr.status.clone().unwrap_or_default()
}

/// The sync that is asked for by annotation.
pub fn requested(cr: &SecretVersion) -> Option<&str> {
    cr.metadata.annotations.as_ref()?.get(RECONCILE_REQUESTED_AT).map(String::as_str)
}

/// Whether a sync is asked for that was not handled yet.
pub fn is_forced(cr: &SecretVersion) -> bool {
    let handled = cr.status.as_ref().and_then(|s| s.last_handled_reconcile_at.as_deref());
    requested(cr).is_some_and(|asked| Some(asked) != handled)
}

/// Whether this pass is to sync because somebody asked for it.
pub(super) fn forced(o: &Observed) -> bool {
    is_forced(&o.cr)
}

/// Whether status speaks of the present spec and everything was well.
pub(super) fn was_ready(o: &Observed) -> bool {
    o.cr.status.as_ref().is_some_and(|s| {
        s.observed_generation == o.cr.metadata.generation
            && condition::is_true(&s.conditions, kind::READY, o.cr.metadata.generation)
    })
}

/// Whether the target is as status or memory has it, and still the one that is asked for.
pub(super) fn target_unmoved(o: &Observed) -> bool {
    let view = TargetView::of(&o.cr);
    let recorded = o.cr.status.as_ref().and_then(|s| s.target.as_ref());
    match view.policy() {
        CreationPolicy::None => recorded.is_none(),
        // Without a watch the target is read at each refresh.
        _ if o.target_meta == Meta::NotWatched => {
            recorded.is_some_and(|t| t.name == view.name()) && !o.refresh_due && !forced(o)
        }
        _ => {
            // One that was made anew is another object, and status must say so: a former target is known by its UID.
            let checked = o.memory.target_checked.as_ref().filter(|c| recorded.is_some_and(|r| r.uid == c.uid));
            recorded.is_some_and(|t| t.name == view.name()) && (o.target_meta.is(recorded) || o.target_meta.is(checked))
        }
    }
}

/// A status for this generation with every condition computed anew.
pub(super) fn settled(o: &Observed, mut status: SecretVersionStatus, verdict: &Verdict) -> SecretVersionStatus {
    let generation = o.cr.metadata.generation;
    status.observed_generation = generation;
    status.last_handled_reconcile_at = requested(&o.cr).map(str::to_owned);
    condition::apply(&mut status.conditions, verdict, generation, o.now);
    status
}

/// The end of a pass with this verdict.
pub(super) fn rest(o: &Observed, status: SecretVersionStatus, verdict: &Verdict, events: Vec<Event>) -> Step {
    let wake = match verdict.remote.as_ref().or(verdict.target.as_ref()) {
        Some(problem) if !problem.stalled => Wake::Backoff(o.backoff),
        _ => Wake::Refresh,
    };
    rest_until(o, status, verdict, wake, events)
}

/// The end of a pass with this verdict, and a time to come back.
pub(super) fn rest_until(
    o: &Observed,
    status: SecretVersionStatus,
    verdict: &Verdict,
    wake: Wake,
    events: Vec<Event>,
) -> Step {
    Step::Rest(Rest { status: Box::new(settled(o, status, verdict)), wake, events })
}

/// The end of a pass that did not get as far as the target.
pub(super) fn rest_remote(o: &Observed, problem: Problem) -> Step {
    let verdict = Verdict { target: previous_target(o), remote: Some(problem), ..Verdict::default() };
    rest(o, status(&o.cr), &verdict, Vec::new())
}

/// The end of a pass that waits for the remote side.
pub(super) fn rest_waiting(o: &Observed, problem: Problem, wait: Duration, events: Vec<Event>) -> Step {
    let verdict = Verdict { target: previous_target(o), remote: Some(problem), ..Verdict::default() };
    rest_until(o, status(&o.cr), &verdict, Wake::After(wait), events)
}

/// What was last said of the target: no failure at the remote makes it better or worse.
pub(super) fn previous_target(o: &Observed) -> Option<Problem> {
    let status = status(&o.cr);
    match condition::get(&status.conditions, kind::TARGET_SYNCED) {
        Some(c) if c.status == "True" => None,
        Some(c) => {
            let reason = Reason::ALL.iter().copied().find(|r| r.as_str() == c.reason).unwrap_or(Reason::Progressing);
            Some(Problem::passing(reason, c.message.clone()))
        }
        None => Some(Problem::passing(Reason::Progressing, "not written yet")),
    }
}

fn rest_trouble(o: &Observed, trouble: &Trouble) -> Step {
    let (problem, wait) = problem(o, trouble);
    let verdict = match trouble.side {
        Side::Remote => Verdict { target: previous_target(o), remote: Some(problem), ..Verdict::default() },
        Side::Target => Verdict { target: Some(problem), ..Verdict::default() },
    };
    let mut status = settled(o, status(&o.cr), &verdict);
    if forced(o) && create::is_open(&status) {
        // It was asked to find out what became of a create, and has not yet.
        status.last_handled_reconcile_at = o.cr.status.as_ref().and_then(|s| s.last_handled_reconcile_at.clone());
    }
    Step::Rest(Rest { status: Box::new(status), wake: Wake::Backoff(wait), events: Vec::new() })
}

/// A failure in a person's words, and how long to wait after it.
pub(super) fn problem(o: &Observed, trouble: &Trouble) -> (Problem, Duration) {
    let wait = match trouble.class {
        Class::Throttled(after) => o.backoff.max(after),
        _ => o.backoff,
    };
    let advice = advice(trouble.reason);
    let message = format!("{}{advice}; {}", trouble.message, next_try(o, wait));
    (Problem { reason: trouble.reason, message, stalled: trouble.class == Class::Invalid }, wait)
}

/// What a person can do about a failed call.
pub fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::Unauthorized => "; put a valid credential into the connection's Secret",
        Reason::Forbidden => "; give the connection's credential the rights to this secret",
        Reason::NotFound => "; check that the secret exists in this organization and that the credential may see it",
        _ => "",
    }
}

/// When the next try is, for a message.
pub(super) fn next_try(o: &Observed, wait: Duration) -> String {
    let at = o.now.checked_add(wait).unwrap_or(o.now);
    format!("next try at {}", at.strftime("%H:%M:%SZ"))
}

/// Acting is switched off: one status write says so. What was true of the version stays said as it was.
fn suspended(o: &Observed) -> Step {
    let mut status = status(&o.cr);
    let generation = o.cr.metadata.generation;
    status.observed_generation = generation;
    status.last_handled_reconcile_at = requested(&o.cr).map(str::to_owned);
    condition::clear(&mut status.conditions, kind::RECONCILING);
    condition::clear(&mut status.conditions, kind::STALLED);
    let message = "nothing is done until spec.suspend is removed";
    condition::set(&mut status.conditions, kind::SUSPENDED, true, Reason::Suspended, message, generation, o.now);
    Step::Rest(Rest { status: Box::new(status), wake: Wake::Refresh, events: Vec::new() })
}
