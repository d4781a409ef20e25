//! Managed resources: each change of the source makes one version, its value is in the Secret, its state is held, and what
//! was created goes as the policy says.

use k8s_openapi::api::core::v1::Secret;
use secret_version_operator::api::FINALIZER;
use secret_version_operator::api::v1alpha1::{Origin, SecretVersion, VersionState};
use secret_version_operator::domain::condition::{self, kind};
use secret_version_operator::domain::reason::Reason;
use serde_json::json;

use crate::scene::{Remote, SOON, Scene};

/// Not text, and not the same after any kind of text handling.
const BYTES: &[u8] = b"\x00\xff\x0acanary\x80";

/// A scene whose resource `db` is in sync with the first version.
async fn synced(scene: &Scene, spec: serde_json::Value) -> Remote<'_> {
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, spec).await;
    scene.serves("db", 1).await;
    remote
}

#[tokio::test]
async fn a_version_is_created_once_with_its_bytes_and_at_its_price() {
    let scene = Scene::begin("once").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", BYTES)]).await;
    scene.managed("db", &remote, json!({})).await;
    let cr = scene.ready("db").await;

    let versions = remote.versions().await;
    assert_eq!(versions.len(), 1);
    assert!(versions[0].active && versions[0].number == 1 && versions[0].value == BYTES);
    let secret = scene.holds("db", &[("value", BYTES)]).await;
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let status = cr.status.unwrap();
    assert_eq!(
        (status.version, status.state, status.origin),
        (Some(1), Some(VersionState::Active), Some(Origin::Created))
    );
    assert_eq!(status.version_id.as_ref(), Some(&versions[0].id));
    assert_eq!(cr.metadata.finalizers.unwrap(), [FINALIZER]);

    assert_eq!(remote.operations().await, ["list_versions", "create_version"]);
    assert_eq!(scene.writes().await, 4, "finalizer, intent, Secret, status");
    scene.end().await;
}

#[tokio::test]
async fn a_changed_source_makes_one_more_version_within_seconds_and_at_its_price() {
    let scene = Scene::begin("rotation").await;
    let remote = synced(&scene, json!({})).await;
    let before = scene.writes().await;
    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.serves("db", 2).await;
    scene.holds("db", &[("value", b"canary-2")]).await;
    assert_eq!(remote.numbers().await, [(1, true), (2, true)]);
    assert_eq!(remote.operations().await, ["list_versions", "create_version"].repeat(2));
    assert_eq!(scene.writes().await - before, 3, "intent, Secret, status");
    scene.end().await;
}

#[tokio::test]
async fn a_value_that_comes_back_is_a_new_version() {
    let scene = Scene::begin("aba").await;
    let remote = synced(&scene, json!({})).await;
    for (number, value) in [(2, &b"canary-2"[..]), (3, b"canary-1")] {
        scene.secret("source", &[("key", value)]).await;
        scene.serves("db", number).await;
    }
    let values: Vec<_> = remote.versions().await.into_iter().map(|version| version.value).collect();
    assert_eq!(values, [&b"canary-1"[..], b"canary-2", b"canary-1"]);
    scene.holds("db", &[("value", b"canary-1")]).await;
    scene.end().await;
}

#[tokio::test]
async fn a_source_written_anew_with_the_same_bytes_is_no_change() {
    let scene = Scene::begin("same").await;
    let remote = synced(&scene, json!({})).await;
    let writes = scene.writes().await;
    let mark = scene.get::<Secret>("source").await.unwrap();
    let moved = scene.secret("source", &[("other", b"canary-other")]).await;
    assert_ne!(mark.metadata.resource_version, moved.metadata.resource_version);
    scene.sync("db").await;
    assert_eq!(remote.numbers().await, [(1, true)]);
    assert_eq!(scene.writes().await - writes, 1, "the echo of the sync that was asked for");
    scene.end().await;
}

#[tokio::test]
async fn both_states_are_held_and_switched_back() {
    let scene = Scene::begin("state").await;
    let remote = synced(&scene, json!({"refreshInterval": "5s"})).await;
    let [version] = remote.versions().await.try_into().unwrap();

    remote.switch(&version, false).await;
    remote.has(&[(1, true)]).await;
    scene.edit("db", json!({"state": "Inactive"})).await;
    remote.has(&[(1, false)]).await;
    let cr = scene.ready("db").await;
    assert_eq!(cr.status.unwrap().state, Some(VersionState::Inactive));
    scene.holds("db", &[("value", b"canary-1")]).await;

    remote.switch(&version, true).await;
    remote.has(&[(1, false)]).await;
    scene.edit("db", json!({"state": null})).await;
    remote.has(&[(1, true)]).await;
    scene.ready("db").await;
    assert_eq!(remote.posts().await, 1);
    scene.end().await;
}

#[tokio::test]
async fn an_inactive_version_is_followed_by_an_inactive_one() {
    let scene = Scene::begin("inactive").await;
    let remote = synced(&scene, json!({"state": "Inactive"})).await;
    remote.has(&[(1, false)]).await;
    scene.secret("source", &[("key", b"canary-2")]).await;
    remote.has(&[(1, false), (2, false)]).await;
    let cr = scene.serves("db", 2).await;
    assert_eq!(cr.status.unwrap().state, Some(VersionState::Inactive));
    scene.holds("db", &[("value", b"canary-2")]).await;
    scene.end().await;
}

#[tokio::test]
async fn an_equal_newest_active_version_is_referenced_and_left_alone() {
    let scene = Scene::begin("referenced").await;
    let remote = scene.remote().await;
    remote.make(b"canary-older").await;
    remote.make(b"canary-1").await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, json!({})).await;
    let cr = scene.serves("db", 2).await;
    assert_eq!(cr.status.as_ref().unwrap().origin, Some(Origin::Referenced));
    assert_eq!(cr.metadata.finalizers, None, "there is nothing to clean up");

    scene.edit("db", json!({"state": "Inactive"})).await;
    let failure = scene.fails("db", Reason::NotCreatedHere).await;
    assert!(failure.stalled);
    scene.edit("db", json!({"state": null})).await;
    scene.ready("db").await;

    // Beside a version of its own, too.
    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.serves("db", 3).await;
    scene.remove::<SecretVersion>("db").await;
    assert_eq!(remote.numbers().await, [(1, true), (2, true)]);
    assert_eq!(remote.posts().await, 1);
    scene.end().await;
}

#[tokio::test]
async fn delete_takes_back_what_was_created_and_nothing_else() {
    let scene = Scene::begin("delete").await;
    let remote = scene.remote().await;
    remote.make(b"canary-of-others").await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, json!({"deletionPolicy": "Delete"})).await;
    scene.serves("db", 2).await;
    remote.make(b"canary-of-others-too").await;
    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.serves("db", 4).await;
    scene.remove::<SecretVersion>("db").await;
    assert_eq!(remote.numbers().await, [(1, true), (3, true)]);
    scene.gone::<Secret>("db").await;
    scene.end().await;
}

#[tokio::test]
async fn deactivate_switches_off_what_was_created_and_nothing_else() {
    let scene = Scene::begin("deactivate").await;
    let remote = scene.remote().await;
    remote.make(b"canary-of-others").await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, json!({"deletionPolicy": "Deactivate"})).await;
    scene.serves("db", 2).await;
    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.serves("db", 3).await;
    scene.remove::<SecretVersion>("db").await;
    assert_eq!(remote.numbers().await, [(1, true), (2, false), (3, false)]);
    scene.end().await;
}

#[tokio::test]
async fn retain_leaves_the_remote_alone_and_needs_no_finalizer() {
    let scene = Scene::begin("retain").await;
    let remote = synced(&scene, json!({"deletionPolicy": "Retain"})).await;
    assert_eq!(scene.writes().await, 3, "intent, Secret, status");
    assert_eq!(scene.ready("db").await.metadata.finalizers, None);
    scene.remove::<SecretVersion>("db").await;
    assert_eq!(remote.numbers().await, [(1, true)]);
    assert_eq!(remote.operations().await, ["list_versions", "create_version"]);
    scene.end().await;
}

#[tokio::test]
async fn a_policy_that_is_edited_holds_for_what_was_created_before() {
    let scene = Scene::begin("policy").await;
    let (retained, deleted) = (scene.remote().await, scene.remote().await);
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("retained", &retained, json!({"deletionPolicy": "Delete"})).await;
    scene.managed("deleted", &deleted, json!({"deletionPolicy": "Retain"})).await;
    scene.serves("retained", 1).await;
    scene.serves("deleted", 1).await;
    scene.edit("retained", json!({"deletionPolicy": "Retain"})).await;
    scene.edit("deleted", json!({"deletionPolicy": null})).await;
    scene.until("deleted", "has its finalizer", |cr: &SecretVersion| cr.metadata.finalizers.is_some()).await;
    scene.remove::<SecretVersion>("retained").await;
    scene.remove::<SecretVersion>("deleted").await;
    assert_eq!((retained.numbers().await, deleted.numbers().await), (vec![(1, true)], vec![]));
    scene.end().await;
}

#[tokio::test]
async fn a_suspended_resource_keeps_everything_and_does_nothing() {
    let scene = Scene::begin("suspend").await;
    let remote = synced(&scene, json!({})).await;
    scene.edit("db", json!({"suspend": true})).await;
    let suspended = |cr: &SecretVersion| {
        let conditions = &cr.status.as_ref().unwrap().conditions;
        condition::is_true(conditions, kind::SUSPENDED, cr.metadata.generation)
    };
    scene.until("db", "is suspended", suspended).await;
    let writes = scene.writes().await;
    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.remove::<Secret>("db").await;
    scene.sync("db").await;
    assert_eq!(remote.operations().await, ["list_versions", "create_version"]);
    assert_eq!(scene.writes().await - writes, 1, "the echo of the sync that was asked for");

    scene.edit("db", json!({"suspend": null})).await;
    let cr = scene.serves("db", 2).await;
    assert!(!suspended(&cr));
    scene.holds("db", &[("value", b"canary-2")]).await;
    scene.end().await;
}

#[tokio::test]
async fn a_suspended_resource_that_is_deleted_leaves_the_remote_alone_and_names_what_stays() {
    let scene = Scene::begin("suspended").await;
    let remote = synced(&scene, json!({"suspend": false})).await;
    scene.edit("db", json!({"suspend": true})).await;
    scene.remove::<SecretVersion>("db").await;
    let [version] = remote.versions().await.try_into().unwrap();
    assert!(version.active);
    let note = scene.told("db", Reason::VersionsRetained).await;
    assert!(note.contains(&version.id) && note.contains("suspended"), "{note}");
    scene.end().await;
}

#[tokio::test]
async fn a_sync_that_is_asked_for_looks_past_every_cache_and_is_echoed() {
    let scene = Scene::begin("sync").await;
    let remote = synced(&scene, json!({})).await;
    let [version] = remote.versions().await.try_into().unwrap();
    remote.switch(&version, false).await;
    scene.sync("db").await;
    remote.has(&[(1, true)]).await;
    scene.end().await;
}

#[tokio::test]
async fn an_unchanged_refresh_writes_nothing_and_moves_no_value() {
    let scene = Scene::begin("quiet").await;
    let remote = synced(&scene, json!({"refreshInterval": "5s"})).await;
    let (writes, before) = (scene.writes().await, remote.looks().await.len());
    let refreshed = kit::eventually(SOON, "two refreshes have come", async || {
        let requests = remote.looks().await.split_off(before);
        anyhow::ensure!(requests.len() >= 2, "{} yet", requests.len());
        Ok(requests)
    });
    for request in refreshed.await.unwrap() {
        assert!(request["operation"] == "list_versions" || request["operation"] == "list_secrets", "{request}");
        assert!(!request["query"].as_str().unwrap().contains("return_secret_value=true"), "{request}");
    }
    assert_eq!(scene.writes().await, writes);
    scene.end().await;
}

#[tokio::test]
async fn a_newer_version_of_somebody_else_is_told_and_not_followed() {
    let scene = Scene::begin("foreign").await;
    let remote = synced(&scene, json!({})).await;
    let foreign = remote.make(b"canary-of-others").await;
    scene.sync("db").await;
    let note = scene.told("db", Reason::ForeignVersion).await;
    assert!(note.contains(&foreign.id), "{note}");
    scene.serves("db", 1).await;
    scene.holds("db", &[("value", b"canary-1")]).await;
    scene.end().await;
}

#[tokio::test]
async fn a_version_that_somebody_deleted_stays_in_the_secret_until_the_source_changes() {
    let scene = Scene::begin("vanished").await;
    let remote = synced(&scene, json!({})).await;
    let [version] = remote.versions().await.try_into().unwrap();
    remote.destroy(&version).await;
    scene.sync("db").await;
    let failure = scene.fails("db", Reason::VersionGone).await;
    assert!(failure.stalled);
    scene.holds("db", &[("value", b"canary-1")]).await;
    assert_eq!(remote.posts().await, 1, "it is not made again");

    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.serves("db", 2).await;
    remote.has(&[(2, true)]).await;
    scene.remove::<SecretVersion>("db").await;
    assert_eq!(remote.numbers().await, []);
    scene.end().await;
}

#[tokio::test]
async fn a_source_that_changes_too_fast_waits_its_turn() {
    let scene = Scene::begin("fast").await;
    let remote = synced(&scene, json!({})).await;
    for number in 2..=5 {
        scene.secret("source", &[("key", format!("canary-{number}").as_bytes())]).await;
        scene.serves("db", number).await;
    }
    scene.secret("source", &[("key", b"canary-6")]).await;
    let failure = scene.fails("db", Reason::CreateRateLimited).await;
    assert!(!failure.stalled);
    scene.holds("db", &[("value", b"canary-5")]).await;
    assert_eq!(remote.posts().await, 5);
    scene.end().await;
}
