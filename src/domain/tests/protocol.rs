//! The create protocol: exactly one version per change, whatever dies or is lost.

use std::time::Duration;

use serde_json::json;

use super::world::{Crash, End, Post, SETTLE, World, access};
use crate::api::v1alpha1::{Origin, VersionState};
use crate::domain::create::{bare, grace};
use crate::domain::decide::decide;
use crate::domain::observed::{Access, Fate, Link, Versions};
use crate::domain::step::{Step, Wake};

const CREATE: [&str; 5] = ["add_finalizer", "write_intent", "create_version", "write_target", "write_status"];

pub(super) fn managed() -> World {
    World::managed(&json!({}))
}

pub(super) fn assert_one_each(world: &World, values: &[&str]) {
    assert_eq!(world.values(), values, "{:?}", world.effects);
    assert!(world.ready(), "{:?}", world.status().conditions);
    assert_eq!(world.target_value(), values.last().copied());
    let status = world.status();
    assert_eq!(status.history.len(), values.len());
    assert!(status.history.iter().all(|r| r.origin == Origin::Created));
}

#[test]
fn a_first_create_is_four_writes_and_one_post() {
    let mut world = managed();
    world.settle();
    assert_eq!(world.effects, CREATE);
    assert_eq!(world.kube_writes, 4);
    assert_one_each(&world, &["a"]);
}

#[test]
fn a_rotation_is_three_writes_and_one_post() {
    let mut world = managed();
    world.settle();
    world.edit_source("b");
    world.kube_writes = 0;
    world.settle();
    assert_eq!(world.kube_writes, 3);
    assert_one_each(&world, &["a", "b"]);
}

#[test]
fn what_came_to_rest_stays_at_rest() {
    let mut world = managed();
    world.settle();
    let (effects, writes) = (world.effects.len(), world.kube_writes);
    for due in [false, true] {
        world.refresh_due = due;
        assert_eq!(world.pass(), End::Rest(Wake::Refresh));
    }
    world.restart();
    assert_eq!(world.pass(), End::Rest(Wake::Refresh));
    assert_eq!((world.effects.len(), world.kube_writes), (effects, writes));
}

#[test]
fn a_crash_before_or_after_any_effect_changes_nothing_in_the_end() {
    for (at, effect) in CREATE.iter().enumerate() {
        for after in [false, true] {
            let mut world = managed();
            world.crash = Some(Crash { at, after });
            world.settle();
            assert_eq!(world.values(), ["a"], "crash {after} {effect}");
            assert!(world.ready());
            assert_eq!(world.target_value(), Some("a"));
        }
    }
}

#[test]
fn a_crash_before_or_after_any_effect_of_a_rotation_changes_nothing_in_the_end() {
    for at in CREATE.len()..CREATE.len() + 4 {
        for after in [false, true] {
            let mut world = managed();
            world.settle();
            world.edit_source("b");
            world.crash = Some(Crash { at, after });
            world.settle();
            assert_one_each(&world, &["a", "b"]);
        }
    }
}

#[test]
fn a_lost_answer_is_found_out_about() {
    for post in [Post::LostAfter, Post::LostBefore, Post::Late(Duration::from_secs(50))] {
        let mut world = managed();
        world.post = post;
        world.settle();
        assert_one_each(&world, &["a"]);
    }
}

#[test]
fn nothing_is_sent_again_before_the_grace_is_over() {
    let mut world = managed();
    world.post = Post::LostBefore;
    let began = world.now;
    world.settle();
    assert_one_each(&world, &["a"]);
    // 5 s to send, 30 s for the answer, 30 s for the connection, 30 s to settle.
    assert!(world.since(began) >= Duration::from_secs(95), "{:?}", world.since(began));
}

#[test]
fn a_found_outcome_ends_the_wait_at_once() {
    let mut world = managed();
    world.post = Post::LostAfter;
    let began = world.now;
    world.settle();
    assert!(world.since(began) < Duration::from_secs(5));
}

#[test]
fn a_refused_create_keeps_its_intent_and_is_tried_again_without_a_grace() {
    for status in [401, 403, 404, 405, 429] {
        let mut world = managed();
        world.post = Post::Refused(status);
        let began = world.now;
        world.settle();
        assert_one_each(&world, &["a"]);
        assert_eq!(world.status().create.unwrap().attempts, 1, "a refusal is no attempt of unknown outcome");
        assert!(world.since(began) < Duration::from_mins(1));
    }
}

#[test]
fn what_can_never_be_created_stalls() {
    for status in [400, 413, 415, 422] {
        let mut world = managed();
        world.post = Post::Refused(status);
        world.settle();
        for _ in 0..3 {
            world.settle();
            assert_eq!(world.condition("Stalled"), ("True".into(), "CreateRejected".into()));
        }
        assert_eq!(
            (world.values().len(), world.count("create_version")),
            (0, 1),
            "not sent again for as long as nothing changes"
        );
        world.edit_source("b");
        world.settle();
        assert_one_each(&world, &["b"]);
    }
}

#[test]
fn every_other_answer_is_ambiguous() {
    for status in [409, 301, 500, 502, 503, 504] {
        let mut world = managed();
        world.post = Post::Refused(status);
        world.pass();
        assert_eq!(world.reason(), "ResolvingCreate", "{status}");
    }
}

#[test]
fn three_unknown_outcomes_in_a_row_stop_and_a_requested_sync_goes_on() {
    let mut world = managed();
    for _ in 0..200 {
        world.post = Post::LostBefore;
        if let End::Rest(Wake::After(wait) | Wake::Backoff(wait)) = world.pass() {
            world.advance(wait);
        }
    }
    assert_eq!((world.reason().as_str(), world.count("create_version")), ("CreateUnresolved", 3));
    assert_eq!(world.condition("Stalled").0, "True");
    world.post = Post::Answered;
    world.request_sync("now");
    world.settle();
    assert_one_each(&world, &["a"]);
    assert_eq!(world.status().create.map(|intent| intent.attempts), Some(1), "a person's word begins a new count");
}

#[test]
fn a_requested_sync_is_an_attempt_like_any_other() {
    let mut world = managed();
    world.post = Post::LostBefore;
    world.pass();
    world.advance(Duration::from_secs(95));
    world.request_sync("now");
    world.post = Post::LostBefore;
    world.pass();
    assert_eq!((world.count("create_version"), world.status().create.map(|intent| intent.attempts)), (2, Some(2)));
}

#[test]
fn what_ran_out_of_time_was_not_sent_and_is_tried_again_a_moment_later() {
    let mut world = managed();
    world.post = Post::TooLate;
    assert_eq!(world.pass(), End::Rest(Wake::After(Duration::from_secs(1))));
    assert_eq!((world.reason().as_str(), world.count("write_intent")), ("Progressing", 1));
    let began = world.now;
    world.settle();
    assert_one_each(&world, &["a"]);
    assert!(world.since(began) < Duration::from_secs(5), "no grace for what was not sent");
    assert_eq!(world.status().create.map(|intent| intent.attempts), Some(1));
}

#[test]
fn looks_for_an_outcome_come_at_growing_intervals_up_to_half_a_minute() {
    let mut world = managed();
    world.post = Post::LostBefore;
    // In whole seconds, until the next attempt. The end of the grace cuts the last one short.
    let mut waits = |sent: usize| {
        let mut waits = Vec::new();
        while let End::Rest(Wake::After(wait)) = world.pass() {
            world.advance(wait);
            if world.count("create_version") > sent {
                break;
            }
            waits.push(wait.as_secs());
            world.post = Post::LostBefore;
        }
        waits
    };
    assert_eq!(waits(1), [1, 1, 1, 1, 2, 3, 5, 7, 11, 17, 25, 18]);
    assert_eq!(waits(2).into_iter().max(), Some(30));
}

#[test]
fn what_was_replaced_is_remembered_as_far_as_four_changes_back_and_a_repeat_is_no_replacement() {
    let mut world = managed();
    let earlier = |world: &World| {
        let create = world.status().create.expect("the intent stays");
        create.earlier.into_iter().map(|e| e.digest).collect::<Vec<_>>()
    };
    world.post = Post::LostBefore;
    world.settle();
    assert_eq!((world.count("create_version"), earlier(&world)), (2, vec![]));
    for value in ["b", "c", "d", "e", "f"] {
        world.edit_source(value);
        world.settle();
    }
    assert_eq!(earlier(&world), ["e", "d", "c", "b"].map(|value| format!("v1.k.{value}")));
}

#[test]
fn what_is_known_of_one_intent_says_nothing_of_another() {
    let mut world = managed();
    world.post = Post::LostBefore;
    world.pass();
    let mut observed = world.observe();
    (observed.live, observed.seen.versions) = (true, Some(Versions { values: true, all: Vec::new() }));
    for fate in [Fate::Fresh, Fate::NotSent, Fate::Rejected, Fate::Refused, Fate::Ambiguous(Duration::MAX)] {
        observed.memory.intent = Some(("another".into(), fate));
        let Step::Rest(rest) = decide(&observed) else { panic!("{fate:?}: it does not wait") };
        assert_eq!(rest.wake, Wake::After(Duration::from_secs(1)), "{fate:?}");
    }
}

#[test]
fn what_is_written_on_the_way_claims_nothing() {
    let mut withdrawn = managed();
    withdrawn.settle();
    withdrawn.post = Post::LostBefore;
    withdrawn.edit_source("b");
    withdrawn.pass();
    withdrawn.edit_source("a");
    withdrawn.advance(Duration::from_mins(5));
    withdrawn.restart();
    withdrawn.pass();
    withdrawn.advance(Duration::from_mins(5));
    let mut changed = managed();
    changed.settle();
    changed.edit_source("b");
    let mut refused = managed();
    refused.settle();
    refused.edit_source("b");
    refused.post = Post::Refused(429);
    let mut lost = managed();
    lost.settle();
    lost.edit_source("b");
    lost.post = Post::LostBefore;
    let mut successor = managed();
    successor.make("a");
    successor.settle();
    successor.remote.clear();
    successor.refresh_due = true;
    successor.pass();
    successor.advance(SETTLE);
    let mut gone = managed();
    gone.settle();
    gone.remote.clear();
    gone.refresh_due = true;
    gone.pass();
    gone.advance(SETTLE);
    let mut deleting = managed();
    deleting.settle();
    deleting.edit_source("b");
    deleting.crash = Some(Crash { at: deleting.effects.len() + 1, after: true });
    deleting.pass();
    deleting.restart();
    deleting.delete();
    for (mut world, effect) in [
        (withdrawn, "write_status"),
        (changed, "write_intent"),
        (refused, "rest"),
        (lost, "rest"),
        (successor, "write_status"),
        (gone, "rest"),
        (deleting, "write_status"),
    ] {
        // The target was in the way when it was last looked at.
        let conditions = &mut world.cr.status.as_mut().unwrap().conditions;
        for condition in conditions.iter_mut().filter(|c| c.type_ == "TargetSynced") {
            (condition.status, condition.reason) = ("False".into(), "TargetConflict".into());
        }
        world.crash = Some(Crash { at: world.effects.len(), after: effect != "rest" });
        if effect == "rest" {
            world.crash = None;
        }
        world.pass();
        assert_eq!(world.condition("RemoteSynced").0, "False", "{effect}");
        assert_eq!(world.condition("TargetSynced"), ("False".into(), "TargetConflict".into()), "{effect}");
    }
}

#[test]
fn what_forbids_a_create_is_said_and_nothing_is_written_for_it() {
    let mut own_target = World::managed(&json!({"target": {"name": "source", "key": "k"}}));
    own_target.pass();
    let mut deleting = managed();
    deleting.link = Link::Ready(Access { deleting: true, ..access() });
    deleting.pass();
    let mut too_fast = managed();
    too_fast.create_wait = Some(Duration::from_secs(40));
    assert_eq!(too_fast.pass(), End::Rest(Wake::After(Duration::from_secs(40))));
    for (world, reason) in
        [(own_target, "SourceRefused"), (deleting, "ConnectionDeleting"), (too_fast, "CreateRateLimited")]
    {
        assert_eq!(world.reason(), reason);
        assert_eq!(world.count("write_intent"), 0, "{reason}");
    }
    for target in [
        json!({"name": "source", "key": "another"}),
        json!({"name": "another", "key": "k"}),
        json!({"name": "source", "key": "k", "creationPolicy": "None"}),
    ] {
        let mut world = World::managed(&json!({"target": target}));
        world.pass();
        assert_eq!(world.count("create_version"), 1, "{target}");
    }
}

#[test]
fn only_what_is_later_than_the_baseline_can_be_the_outcome() {
    let mut world = managed();
    world.make("a");
    world.remote[0].state = VersionState::Inactive;
    world.post = Post::LostAfter;
    world.settle();
    assert_eq!(world.values(), ["a", "a"]);
    let status = world.status();
    assert_eq!((status.version_id.as_deref(), status.origin), (Some("v2"), Some(Origin::Created)));
    let baseline = status.create.map(|intent| intent.baseline).expect("the intent stays");
    assert_eq!((baseline.version, baseline.created_at.is_some()), (1, true));
}

#[test]
fn what_equals_a_create_that_was_refused_is_somebody_elses() {
    let mut world = managed();
    world.post = Post::Refused(429);
    world.pass();
    world.make("a");
    world.settle();
    assert_eq!((world.values(), world.status().origin), (vec!["a"], Some(Origin::Referenced)));
}

#[test]
fn the_intent_of_another_resource_is_never_carried_through() {
    let mut world = managed();
    world.post = Post::LostAfter;
    world.crash = Some(Crash { at: 2, after: true });
    assert_eq!(world.pass(), End::Crashed);
    world.restart();
    world.cr.metadata.uid = Some("a copy's".into());
    world.settle();
    assert_eq!((world.values(), world.status().origin), (vec!["a"], Some(Origin::Referenced)));
}

#[test]
fn a_list_that_lacks_what_is_recorded_is_no_ground_for_a_create() {
    let mut world = managed();
    world.settle();
    world.edit_source("b");
    world.remote.clear();
    world.pass();
    assert_eq!((world.reason().as_str(), world.count("create_version")), ("ListIncomplete", 1));
}

#[test]
fn bare_is_a_finalizer_without_a_trace_of_what_was_done() {
    assert!(!bare(&managed().cr), "no finalizer");
    for (effect, expected) in [(0, true), (1, false), (4, false)] {
        let mut world = managed();
        world.crash = Some(Crash { at: effect, after: true });
        assert_eq!(world.pass(), End::Crashed);
        assert_eq!(bare(&world.cr), expected, "after {}", CREATE[effect]);
    }
    let mut recorded = managed();
    recorded.settle();
    recorded.cr.status.as_mut().expect("it is recorded").create = None;
    assert!(!bare(&recorded.cr), "a record alone");
}

#[test]
fn a_source_that_moved_on_meanwhile_makes_one_version_per_change() {
    let mut world = managed();
    world.post = Post::LostAfter;
    world.crash = Some(Crash { at: 2, after: true });
    assert_eq!(world.pass(), End::Crashed);
    world.restart();
    world.edit_source("b");
    world.settle();
    assert_one_each(&world, &["a", "b"]);
}

#[test]
fn a_change_that_is_withdrawn_before_anything_came_of_it_makes_nothing() {
    let mut world = managed();
    world.settle();
    world.post = Post::LostBefore;
    world.edit_source("b");
    world.pass();
    world.edit_source("a");
    world.make("theirs");
    world.settle();
    assert_eq!((world.values(), world.target_value(), world.ready()), (vec!["a", "theirs"], Some("a"), true));
}

#[test]
fn a_change_that_was_never_sent_is_replaced_by_the_next() {
    let mut world = managed();
    world.crash = Some(Crash { at: 2, after: false });
    assert_eq!(world.pass(), End::Crashed);
    world.restart();
    world.edit_source("b");
    world.settle();
    assert_one_each(&world, &["b"]);
    assert_eq!(world.effects[2..], ["write_intent", "create_version", "write_target", "write_status"]);
}

#[test]
fn a_change_that_replaces_another_counts_from_what_is_there_by_then() {
    let mut world = managed();
    world.crash = Some(Crash { at: 2, after: false });
    world.pass();
    world.restart();
    // Later than the baseline of the change before, and equal to this one.
    world.make("b");
    world.make("other");
    world.edit_source("b");
    world.post = Post::LostAfter;
    world.settle();
    assert_eq!(world.values(), ["b", "other", "b"]);
    assert_eq!(
        world.status().history.iter().map(|r| (r.version, r.origin)).collect::<Vec<_>>(),
        [(3, Origin::Created)]
    );
}

#[test]
fn going_back_to_an_old_value_is_a_change_like_any_other() {
    let mut world = managed();
    world.settle();
    for value in ["b", "a"] {
        world.edit_source(value);
        world.settle();
    }
    assert_one_each(&world, &["a", "b", "a"]);
}

#[test]
fn the_grace_is_the_window_the_timeouts_and_the_time_to_settle_doubled_with_each_attempt() {
    let observed = managed().observe();
    let after = |attempts| grace(&observed, Duration::from_secs(30), attempts).as_secs();
    assert_eq!([1, 2, 3, 4].map(after), [95, 190, 380, 760]);
    // What nobody wrote who knew the protocol harms nobody.
    assert_eq!([0, -1, i64::MIN].map(after), [95; 3]);
    assert_eq!(after(i64::MAX), 95 << 8);
    assert_eq!(grace(&observed, Duration::MAX, i64::MAX), Duration::MAX);
}
