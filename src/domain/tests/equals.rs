//! Versions that hold the source's value and that no record names: found before a create, after it, several of them, or late.

use std::time::Duration;

use super::protocol::{assert_one_each, managed};
use super::world::{Crash, Post};
use crate::api::v1alpha1::{Origin, VersionState};

#[test]
fn an_equal_newest_active_version_is_referenced_and_nothing_is_created() {
    let mut world = managed();
    world.make("a");
    world.settle();
    assert_eq!((world.values(), world.count("create_version")), (vec!["a"], 0));
    assert_eq!(world.status().history[0].origin, Origin::Referenced);
    assert!(world.ready());
}

#[test]
fn what_was_not_sent_gives_way_to_an_equal_version_that_became_the_newest() {
    for (post, expected) in [(Post::TooLate, vec!["a"]), (Post::LostBefore, vec!["a", "a"])] {
        let mut world = managed();
        world.make("a");
        let newest = world.make("other");
        world.post = post;
        world.pass();
        world.remote.retain(|version| version.id != newest);
        world.settle();
        assert_eq!(world.values(), expected, "{post:?}");
        assert!(world.ready());
    }
}

#[test]
fn an_older_equal_version_is_not_enough() {
    let mut world = managed();
    world.make("a");
    world.make("other");
    world.settle();
    assert_eq!(world.values(), ["a", "other", "a"]);
}

#[test]
fn a_lost_status_waits_out_the_grace_and_references_what_is_equal() {
    for restarted in [true, false] {
        let mut world = managed();
        world.settle();
        world.cr.status = None;
        if restarted {
            world.restart();
        }
        let began = world.now;
        world.settle();
        assert_eq!(world.values(), ["a"]);
        assert_eq!(world.status().history[0].origin, Origin::Referenced);
        assert!(world.since(began) >= Duration::from_secs(95));
        assert!(world.events.iter().any(|e| e.reason.as_str() == "StatusLost" && e.note.contains("v1")));
    }
}

#[test]
fn what_cannot_be_compared_forbids_a_create() {
    let mut world = managed();
    world.post = Post::LostAfter;
    world.crash = Some(Crash { at: 2, after: true });
    world.pass();
    world.restart();
    world.remote[0].served = false;
    world.settle_for(Duration::from_secs(2000));
    assert_eq!((world.values().len(), world.reason().as_str()), (1, "AmbiguousCreate"));
    world.remote[0].served = true;
    world.settle();
    assert_one_each(&world, &["a"]);
}

#[test]
fn several_equal_outcomes_are_reported_and_none_is_deleted() {
    let mut world = managed();
    world.post = Post::LostAfter;
    world.crash = Some(Crash { at: 2, after: true });
    world.pass();
    world.restart();
    world.make("a");
    world.settle();
    assert_eq!(world.values(), ["a", "a"]);
    assert_eq!(world.status().version_id.as_deref(), Some("v1"));
    let event = world.events.iter().find(|e| e.reason.as_str() == "AmbiguousCreate").unwrap();
    assert!(event.note.contains("v1") && event.note.contains("v2"));
    // Once the lowest is gone, the other one is as little known to be ours.
    world.remote.remove(0);
    world.refresh_due = true;
    world.settle();
    assert_eq!((world.status().version_id.as_deref(), world.status().origin), (Some("v2"), Some(Origin::Referenced)));
}

#[test]
fn what_came_of_a_create_and_is_gone_is_not_looked_for_again() {
    let mut world = managed();
    world.settle();
    // Somebody deletes the version, keeps a copy of it, and makes the next one before the source has it.
    world.make("a");
    world.remote[1].state = VersionState::Inactive;
    world.make("b");
    world.remote.remove(0);
    world.edit_source("b");
    world.settle();
    assert_eq!((world.values(), world.ready(), world.count("create_version")), (vec!["a", "b"], true, 1));
    assert!(world.status().history.iter().all(|r| r.origin == Origin::Referenced), "{:?}", world.status().history);
    world.delete();
    world.settle();
    assert_eq!((world.exists, world.values()), (false, vec!["a", "b"]));
}

#[test]
fn a_late_twin_that_the_list_of_the_next_change_shows_first_is_reported_too() {
    let mut world = managed();
    world.post = Post::Late(Duration::from_secs(500));
    world.settle();
    world.advance(Duration::from_mins(10));
    world.edit_source("b");
    world.settle();
    assert_eq!(world.values(), ["a", "a", "b"]);
    let told = world.events.iter().find(|e| e.reason.as_str() == "LateVersion").expect("the twin is told of");
    assert!(told.note.contains("v2"), "{}", told.note);
}

#[test]
fn a_late_twin_is_reported_and_left_alone() {
    let mut world = managed();
    world.post = Post::Late(Duration::from_secs(500));
    world.settle();
    assert_eq!(world.values(), ["a"]);
    world.advance(Duration::from_mins(10));
    world.refresh_due = true;
    world.settle();
    assert_eq!(world.values(), ["a", "a"]);
    let told: Vec<_> = world.events.iter().map(|e| e.reason.as_str()).collect();
    assert_eq!(told, ["LateVersion"], "not as somebody else's");
    world.refresh_due = true;
    let told = world.events.len();
    world.settle();
    assert_eq!(world.events.len(), told, "said once");
}

#[test]
fn a_lost_status_is_told_of_also_where_the_source_has_moved_on() {
    let mut world = managed();
    world.settle();
    world.edit_source("b");
    world.cr.status = None;
    world.restart();
    world.settle();
    assert_eq!(world.values(), ["a", "b"]);
    assert!(world.events.iter().any(|e| e.reason.as_str() == "StatusLost" && e.note.contains("v1")));
}

#[test]
fn a_late_twin_is_reported_also_where_the_recorded_version_is_gone() {
    let mut world = managed();
    world.post = Post::Late(Duration::from_secs(500));
    world.settle();
    world.advance(Duration::from_mins(10));
    world.remote.retain(|v| v.id != "v1");
    world.refresh_due = true;
    world.settle();
    assert_eq!(world.reason(), "VersionGone");
    assert!(world.events.iter().any(|e| e.reason.as_str() == "LateVersion" && e.note.contains("v2")));
    let told = world.events.len();
    world.refresh_due = true;
    world.settle();
    assert_eq!(world.events.len(), told, "said once");
}
