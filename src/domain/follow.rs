//! Observed resources: follow a version that somebody else made. Nothing is ever created or deleted.

use crate::api::v1alpha1::{Origin, Permission, SecretVersion, VersionRef, VersionState};

use super::condition::Problem;
use super::decide::{forced, rest_remote, status, target_unmoved, was_ready};
use super::hold;
use super::observed::{Access, Observed, Version};
use super::place::Place;
use super::reason::Reason;
use super::step::{Effect, Look, Rest, Step, Wake};

/// The next step for an observed resource in its place.
pub(super) fn decide(o: &Observed, access: &Access, place: &Place) -> Step {
    if o.cr.spec.state.is_some() && access.permission < Permission::ReadWrite {
        let message = "the connection lets this namespace read only, so spec.state cannot be held; remove it, or have an access \
                       rule with permission ReadWrite added";
        return rest_remote(o, Problem::passing(Reason::ReadOnly, message));
    }
    if was_ready(o) && !forced(o) && !o.refresh_due && target_unmoved(o) {
        return Step::Rest(Rest { status: Box::new(status(&o.cr)), wake: Wake::Refresh, events: Vec::new() });
    }
    let Some(wanted) = &o.cr.spec.version_ref else {
        let message = "the spec has neither valueFrom nor versionRef; set one";
        return rest_remote(o, Problem::stalled(Reason::InvalidResource, message));
    };
    let version = match find(o, wanted) {
        Ok(version) => version,
        Err(step) => return *step,
    };
    if let Some(state) = o.cr.spec.state.filter(|state| *state != version.state) {
        if !o.live {
            return Step::Look(Look::Live);
        }
        return Step::Do(Effect::SetState { version_id: version.id.clone(), state });
    }
    let mut next = status(&o.cr);
    next.url = Some(place.url.clone());
    next.organization_id = Some(place.organization_id.clone());
    next.secret_id = Some(place.secret_id.clone());
    next.origin = Some(Origin::Observed);
    let before = next.clone();
    hold::note_version(&mut next, version);
    let step = hold::target(o, &version.id, Some(version), &mut next);
    let target = match step {
        Ok(target) => target,
        Err(step) => return *step,
    };
    if target.is_some() {
        // Status names the version whose value the target holds, so that the new one is not taken for delivered.
        (next.version_id, next.version) = (before.version_id, before.version);
        (next.state, next.updated_at) = (before.state, before.updated_at);
    }
    let verdict = hold::verdict(o, &next, None, target);
    super::decide::rest(o, next, &verdict, Vec::new())
}

/// The version that is referred to, or the step that leads to it.
fn find<'a>(o: &'a Observed, wanted: &VersionRef) -> Result<&'a Version, Box<Step>> {
    if let Some(id) = &wanted.id {
        return match o.seen.version.get(id) {
            None => Err(Box::new(Step::Look(Look::Version { id: id.clone() }))),
            Some(Some(version)) => Ok(version),
            Some(None) => Err(Box::new(not_found(o, &format!("the remote has no version {id}")))),
        };
    }
    let Some(versions) = &o.seen.versions else {
        return Err(Box::new(Step::Look(Look::Versions { values: false })));
    };
    match (chosen(wanted, &versions.all), wanted.number) {
        (Some(version), _) => Ok(version),
        (None, Some(number)) => Err(Box::new(not_found(o, &format!("the remote has no version number {number}")))),
        (None, None) => {
            let message =
                "no version of the secret is active; activate one at the remote (what was written before stays)";
            Err(Box::new(rest_remote(o, Problem::passing(Reason::NoActiveVersion, message))))
        }
    }
}

/// The version of a list that may not have all of them by which an observed resource can go: what it refers to, where that is no
/// older than what it serves.
pub fn followed<'a>(cr: &SecretVersion, listed: &'a [Version]) -> Option<&'a Version> {
    let served = cr.status.as_ref().and_then(|s| s.version).unwrap_or_default();
    chosen(cr.spec.version_ref.as_ref()?, listed).filter(|version| version.number >= served)
}

/// The version of a list that is referred to.
pub(super) fn chosen<'a>(wanted: &VersionRef, all: &'a [Version]) -> Option<&'a Version> {
    match (&wanted.id, wanted.number) {
        (Some(id), _) => all.iter().find(|v| v.id == *id),
        (None, Some(number)) => all.iter().find(|v| v.number == number),
        (None, None) => all.iter().filter(|v| v.state == VersionState::Active).max_by_key(|v| v.number),
    }
}

fn not_found(o: &Observed, what: &str) -> Step {
    let message = format!("{what}; correct versionRef, or create it (what was written before stays)");
    rest_remote(o, Problem::passing(Reason::VersionNotFound, message))
}
