//! Holding what is recorded: state, target, and the last good value.

use std::time::Duration;

use serde_json::json;

use super::shell::GONE;
use super::world::{Crash, Post, Remote, World, access};
use crate::api::v1alpha1::{Origin, Permission, Record, VersionState};
use crate::domain::observed::{Access, Link, Owner};
use crate::domain::reason::Reason;

fn synced(spec: &serde_json::Value) -> World {
    let mut world = World::managed(spec);
    world.settle();
    world
}

fn recorded(world: &World) -> Vec<String> {
    world.status().history.into_iter().map(|r| r.version_id).collect()
}

#[test]
fn the_wanted_state_is_held() {
    let mut world = synced(&json!({"state": "Inactive"}));
    assert_eq!(world.remote[0].state, VersionState::Inactive);
    assert!(world.ready());
    world.remote[0].state = VersionState::Active;
    world.refresh_due = true;
    world.settle();
    assert_eq!((world.remote[0].state, world.count("set_state")), (VersionState::Inactive, 2));
}

#[test]
fn a_state_that_is_seen_on_the_way_to_the_target_is_put_right_too() {
    let mut world = synced(&json!({}));
    (world.remote[0].state, world.target) = (VersionState::Inactive, None);
    world.settle();
    assert_eq!((world.remote[0].state, world.ready()), (VersionState::Active, true));
}

#[test]
fn a_version_that_was_only_found_is_never_deactivated() {
    let mut world = World::managed(&json!({"state": "Inactive"}));
    world.make("a");
    world.settle();
    assert_eq!((world.remote[0].state, world.reason().as_str()), (VersionState::Active, "NotCreatedHere"));
}

#[test]
fn what_the_original_created_is_not_the_copys_to_deactivate() {
    let mut copy = synced(&json!({}));
    copy.cr.metadata.uid = Some("the copy's".into());
    copy.edit_spec(|cr| cr.spec.state = Some(VersionState::Inactive));
    copy.settle();
    assert_eq!((copy.remote[0].state, copy.reason().as_str()), (VersionState::Active, "NotCreatedHere"));
}

#[test]
fn a_lost_or_edited_target_is_repaired() {
    let mut world = synced(&json!({}));
    for broken in [None, Some(("edited".to_owned(), 99))] {
        world.target = broken;
        world.settle();
        assert_eq!(world.target_value(), Some("a"));
        // By the record the Secret is found again when another one is asked for.
        let recorded = world.status().target.and_then(|target| target.uid);
        assert_eq!(recorded, Some(world.target_uid()));
    }
    assert_eq!(world.values(), ["a"]);
}

#[test]
fn no_problem_of_the_source_makes_a_version_or_touches_the_target() {
    for (source, reason) in [(None, "SourceNotFound"), (Some(String::new()), "SourceEmpty")] {
        let mut world = synced(&json!({}));
        world.source = source;
        world.source_writes += 1;
        world.pass();
        assert_eq!(world.reason(), reason);
        assert_eq!((world.values(), world.target_value()), (vec!["a"], Some("a")));
        world.edit_source("a");
        world.settle();
        assert!(world.ready());
        assert_eq!(world.values(), ["a"]);
    }
}

#[test]
fn a_target_is_repaired_even_while_the_source_is_gone() {
    let mut world = synced(&json!({}));
    (world.source, world.target) = (None, None);
    world.pass();
    assert_eq!((world.target_value(), world.reason().as_str()), (Some("a"), "SourceNotFound"));
}

#[test]
fn a_connection_in_trouble_changes_nothing_but_the_conditions() {
    let mut world = synced(&json!({}));
    world.link = Link::NotReady { reason: Reason::CredentialNotFound, message: "m".into() };
    world.request_sync("now");
    world.pass();
    assert_eq!(world.reason(), "CredentialNotFound");
    assert_eq!(world.condition("Reconciling").0, "True");
    assert_eq!(world.condition("TargetSynced").0, "True");
    assert_eq!(world.target_value(), Some("a"));
}

#[test]
fn a_created_version_that_is_gone_is_not_made_again() {
    let mut world = synced(&json!({}));
    world.remote.clear();
    world.refresh_due = true;
    world.settle();
    assert_eq!(world.reason(), "VersionGone");
    assert_eq!((world.values().len(), world.target_value()), (0, Some("a")));
    // Another process finds it out anew, and there is nothing new to say.
    let writes = world.kube_writes;
    world.restart();
    world.settle();
    assert_eq!((world.reason().as_str(), world.kube_writes), ("VersionGone", writes));
    world.edit_source("b");
    world.settle();
    assert_eq!((world.values(), world.target_value()), (vec!["b"], Some("b")));
    assert_eq!(recorded(&world), ["v2"], "what is gone leaves the record");
}

#[test]
fn what_was_created_once_stays_so_when_it_is_found_again() {
    let mut world = synced(&json!({}));
    world.edit_source("b");
    world.settle();
    world.remote[1].state = VersionState::Inactive;
    world.edit_source("a");
    world.settle();
    assert_eq!((world.values(), world.status().version_id.as_deref()), (vec!["a", "b"], Some("v1")));
    assert_eq!((recorded(&world), world.status().origin), (vec!["v1".into(), "v2".into()], Some(Origin::Created)));
}

#[test]
fn a_value_that_the_remote_altered_is_told_and_not_sent_again() {
    let mut world = World::managed(&json!({}));
    world.post = Post::Altered;
    world.settle();
    for _ in 0..2 {
        assert_eq!(world.condition("Stalled"), ("True".into(), "ValueAltered".into()));
        assert_eq!((world.count("create_version"), world.target_value()), (1, Some("a, altered")));
        world.refresh_due = true;
        world.settle();
    }
    world.edit_source("b");
    world.settle();
    assert_eq!((world.ready(), world.target_value()), (true, Some("b")), "that was another change");
    // Digests under different keys say nothing.
    world.cr.status.as_mut().unwrap().history[1].digest = format!("{GONE}c");
    world.refresh_due = true;
    world.settle();
    assert!(world.ready());
}

#[test]
fn a_list_that_lags_for_a_moment_is_no_news() {
    let mut world = synced(&json!({}));
    let before = world.status();
    let shown = std::mem::take(&mut world.remote);
    world.refresh_due = true;
    world.pass();
    assert_eq!(world.status(), before);
    world.remote = shown;
    world.settle();
    assert_eq!(world.status(), before);
    // To who asks it is said, and to who is told of a problem already.
    let mut asked = synced(&json!({}));
    asked.request_sync("now");
    let mut in_trouble = synced(&json!({}));
    in_trouble.source = None;
    in_trouble.pass();
    for mut world in [asked, in_trouble] {
        world.refresh_due = true;
        world.remote.clear();
        world.pass();
        assert_eq!(world.reason(), "ListIncomplete");
    }
}

#[test]
fn a_referenced_version_that_is_gone_is_as_if_never_recorded() {
    let mut world = World::managed(&json!({}));
    world.make("a");
    world.settle();
    world.remote.clear();
    world.refresh_due = true;
    world.settle();
    assert_eq!((world.values(), world.ready()), (vec!["a"], true));
    assert_eq!(recorded(&world), ["v2"]);
    // And alone: what was created stays recorded.
    let mut world = synced(&json!({}));
    world.make("b");
    world.edit_source("b");
    world.settle();
    assert_eq!(world.status().origin, Some(Origin::Referenced));
    world.remote.pop();
    world.refresh_due = true;
    world.settle();
    assert_eq!((world.values(), recorded(&world)), (vec!["a", "b"], vec!["v1".into(), "v3".into()]));
}

#[test]
fn a_newer_version_of_somebody_else_is_told_and_not_followed() {
    let created = synced(&json!({}));
    let mut found = World::managed(&json!({}));
    found.make("older");
    found.make("a");
    found.settle();
    for mut world in [created, found] {
        world.make("theirs");
        world.refresh_due = true;
        world.settle();
        assert_eq!(world.target_value(), Some("a"));
        let told: Vec<_> = world.events.iter().filter(|e| e.reason == Reason::ForeignVersion).collect();
        assert_eq!((told.len(), told[0].warning), (1, false), "{told:?}");
    }
}

#[test]
fn what_was_only_found_needs_no_clean_up() {
    let mut world = World::managed(&json!({}));
    world.make("a");
    for _ in 0..2 {
        world.settle();
        world.refresh_due = true;
    }
    assert_eq!((world.ready(), world.count("add_finalizer")), (true, 0));
}

#[test]
fn what_all_is_well_says_where_the_version_is() {
    for (spec, message, target) in [
        (json!({}), "version 1 is active at the remote and its value is in Secret db", "Synced"),
        (json!({"state": "Inactive"}), "version 1 is inactive at the remote and its value is in Secret db", "Synced"),
        (json!({"target": {"creationPolicy": "None"}}), "version 1 is active at the remote", "NoTarget"),
    ] {
        let world = synced(&spec);
        assert_eq!((world.message().as_str(), world.condition("TargetSynced").1.as_str()), (message, target));
    }
}

#[test]
fn merge_adds_to_what_exists_and_makes_nothing() {
    let mut world = World::managed(&json!({"target": {"creationPolicy": "Merge"}}));
    world.pass();
    assert_eq!((world.reason().as_str(), world.target_value()), ("TargetNotFound", None));
    world.target = Some((String::new(), 0));
    world.settle();
    assert_eq!((world.ready(), world.target_value()), (true, Some("a")));
}

#[test]
fn where_a_digest_cannot_tell_the_versions_own_bytes_do() {
    let lost_key = || {
        let mut world = synced(&json!({}));
        world.make("theirs");
        let status = world.cr.status.as_mut().unwrap();
        (status.digest, status.source) = (Some(format!("{GONE}a")), None);
        world.source_writes += 1;
        world.restart();
        world
    };
    let mut same = lost_key();
    same.settle();
    assert_eq!((same.values(), same.ready()), (vec!["a", "theirs"], true));
    let mut changed = lost_key();
    changed.edit_source("b");
    changed.settle();
    assert_eq!((changed.values(), changed.ready()), (vec!["a", "theirs", "b"], true));
    let mut unknown = lost_key();
    unknown.remote[0].served = false;
    unknown.edit_source("b");
    unknown.settle();
    assert_eq!((unknown.values(), unknown.reason().as_str()), (vec!["a", "theirs"], "DigestUnknown"));
    // Nor is an open create followed up that was digested so.
    let mut open = World::managed(&json!({}));
    open.post = Post::LostBefore;
    open.pass();
    open.cr.status.as_mut().unwrap().create.as_mut().unwrap().digest = format!("{GONE}a");
    open.advance(Duration::from_mins(5));
    open.settle();
    assert_eq!((open.values().len(), open.reason().as_str()), (0, "DigestUnknown"));
}

#[test]
fn without_the_right_to_write_nothing_is_managed() {
    let mut world = World::managed(&json!({}));
    world.link = Link::Ready(Access { permission: Permission::Read, ..access() });
    world.settle_for(Duration::from_mins(1));
    assert_eq!((world.reason().as_str(), world.effects.len()), ("ReadOnly", 0));
}

#[test]
fn a_place_that_another_resource_owns_is_left_alone() {
    let mut world = World::managed(&json!({}));
    world.owner = Owner::Other("ns/first".into());
    world.settle();
    assert_eq!((world.reason().as_str(), world.effects.len()), ("SecretClaimed", 0));
}

#[test]
fn a_connection_that_names_another_place_stops_everything() {
    let mut recorded = synced(&json!({}));
    recorded.edit_source("b");
    let mut under_way = World::managed(&json!({}));
    under_way.post = Post::LostAfter;
    under_way.crash = Some(Crash { at: 2, after: true });
    under_way.pass();
    under_way.restart();
    for mut world in [recorded, under_way] {
        world.link = Link::Ready(Access { url: "https://elsewhere".into(), ..access() });
        world.settle();
        assert_eq!((world.reason().as_str(), world.values()), ("PlaceChanged", vec!["a"]));
    }
}

#[test]
fn suspension_is_one_write_and_no_act() {
    let mut world = synced(&json!({}));
    world.edit_spec(|cr| cr.spec.suspend = Some(true));
    world.edit_source("b");
    let (effects, writes) = (world.effects.len(), world.kube_writes);
    world.settle();
    world.settle();
    assert_eq!((world.effects.len(), world.kube_writes), (effects, writes + 1));
    assert_eq!(world.condition("Suspended").0, "True");
    world.edit_spec(|cr| cr.spec.suspend = None);
    world.settle();
    assert_eq!((world.values(), world.ready()), (vec!["a", "b"], true));
    assert_eq!(world.condition("Suspended").0, "");
}

#[test]
fn a_record_that_grows_too_long_loses_its_oldest_with_a_word() {
    let mut world = synced(&json!({}));
    let status = world.cr.status.as_mut().unwrap();
    let first = status.history.remove(0);
    status.history.extend((0..500).map(|n| Record { version_id: format!("old-{n}"), ..first.clone() }));
    status.history[499] = first;
    let known = world.remote[0].clone();
    world.remote.extend((0..500).map(|n| Remote { id: format!("old-{n}"), number: 0, ..known.clone() }));
    for value in ["b", "c", "d"] {
        world.edit_source(value);
        world.settle();
    }
    assert_eq!((world.status().history.len(), world.ready()), (500, true));
    let told: Vec<_> = world.events.iter().filter(|e| e.reason == Reason::HistoryTruncated).collect();
    assert_eq!(told.len(), 3);
    assert!(told[0].note.contains("old-0"));
}

#[test]
fn a_requested_sync_is_echoed_and_costs_one_write() {
    let mut world = synced(&json!({}));
    world.kube_writes = 0;
    world.request_sync("2026");
    world.settle();
    assert_eq!(world.status().last_handled_reconcile_at.as_deref(), Some("2026"));
    assert_eq!((world.kube_writes, world.values()), (1, vec!["a"]));
}
