//! What is looked at, and when: nothing while nothing changed, and never more than the question needs.

use serde_json::json;

use super::world::World;
use crate::api::v1alpha1::{RefreshPolicy, VersionState};

const NOTHING: [&str; 0] = [];

fn synced(spec: &serde_json::Value) -> World {
    let mut world = World::managed(spec);
    world.settle();
    world
}

fn unwatched() -> World {
    let mut world = World::managed(&json!({}));
    world.watched = false;
    world.settle();
    world
}

#[test]
fn a_first_create_lists_once_and_reads_the_source_once() {
    for found in [false, true] {
        let mut world = World::managed(&json!({}));
        if found {
            world.make("a");
        }
        assert_eq!(world.looks_of_a_pass(), ["live", "source", "values", "target"]);
        assert_eq!((world.ready(), world.count("create_version")), (true, usize::from(!found)));
    }
}

#[test]
fn where_nothing_changed_nothing_is_looked_at_and_a_refresh_lists_without_values() {
    for target in [json!({}), json!({"creationPolicy": "None"}), json!({"creationPolicy": "Merge"})] {
        let mut world = World::managed(&json!({"target": target}));
        world.target = Some(("b".into(), 0));
        world.settle();
        world.edit_source("b");
        world.settle();
        for restarted in [false, true] {
            if restarted {
                world.restart();
            }
            assert_eq!(world.looks_of_a_pass(), NOTHING, "{target}");
            world.refresh_due = true;
            assert_eq!(world.looks_of_a_pass(), ["versions"], "{target}");
        }
    }
    for spec in [
        json!({"versionRef": {"latest": "Active"}}),
        json!({"versionRef": {"number": 1}, "state": "Active", "target": {"creationPolicy": "None"}}),
    ] {
        let mut observed = World::observed(&spec);
        observed.make("a");
        observed.settle();
        for ask in [|w: &mut World| w.refresh_due = true, |w: &mut World| w.request_sync("now")] {
            assert_eq!(observed.looks_of_a_pass(), NOTHING);
            ask(&mut observed);
            assert_eq!(observed.looks_of_a_pass(), ["versions"]);
        }
    }
}

#[test]
fn the_remote_is_asked_where_something_may_have_changed_there_or_in_the_spec() {
    type Edit = fn(&mut World);
    // What is done, what is looked at then, how often Kubernetes is written to, and whether status tells the next process.
    let edits: [(&str, Edit, &[&str], usize, bool); 8] = [
        ("a refresh", |w| w.refresh_due = true, &["versions"], 0, true),
        ("a requested sync", |w| w.request_sync("now"), &["versions"], 1, true),
        ("another spec", |w| w.edit_spec(|_| ()), &["live", "source", "versions", "version", "target"], 1, true),
        ("the source touched", |w| w.source_writes += 1, &["live", "source"], 0, false),
        ("the target touched", |w| w.target.as_mut().unwrap().1 += 1, &["version", "target"], 0, false),
        ("the target edited", |w| w.target = Some(("edited".into(), 9)), &["version", "target"], 1, false),
        // Its Secret is another object, and by its UID status knows it.
        ("the target gone", |w| w.target = None, &["version", "target"], 2, true),
        ("the target made anew", |w| w.targets_made += 1, &["version", "target"], 1, true),
    ];
    for (what, edit, looks, writes, told) in edits {
        let mut world = synced(&json!({}));
        let before = world.kube_writes;
        edit(&mut world);
        assert_eq!(world.looks_of_a_pass(), looks, "{what}");
        assert_eq!(world.kube_writes - before, writes, "{what}");
        assert_eq!(world.looks_of_a_pass(), NOTHING, "{what}");
        world.restart();
        assert_eq!(world.looks_of_a_pass().is_empty(), told, "{what}");
        assert_eq!(world.kube_writes - before, writes, "{what}");
    }
}

#[test]
fn a_problem_at_the_remote_is_asked_about_until_it_is_over() {
    let mut world = World::managed(&json!({"state": "Inactive"}));
    world.make("a");
    world.settle();
    assert_eq!(world.reason(), "NotCreatedHere");
    assert!(world.looks_of_a_pass().contains(&"versions"));
    world.remote[0].state = VersionState::Inactive;
    world.settle();
    assert!(world.ready());
}

#[test]
fn another_state_is_no_other_value_and_any_other_change_may_be_one() {
    let mut world = synced(&json!({}));
    world.remote[0].changed = 70;
    world.refresh_due = true;
    assert_eq!(world.looks_of_a_pass(), ["versions", "version", "target"]);
    let mut followed = World::observed(&json!({"versionRef": {"number": 1}}));
    followed.make("a");
    followed.settle();
    (followed.remote[0].state, followed.remote[0].changed) = (VersionState::Inactive, 70);
    followed.refresh_due = true;
    assert_eq!(followed.looks_of_a_pass(), ["versions"]);
    assert_eq!((followed.status().state, followed.ready()), (Some(VersionState::Inactive), true));
}

#[test]
fn a_target_under_another_name_is_another_target() {
    let mut world = synced(&json!({}));
    world.edit_spec(|cr| cr.spec.target.get_or_insert_default().name = Some("new".into()));
    world.target = None;
    let done = world.effects.len();
    world.settle();
    assert_eq!(world.effects[done..], ["write_target", "remove_target"], "the former one goes last, and once");
    let recorded = world.status().target.expect("it is recorded");
    assert_eq!((recorded.name.as_str(), recorded.uid), ("new", Some(world.target_uid())));
    world.refresh_due = true;
    assert_eq!(world.looks_of_a_pass(), ["versions"]);
}

#[test]
fn without_a_watch_source_and_target_are_read_at_each_refresh() {
    type Edit = fn(&mut World);
    for edit in [(|w| w.refresh_due = true) as Edit, |w| w.request_sync("now")] {
        let mut world = unwatched();
        (world.source, world.target) = (Some("b".into()), None);
        assert_eq!(world.looks_of_a_pass(), NOTHING, "in between nothing is seen");
        edit(&mut world);
        world.settle();
        assert_eq!((world.values(), world.target_value()), (vec!["a", "b"], Some("b")));
        world.target = Some(("edited".into(), 9));
        edit(&mut world);
        world.request_sync("again");
        world.settle();
        assert_eq!(world.target_value(), Some("b"));
    }
}

#[test]
fn without_a_watch_what_is_amiss_is_read_until_it_is_mended() {
    let mut world = unwatched();
    world.source = None;
    world.request_sync("now");
    world.pass();
    assert_eq!(world.reason(), "SourceNotFound");
    world.source = Some("b".into());
    world.settle();
    assert_eq!((world.ready(), world.values()), (true, vec!["a", "b"]));
}

#[test]
fn what_is_not_watched_cannot_be_followed_at_each_change() {
    for (watched, policy, reason) in [
        (false, RefreshPolicy::OnChange, "SecretsNotWatched"),
        (false, RefreshPolicy::Periodic, "Synced"),
        (true, RefreshPolicy::OnChange, "Synced"),
    ] {
        let mut world = World::managed(&json!({}));
        world.watched = watched;
        world.cr.spec.refresh_policy = Some(policy);
        world.pass();
        assert_eq!(world.reason(), reason, "{watched} {policy:?}");
    }
}
