//! Deletion: what was created goes by its policy, nothing else is touched, and there is a way out.

use std::time::Duration;

use serde_json::json;

use super::world::{Crash, End, Post, World, access};
use crate::api::v1alpha1::{DeletionPolicy, Permission, VersionState};
use crate::domain::decide::decide;
use crate::domain::observed::{Access, Link};
use crate::domain::reason::Reason;
use crate::domain::step::{Effect, Step};

/// Two versions of ours around one of somebody else's.
fn mixed(policy: &str) -> World {
    let mut world = World::managed(&json!({"deletionPolicy": policy}));
    world.settle();
    world.make("theirs");
    world.edit_source("b");
    world.settle();
    assert_eq!(world.values(), ["a", "theirs", "b"]);
    world
}

fn states(world: &World) -> Vec<(&str, VersionState)> {
    world.remote.iter().map(|v| (v.value.as_str(), v.state)).collect()
}

#[test]
fn each_policy_touches_only_what_was_created() {
    use VersionState::{Active, Inactive};
    for (policy, expected) in [
        ("Delete", vec![("theirs", Active)]),
        ("Deactivate", vec![("a", Inactive), ("theirs", Active), ("b", Inactive)]),
        ("Retain", vec![("a", Active), ("theirs", Active), ("b", Active)]),
    ] {
        let mut world = mixed(policy);
        world.delete();
        world.settle();
        assert!(!world.exists);
        assert_eq!(states(&world), expected, "{policy}");
    }
}

#[test]
fn a_crash_at_any_effect_of_a_deletion_ends_the_same() {
    let begin = mixed("Delete").effects.len();
    for at in begin..begin + 3 {
        for after in [false, true] {
            let mut world = mixed("Delete");
            world.delete();
            world.crash = Some(Crash { at, after });
            world.settle();
            assert!(!world.exists);
            assert_eq!(world.values(), ["theirs"]);
        }
    }
}

#[test]
fn an_open_create_is_found_before_anything_goes() {
    for (post, expected) in [(Post::LostAfter, 0), (Post::LostBefore, 0), (Post::Late(Duration::from_mins(1)), 0)] {
        let mut world = World::managed(&json!({}));
        world.post = post;
        world.crash = Some(Crash { at: 2, after: true });
        assert_eq!(world.pass(), End::Crashed);
        world.restart();
        world.delete();
        world.settle();
        assert!(!world.exists);
        world.advance(Duration::from_mins(10));
        assert_eq!(world.values().len(), expected, "{post:?}");
    }
}

#[test]
fn what_cannot_be_compared_keeps_a_resource_until_it_can() {
    let mut world = World::managed(&json!({}));
    world.post = Post::LostAfter;
    world.crash = Some(Crash { at: 2, after: true });
    world.pass();
    world.restart();
    world.make("theirs");
    world.remote.iter_mut().for_each(|v| v.served = false);
    world.delete();
    world.settle_for(Duration::from_hours(1));
    let message = world.message();
    assert_eq!((world.exists, world.reason().as_str(), world.values().len()), (true, "AmbiguousCreate", 2));
    assert!(message.contains("v1, v2") && message.contains("readable"), "{message}");
    world.remote.iter_mut().for_each(|v| v.served = true);
    world.settle();
    assert_eq!((world.exists, world.values()), (false, vec!["theirs"]));
}

#[test]
fn what_a_newer_operator_meant_is_left_to_it() {
    let mut world = World::managed(&json!({}));
    world.settle();
    let status = world.cr.status.as_mut().unwrap();
    let intent = status.create.as_mut().unwrap();
    (intent.schema, intent.id) = (2, "another".into());
    world.edit_source("b");
    for deleting in [false, true] {
        if deleting {
            world.delete();
        }
        world.pass();
        assert_eq!(world.reason(), "AmbiguousCreate");
        assert!(world.exists);
        assert_eq!(world.values(), ["a"]);
    }
}

#[test]
fn what_another_resource_serves_is_kept_and_told() {
    let mut world = mixed("Delete");
    world.served_elsewhere.insert("v1".into());
    world.delete();
    world.settle();
    assert_eq!(world.values(), ["a", "theirs"]);
    assert!(world.events.iter().any(|e| e.reason == Reason::VersionInUse));
}

#[test]
fn a_blocked_deletion_says_how_to_let_go_and_does() {
    let mut world = mixed("Delete");
    world.link = Link::NotReady { reason: Reason::CredentialNotFound, message: "gone".into() };
    world.delete();
    world.pass();
    assert!(world.message().contains("Retain"), "{}", world.message());
    world.edit_spec(|cr| cr.spec.deletion_policy = Some(DeletionPolicy::Retain));
    world.settle();
    assert!(!world.exists);
    assert_eq!(world.values().len(), 3);
    assert!(world.events.iter().any(|e| e.reason == Reason::VersionsRetained && e.note.contains("v1")));
}

#[test]
fn revoked_access_and_suspension_let_go_and_name_what_stays() {
    let mut revoked = mixed("Delete");
    revoked.link = Link::NotFound { revoked: true };
    let mut read_only = mixed("Delete");
    read_only.link = Link::Ready(Access { permission: Permission::Read, ..access() });
    let mut suspended = mixed("Delete");
    suspended.edit_spec(|cr| cr.spec.suspend = Some(true));
    for mut world in [revoked, read_only, suspended] {
        world.delete();
        world.settle();
        assert!(!world.exists);
        assert_eq!(world.values().len(), 3);
        assert!(world.events.iter().any(|e| e.reason == Reason::VersionsRetained));
    }
}

#[test]
fn what_the_original_created_is_not_the_copys_to_delete() {
    let mut copy = mixed("Delete");
    copy.cr.metadata.uid = Some("the copy's".into());
    copy.delete();
    copy.settle();
    assert_eq!((copy.exists, copy.values().len()), (false, 3));
}

#[test]
fn a_lost_status_lets_go_after_a_grace_and_names_what_the_remote_holds() {
    let mut world = mixed("Delete");
    world.cr.status = None;
    world.delete();
    let began = world.now;
    world.settle();
    assert_eq!((world.exists, world.values().len()), (false, 3));
    assert!(world.since(began) >= Duration::from_secs(95));
    let told = world.events.iter().find(|e| e.reason == Reason::StatusLost).expect("it is told");
    assert!(told.warning && told.note.contains("v1, v2, v3"), "{}", told.note);
}

#[test]
fn what_was_never_used_goes_at_once() {
    let mut world = World::managed(&json!({}));
    world.crash = Some(Crash { at: 0, after: true });
    world.pass();
    (world.crash, world.looks) = (None, Vec::new());
    world.delete();
    assert_eq!((world.pass(), world.looks.len()), (End::Removed, 0), "it has nothing to look for");
}

#[test]
fn a_namespace_is_let_go_once_its_credential_has_been_gone_for_ten_minutes() {
    const MINUTES: u64 = 60;
    for (terminating, gone_for, goes) in [
        (true, Some(10 * MINUTES), true),
        (true, Some(10 * MINUTES - 1), false),
        (true, None, false),
        (false, Some(100 * MINUTES), false),
    ] {
        let mut world = mixed("Delete");
        world.link = Link::NotReady { reason: Reason::CredentialNotFound, message: "gone".into() };
        world.delete();
        let mut observed = world.observe();
        observed.namespace_terminating = terminating;
        observed.memory.unreachable_for = gone_for.map(Duration::from_secs);
        let step = decide(&observed);
        assert_eq!(matches!(step, Step::Do(Effect::RemoveFinalizer { .. })), goes, "{terminating} {gone_for:?}");
    }
}

#[test]
fn what_another_place_holds_is_not_looked_for_here() {
    // An administrator took the place out of status, and the connection was pointed elsewhere: its record still says where.
    let mut world = mixed("Delete");
    let status = world.cr.status.as_mut().unwrap();
    status.url = None;
    status.history.iter_mut().for_each(|r| r.place = "https://before/1/2".into());
    let mut alive = mixed("Delete");
    alive.cr.status.clone_from(&world.cr.status);
    alive.edit_source("c");
    alive.pass();
    assert_eq!((alive.reason().as_str(), alive.values().len()), ("PlaceChanged", 3));
    world.delete();
    world.pass();
    assert_eq!((world.reason().as_str(), world.values().len()), ("PlaceChanged", 3));
    world.edit_spec(|cr| cr.spec.deletion_policy = Some(DeletionPolicy::Retain));
    world.settle();
    assert!(!world.exists);
    assert!(world.events.iter().any(|e| e.reason == Reason::VersionsRetained && e.note.contains("v1")));
}

#[test]
fn where_nothing_says_which_secret_it_was_what_stays_is_named() {
    let mut world = mixed("Delete");
    (world.cr.spec.remote_ref.secret_id, world.cr.spec.remote_ref.secret_name) = (None, Some("db".into()));
    world.cr.status.as_mut().unwrap().secret_id = None;
    world.delete();
    world.settle();
    assert_eq!((world.exists, world.values().len()), (false, 3));
    assert!(world.events.iter().any(|e| e.reason == Reason::VersionsRetained && e.note.contains("v3")));
}

#[test]
fn a_connection_that_does_not_exist_blocks_rather_than_leaks() {
    let mut world = mixed("Delete");
    world.link = Link::NotFound { revoked: false };
    world.delete();
    world.pass();
    assert!(world.exists);
    assert_eq!(world.reason(), "ConnectionNotFound");
}

#[test]
fn a_policy_that_comes_to_need_clean_up_brings_the_finalizer() {
    let mut world = World::managed(&json!({"deletionPolicy": "Retain"}));
    world.settle();
    assert_eq!(world.count("add_finalizer"), 0);
    world.edit_spec(|cr| cr.spec.deletion_policy = None);
    world.settle();
    assert_eq!((world.count("add_finalizer"), world.ready()), (1, true));
    world.delete();
    world.settle();
    assert_eq!((world.exists, world.values().len()), (false, 0));
}

#[test]
fn versions_deleted_by_somebody_else_do_not_block() {
    let mut world = mixed("Delete");
    world.remote.retain(|v| v.value == "theirs");
    world.delete();
    world.settle();
    assert!(!world.exists);
    assert_eq!(world.values(), ["theirs"]);
}
