//! Observed resources: what they follow, and that they never create or delete.

use serde_json::json;

use super::world::World;
use crate::api::v1alpha1::{Origin, Permission, VersionState};
use crate::domain::observed::Link;

fn two_versions(spec: &serde_json::Value) -> World {
    let mut world = World::observed(spec);
    world.make("one");
    world.make("two");
    world
}

#[test]
fn each_way_to_refer_finds_its_version_with_two_writes() {
    for (reference, expected) in
        [(json!({"id": "v1"}), "one"), (json!({"number": 2}), "two"), (json!({"latest": "Active"}), "two")]
    {
        let mut world = two_versions(&json!({"versionRef": reference}));
        world.settle();
        assert_eq!((world.target_value(), world.ready()), (Some(expected), true), "{reference}");
        assert_eq!(world.status().origin, Some(Origin::Observed));
        assert_eq!((world.kube_writes, world.effects.clone()), (2, vec!["write_target".to_owned()]));
    }
}

#[test]
fn the_newest_active_version_is_followed_as_it_moves() {
    let mut world = two_versions(&json!({"versionRef": {"latest": "Active"}}));
    world.settle();
    world.make("three");
    world.refresh_due = true;
    world.settle();
    assert_eq!((world.target_value(), world.status().version), (Some("three"), Some(3)));
    world.remote[2].state = VersionState::Inactive;
    world.refresh_due = true;
    world.settle();
    assert_eq!(world.target_value(), Some("two"));
}

#[test]
fn what_is_missing_says_so_and_the_last_value_stays() {
    let mut world = two_versions(&json!({"versionRef": {"latest": "Active"}}));
    world.settle();
    for version in &mut world.remote {
        version.state = VersionState::Inactive;
    }
    world.refresh_due = true;
    world.pass();
    assert_eq!((world.reason().as_str(), world.target_value()), ("NoActiveVersion", Some("two")));
    for reference in [json!({"id": "v9"}), json!({"number": 9})] {
        let mut world = two_versions(&json!({"versionRef": reference}));
        world.pass();
        assert_eq!((world.reason().as_str(), world.target_value()), ("VersionNotFound", None));
    }
}

#[test]
fn a_value_that_is_not_served_leaves_target_and_recorded_version_as_they_were() {
    let mut world = two_versions(&json!({"versionRef": {"latest": "Active"}}));
    world.settle();
    world.make("three");
    world.remote[2].served = false;
    world.refresh_due = true;
    world.pass();
    assert_eq!((world.reason().as_str(), world.target_value()), ("ValueNotServed", Some("two")));
    assert_eq!(world.status().version, Some(2), "status names what the target holds");
    world.remote[2].served = true;
    world.settle();
    assert_eq!((world.target_value(), world.status().version), (Some("three"), Some(3)));
}

#[test]
fn a_state_is_held_only_with_the_right_to_write() {
    let mut world = two_versions(&json!({"versionRef": {"id": "v1"}, "state": "Inactive"}));
    world.settle();
    assert_eq!((world.remote[0].state, world.ready()), (VersionState::Inactive, true));
    let mut access = super::world::access();
    access.permission = Permission::Read;
    let mut world = two_versions(&json!({"versionRef": {"id": "v1"}, "state": "Inactive"}));
    world.link = Link::Ready(access);
    world.pass();
    assert_eq!((world.reason().as_str(), world.remote[0].state), ("ReadOnly", VersionState::Active));
}

#[test]
fn it_goes_without_a_finalizer_and_leaves_the_remote_alone() {
    let mut world = two_versions(&json!({"versionRef": {"id": "v1"}}));
    world.settle();
    world.delete();
    assert!(!world.exists);
    assert_eq!(world.values(), ["one", "two"]);
}
