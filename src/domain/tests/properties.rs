//! What holds of every plan, whatever was observed: facts that fit together, and facts that never could.

use std::time::Duration;

use proptest::prelude::*;

use super::arbitrary::{observed, world};
use super::world::{End, World};
use crate::api::v1alpha1::{Origin, Permission, Record, SecretVersionStatus, VersionState};
use crate::domain::create::{INTENT_SCHEMA, is_open};
use crate::domain::decide::decide;
use crate::domain::observed::{Access, Fate, Link, NameFound, Observed, Owner, Sight, TargetSight};
use crate::domain::outcome::later;
use crate::domain::place::Place;
use crate::domain::projection::TargetView;
use crate::domain::step::{Effect, Event, Step, Wake};

/// Where the resource points to now.
fn place(o: &Observed) -> Option<String> {
    let Link::Ready(Access { url, organization_id, .. }) = &o.link else { return None };
    let remote = &o.cr.spec.remote_ref;
    let pinned = || o.cr.status.as_ref().and_then(|s| s.secret_id.clone());
    let found = || match &o.seen.name {
        Some(NameFound::One(id)) => Some(id.clone()),
        _ => None,
    };
    let secret_id = remote.secret_id.clone().or_else(pinned).or_else(found)?;
    let organization_id = remote.organization_id.clone().unwrap_or_else(|| organization_id.clone());
    Some(Place { url: url.clone(), organization_id, secret_id }.to_string())
}

fn history(o: &Observed) -> impl Iterator<Item = &Record> {
    o.cr.status.iter().flat_map(|s| &s.history)
}

/// Whether status says that this very resource created the version, where it points to now.
fn created_here(o: &Observed, id: &str) -> bool {
    let here = place(o);
    let own = |r: &Record| r.origin == Origin::Created && Some(&r.uid) == o.cr.metadata.uid.as_ref();
    history(o).any(|r| r.version_id == id && own(r) && Some(&r.place) == here.as_ref())
}

fn status_of(step: &Step) -> Option<(&SecretVersionStatus, &[Event])> {
    match step {
        Step::Do(Effect::WriteIntent { status, events } | Effect::WriteStatus { status, events }) => {
            Some((status, events))
        }
        Step::Rest(rest) => Some((&rest.status, &rest.events)),
        Step::Look(_) | Step::Do(_) => None,
    }
}

/// Whether nothing forbids this resource to create.
fn may_create(o: &Observed) -> bool {
    let permitted = matches!(&o.link, Link::Ready(access) if access.permission == Permission::ReadWrite);
    let acting = o.cr.metadata.deletion_timestamp.is_none() && o.cr.spec.suspend != Some(true);
    permitted && acting && o.cr.spec.value_from.is_some() && o.owner == Owner::This
}

/// A checked claim, in words.
type Claim = Result<(), TestCaseError>;

fn there_is_a_plan_and_only_one(o: &Observed, step: &Step) -> Claim {
    prop_assert_eq!(&decide(&o.clone()), step);
    Ok(())
}

fn only_what_status_says_was_created_here_is_deleted_or_deactivated(o: &Observed, step: &Step) -> Claim {
    match step {
        Step::Do(Effect::DeleteVersion { version_id }) => {
            prop_assert!(o.cr.metadata.deletion_timestamp.is_some());
            prop_assert!(created_here(o, version_id), "{version_id} is deleted");
            prop_assert!(!o.served_elsewhere.contains(version_id));
        }
        Step::Do(Effect::SetState { version_id, state: VersionState::Inactive }) if o.cr.spec.value_from.is_some() => {
            prop_assert!(created_here(o, version_id), "{version_id} is deactivated");
        }
        _ => {}
    }
    Ok(())
}

fn what_was_created_leaves_the_record_only_when_it_is_gone_or_with_a_word(o: &Observed, step: &Step) -> Claim {
    if let Some((status, events)) = status_of(step) {
        let kept = |id: &str| status.history.iter().any(|r| r.version_id == id);
        for id in history(o).map(|r| &r.version_id).filter(|id| created_here(o, id) && !kept(id)) {
            let gone = o.memory.gone.contains(id) || o.seen.deleted.contains(id);
            prop_assert!(gone || events.iter().any(|e| e.note.contains(id)), "{id} is forgotten");
        }
    }
    Ok(())
}

fn a_target_is_only_ever_written_with_a_value_that_the_remote_served(o: &Observed, step: &Step) -> Claim {
    match step {
        Step::Do(Effect::WriteTarget { version_id, .. }) => {
            let seen = o.seen.target_of(version_id);
            prop_assert!(matches!(seen, Some(TargetSight::Absent | TargetSight::Differs(_))), "{seen:?}");
        }
        Step::Do(Effect::RemoveTarget { name, .. }) => {
            prop_assert!(name != TargetView::of(&o.cr).name(), "the target itself is removed");
            let seen = o.seen.target.as_ref().map(|(_, sight)| sight);
            prop_assert!(matches!(seen, Some(TargetSight::Matches(_))), "before its successor holds the value");
        }
        _ => {}
    }
    Ok(())
}

fn nothing_is_sent_without_a_durable_intent(o: &Observed, step: &Step) -> Claim {
    if let Step::Do(Effect::CreateVersion { intent: id }) = step {
        let status = o.cr.status.clone().unwrap_or_default();
        prop_assert!(is_open(&status) && may_create(o));
        let intent = status.create.as_ref();
        prop_assert!(intent.is_some_and(|i| i.id == *id && i.schema <= INTENT_SCHEMA));
        prop_assert_eq!(intent.map(|i| &i.uid), o.cr.metadata.uid.as_ref());
        prop_assert_eq!(intent.map(|i| i.place.clone()), place(o));
        // Written by this very pass, and not sent in it yet.
        prop_assert_eq!(o.memory.intent.as_ref(), Some(&(id.clone(), Fate::Fresh)));
        prop_assert_eq!(o.seen.sent_under(id), None);
    }
    Ok(())
}

fn no_intent_is_written_while_an_earlier_one_may_have_come_true(o: &Observed, step: &Step) -> Claim {
    if let Step::Do(Effect::WriteIntent { status, .. }) = step {
        prop_assert!(o.live && may_create(o));
        prop_assert_eq!(status.create.as_ref().map(|intent| intent.id.as_str()), Some("intent-new"));
        let listed = o.seen.versions.as_ref().filter(|versions| versions.values);
        prop_assert!(listed.is_some(), "no list with values");
        let here = place(o);
        let before = o.cr.status.as_ref().filter(|s| is_open(s)).and_then(|s| s.create.as_ref());
        let own = before.filter(|i| Some(&i.uid) == o.cr.metadata.uid.as_ref() && Some(&i.place) == here.as_ref());
        for (intent, version) in
            own.into_iter().flat_map(|i| listed.iter().flat_map(move |l| l.all.iter().map(move |v| (i, v))))
        {
            let may_be = later(version, &intent.baseline) && version.is_intent != Sight::Different;
            let recorded = history(o).any(|r| r.version_id == version.id);
            prop_assert!(recorded || !may_be, "{} may be its outcome", version.id);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_keeps_what_is_promised(o in observed()) {
        let step = decide(&o);
        there_is_a_plan_and_only_one(&o, &step)?;
        only_what_status_says_was_created_here_is_deleted_or_deactivated(&o, &step)?;
        what_was_created_leaves_the_record_only_when_it_is_gone_or_with_a_word(&o, &step)?;
        a_target_is_only_ever_written_with_a_value_that_the_remote_served(&o, &step)?;
        nothing_is_sent_without_a_durable_intent(&o, &step)?;
        no_intent_is_written_while_an_earlier_one_may_have_come_true(&o, &step)?;
    }

    #[test]
    fn the_order_in_which_things_are_listed_does_not_matter((one, other) in shuffled()) {
        prop_assert_eq!(unordered(decide(&one)), unordered(decide(&other)));
    }
}

proptest! {
    #[test]
    fn a_plan_applied_to_its_own_result_is_empty(mut world in world()) {
        world.settle_for(Duration::from_mins(15));
        // A condition that was edited into status is believed until then.
        world.refresh_due = true;
        world.settle_for(Duration::from_mins(15));
        let end = world.pass();
        let done = |world: &World| (world.effects.clone(), world.kube_writes, world.events.clone(), world.status());
        let before = done(&world);
        prop_assert_eq!(world.pass(), end.clone());
        prop_assert_eq!(done(&world), before.clone());
        // A create under way is found out about anew by every process.
        if end == End::Rest(Wake::Refresh) && !is_open(&world.status()) {
            world.restart();
            world.refresh_due = true;
            world.pass();
            prop_assert_eq!((world.effects, world.kube_writes), (before.0, before.1));
        }
    }
}

/// An observation, and the same with everything listed in another order.
fn shuffled() -> BoxedStrategy<(Observed, Observed)> {
    observed()
        .prop_map(distinct)
        .prop_flat_map(|o| {
            let versions = o.seen.versions.clone().map(|v| v.all).unwrap_or_default();
            let conditions = o.cr.status.clone().map(|s| s.conditions).unwrap_or_default();
            let data = o.cr.spec.target.clone().map(|t| t.data).unwrap_or_default();
            let finalizers = o.cr.metadata.finalizers.clone().unwrap_or_default();
            let orders = (
                Just(versions).prop_shuffle(),
                Just(conditions).prop_shuffle(),
                Just(data).prop_shuffle(),
                Just(finalizers).prop_shuffle(),
            );
            (Just(o), orders).prop_map(|(one, (versions, conditions, data, finalizers))| {
                let mut other = one.clone();
                other.seen.versions.iter_mut().for_each(|v| v.all.clone_from(&versions));
                other.cr.status.iter_mut().for_each(|s| s.conditions.clone_from(&conditions));
                other.cr.spec.target.iter_mut().for_each(|t| t.data.clone_from(&data));
                other.cr.metadata.finalizers.iter_mut().for_each(|f| f.clone_from(&finalizers));
                (one, other)
            })
        })
        .boxed()
}

/// No two versions of one secret have the same id or number.
fn distinct(mut o: Observed) -> Observed {
    if let Some(versions) = &mut o.seen.versions {
        versions.all.sort_by(|a, b| a.id.cmp(&b.id));
        versions.all.dedup_by(|a, b| a.id == b.id);
        versions.all.sort_by_key(|v| v.number);
        versions.all.dedup_by_key(|v| v.number);
    }
    o
}

/// The step without the order of conditions and Events, or of what a text lists.
fn unordered(mut step: Step) -> Step {
    fn text(text: &mut String) {
        let mut words: Vec<&str> = text.split([' ', ',', ';']).collect();
        words.sort_unstable();
        *text = words.join(" ");
    }
    let (status, events) = match &mut step {
        Step::Do(Effect::WriteIntent { status, events } | Effect::WriteStatus { status, events }) => {
            (Some(status), Some(events))
        }
        Step::Do(Effect::RemoveFinalizer { events }) => (None, Some(events)),
        Step::Rest(rest) => (Some(&mut rest.status), Some(&mut rest.events)),
        Step::Look(_) | Step::Do(_) => (None, None),
    };
    if let Some(status) = status {
        status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        status.conditions.iter_mut().for_each(|c| text(&mut c.message));
    }
    if let Some(events) = events {
        for event in events.iter_mut() {
            text(&mut event.note);
        }
        events.sort_by(|a, b| a.note.cmp(&b.note));
    }
    step
}
