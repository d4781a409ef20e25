//! What is said when a look or an effect fails: on the side that failed, with what to do and when the next try is.

use std::time::Duration;

use serde_json::json;

use super::world::{World, access};
use crate::api::v1alpha1::SecretVersionStatus;
use crate::domain::class::Class;
use crate::domain::condition::get;
use crate::domain::decide::decide;
use crate::domain::observed::{Access, Link, NameFound, Observed, Owner, Side, Trouble};
use crate::domain::reason::Reason;
use crate::domain::step::{Rest, Step, Wake};

const BACKOFF: Duration = Duration::from_secs(10);

fn synced() -> World {
    let mut world = World::managed(&json!({}));
    world.settle();
    world
}

fn failed(side: Side, class: Class, reason: Reason) -> Observed {
    let mut observed = synced().observe();
    observed.seen.trouble = Some(Trouble { side, class, reason, message: "it failed".into() });
    observed
}

fn rest(observed: &Observed) -> Rest {
    match decide(observed) {
        Step::Rest(rest) => rest,
        step => panic!("it does not rest: {step:?}"),
    }
}

/// A condition's status and reason.
fn said<'a>(status: &'a SecretVersionStatus, kind: &str) -> (&'a str, &'a str) {
    get(&status.conditions, kind).map_or(("", ""), |c| (c.status.as_str(), c.reason.as_str()))
}

#[test]
fn a_failure_is_said_of_its_side_alone() {
    for (side, failed_kind, other) in
        [(Side::Remote, "RemoteSynced", "TargetSynced"), (Side::Target, "TargetSynced", "RemoteSynced")]
    {
        let rest = rest(&failed(side, Class::Transient, Reason::KubernetesUnavailable));
        assert_eq!(said(&rest.status, failed_kind), ("False", "KubernetesUnavailable"), "{side:?}");
        assert_eq!(said(&rest.status, other), ("True", "Synced"), "{side:?}");
        assert_eq!(said(&rest.status, "Ready"), ("False", "KubernetesUnavailable"), "{side:?}");
    }
}

#[test]
fn only_what_a_person_must_mend_stalls() {
    let throttled = |seconds| Class::Throttled(Duration::from_secs(seconds));
    for (class, also, wait) in [
        (Class::Transient, "Reconciling", 10),
        (Class::Denied, "Reconciling", 10),
        (Class::Conflict, "Reconciling", 10),
        (Class::Bug, "Reconciling", 10),
        (Class::Invalid, "Stalled", 10),
        // Patience that is asked for is given, and never less than the backoff.
        (throttled(60), "Reconciling", 60),
        (throttled(1), "Reconciling", 10),
    ] {
        let rest = rest(&failed(Side::Remote, class, Reason::RemoteUnavailable));
        assert_eq!(said(&rest.status, also).0, "True", "{class:?}");
        assert_eq!(rest.wake, Wake::Backoff(Duration::from_secs(wait)), "{class:?}");
    }
}

#[test]
fn a_message_says_what_happened_what_to_do_and_when_the_next_try_is() {
    for (reason, advice) in [
        (Reason::Unauthorized, "it failed; put a valid credential into the connection's Secret; next try at 01:46:50Z"),
        (
            Reason::Forbidden,
            "it failed; give the connection's credential the rights to this secret; next try at 01:46:50Z",
        ),
        (
            Reason::NotFound,
            "it failed; check that the secret exists in this organization and that the credential may see it; next try at \
             01:46:50Z",
        ),
        (Reason::RemoteUnavailable, "it failed; next try at 01:46:50Z"),
    ] {
        let rest = rest(&failed(Side::Remote, Class::Denied, reason));
        assert_eq!(get(&rest.status.conditions, "Ready").map(|c| c.message.as_str()), Some(advice));
    }
}

#[test]
fn no_failure_at_the_remote_makes_the_target_better_or_worse() {
    let elsewhere = Access { url: "https://elsewhere".into(), ..access() };
    let not_ready = Link::NotReady { reason: Reason::CredentialNotFound, message: "m".into() };
    for (before, reason) in [("True", "Synced"), ("False", "TargetConflict"), ("False", "OfAnotherOperator")] {
        let mut world = synced();
        for condition in
            world.cr.status.iter_mut().flat_map(|s| &mut s.conditions).filter(|c| c.type_ == "TargetSynced")
        {
            (condition.status, condition.reason) = (before.into(), reason.into());
            condition.message = "what was said".into();
        }
        let unreachable = Observed { link: not_ready.clone(), ..world.observe() };
        let moved = Observed { link: Link::Ready(elsewhere.clone()), ..world.observe() };
        let mut failed = world.observe();
        failed.seen.trouble = Some(Trouble {
            side: Side::Remote,
            class: Class::Transient,
            reason: Reason::RemoteUnavailable,
            message: "m".into(),
        });
        world.delete();
        let deleting = Observed { link: not_ready.clone(), ..world.observe() };
        for observed in [unreachable, moved, failed, deleting] {
            let rest = rest(&observed);
            let target = get(&rest.status.conditions, "TargetSynced").unwrap();
            let (status, expected) = match (before, reason) {
                ("True", _) => ("True", "Synced"),
                // One that this operator does not know is not passed on.
                (_, "OfAnotherOperator") => ("False", "Progressing"),
                known => known,
            };
            assert_eq!((target.status.as_str(), target.reason.as_str()), (status, expected));
            assert!(before == "True" || target.message == "what was said");
        }
    }
    let mut new = World::managed(&json!({}));
    new.link = not_ready;
    assert_eq!(said(&rest(&new.observe()).status, "TargetSynced"), ("False", "Progressing"));
}

#[test]
fn what_only_others_can_mend_is_looked_at_again_by_backoff_and_what_a_person_must_edit_at_the_refresh() {
    let mut passing = World::managed(&json!({}));
    passing.source = None;
    passing.pass();
    let mut stalled = World::managed(&json!({}));
    stalled.owner = Owner::Other("ns/first".into());
    for (mut world, reason, wake) in
        [(passing, "SourceNotFound", Wake::Backoff(BACKOFF)), (stalled, "SecretClaimed", Wake::Refresh)]
    {
        assert_eq!(world.pass(), super::world::End::Rest(wake));
        assert_eq!(world.reason(), reason);
    }
}

#[test]
fn a_name_that_leads_to_one_secret_is_looked_up_once() {
    let named = || {
        let mut world = World::managed(&json!({}));
        (world.cr.spec.remote_ref.secret_id, world.cr.spec.remote_ref.secret_name) = (None, Some("db".into()));
        world
    };
    for (found, reason, words) in [
        (NameFound::None, "SecretNotFound", "\"db\""),
        (NameFound::Several(vec!["2".into(), "3".into()]), "AmbiguousName", "2, 3"),
        (NameFound::Denied, "NameResolutionDenied", "secretId"),
    ] {
        let mut world = named();
        world.name = found;
        world.pass();
        assert_eq!((world.reason().as_str(), world.effects.len()), (reason, 0));
        assert!(world.message().contains(words), "{}", world.message());
    }
    let mut world = named();
    world.settle();
    assert_eq!((world.ready(), world.status().secret_id.as_deref()), (true, Some(super::world::SECRET)));
    world.edit_source("b");
    assert!(!world.looks_of_a_pass().contains(&"name"), "what was found stays, whatever is named so later");
}

#[test]
fn a_connection_of_the_cluster_serves_its_own_organization_only() {
    for (cluster, organization, reason) in
        [(true, "9", "OrganizationNotAllowed"), (true, super::world::ORGANIZATION, "Synced"), (false, "9", "Synced")]
    {
        let mut world = World::managed(&json!({}));
        world.link = Link::Ready(Access { cluster, ..access() });
        world.cr.spec.remote_ref.organization_id = Some(organization.into());
        world.pass();
        assert_eq!(world.reason(), reason, "{cluster} {organization}");
    }
}
