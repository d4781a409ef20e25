//! Managed resources: has the source changed? Then create; else hold what is recorded.

use crate::api::v1alpha1::{ObjectSeen, Permission};

use super::condition::Problem;
use super::decide::{forced, rest_remote, status, target_unmoved, was_ready};
use super::observed::{Access, Meta, Observed, Owner, Sight, Source};
use super::place::Place;
use super::reason::Reason;
use super::step::{Look, Rest, Step, Wake};
use super::{create, hold, twins};

/// The next step for a managed resource in its place.
pub(super) fn decide(o: &Observed, access: &Access, place: &Place) -> Step {
    if access.permission < Permission::ReadWrite {
        let message =
            "the connection lets this namespace read only; have an access rule with permission ReadWrite added";
        return rest_remote(o, Problem::passing(Reason::ReadOnly, message));
    }
    if let Owner::Other(name) = &o.owner {
        let message =
            format!("{name} manages this remote secret already; only one resource can, so delete one of the two");
        return rest_remote(o, Problem::stalled(Reason::SecretClaimed, message));
    }
    if let Some(intent) = create::open_intent(o, place) {
        return create::resume(o, access, place, intent);
    }
    // What a list has shown in this pass is judged before the pass ends.
    if quiet(o) && twins::unjudged(o).is_empty() {
        return Step::Rest(Rest { status: Box::new(status(&o.cr)), wake: Wake::Refresh, events: Vec::new() });
    }
    let nothing_carried_through = o.cr.status.as_ref().is_none_or(|s| s.digest.is_none());
    if nothing_carried_through || !source_unmoved(o) || o.seen.source.is_some() {
        if !o.live {
            return Step::Look(Look::Live);
        }
        return match &o.seen.source {
            None => Step::Look(Look::Source),
            Some(Source::Bytes { is_last, .. }) => match changed(o, *is_last) {
                Ok(true) => create::begin(o, access, place),
                Ok(false) => hold::decide(o, access, None),
                Err(step) => *step,
            },
            Some(other) => hold::decide(o, access, source_problem(other)),
        };
    }
    hold::decide(o, access, None)
}

/// Whether the source's bytes differ from those of the last change that was carried through. Where the digest cannot
/// tell, the recorded version's own bytes do.
fn changed(o: &Observed, is_last: Sight) -> Result<bool, Box<Step>> {
    let recorded = o.cr.status.as_ref().and_then(|s| s.version_id.as_deref());
    match (is_last, recorded) {
        (Sight::Equal, _) => Ok(false),
        (Sight::Different, _) | (Sight::Unknown, None) => Ok(true),
        (Sight::Unknown, Some(id)) => {
            let Some(versions) = o.seen.versions.as_ref().filter(|v| v.values) else {
                return Err(Box::new(Step::Look(Look::Versions { values: true })));
            };
            match versions.all.iter().find(|v| v.id == id).map(|v| v.is_source) {
                Some(Sight::Equal) => Ok(false),
                Some(Sight::Different) => Ok(true),
                Some(Sight::Unknown) | None => Err(Box::new(rest_remote(
                    o,
                    Problem::stalled(
                        Reason::DigestUnknown,
                        "the digest key was replaced and the remote does not serve the recorded version, so nothing can \
                         tell whether the source changed; restore the key's Secret",
                    ),
                ))),
            }
        }
    }
}

/// Whether everything is as it was when all was well, so that nothing need be read or written.
fn quiet(o: &Observed) -> bool {
    was_ready(o) && !forced(o) && !o.refresh_due && source_unmoved(o) && target_unmoved(o)
}

/// Whether the source is as it was when its bytes were last read.
fn source_unmoved(o: &Observed) -> bool {
    let recorded: Option<&ObjectSeen> = o.cr.status.as_ref().and_then(|s| s.source.as_ref());
    match o.source_meta {
        // Without a watch the source is read at each refresh and whenever something else is amiss.
        Meta::NotWatched => was_ready(o) && !forced(o) && !o.refresh_due,
        // Another spec may name another key of the same Secret, so only a pass that was well under this spec proves it.
        _ => was_ready(o) && (o.source_meta.is(recorded) || o.source_meta.is(o.memory.source_checked.as_ref())),
    }
}

/// What is wrong with a source that gave no bytes.
pub(super) fn source_problem(source: &Source) -> Option<Problem> {
    let passing = |reason, message: &str| Some(Problem::passing(reason, message));
    match source {
        Source::Bytes { .. } => None,
        Source::NotFound => passing(
            Reason::SourceNotFound,
            "the source Secret does not exist; create it (what was written before stays)",
        ),
        Source::KeyNotFound => passing(
            Reason::SourceKeyNotFound,
            "the source Secret lacks the key of valueFrom; add it (what was written before stays)",
        ),
        Source::Empty => {
            passing(Reason::SourceEmpty, "the source's value is empty; set it (what was written before stays)")
        }
        Source::Refused(why) => Some(Problem::stalled(
            Reason::SourceRefused,
            format!("the source Secret may not be sent to the remote: {why}; name another source"),
        )),
    }
}
