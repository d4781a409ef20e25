//! Observed resources: they follow versions that somebody else makes, and never make or delete one.

use k8s_openapi::api::core::v1::Secret;
use secret_version_operator::api::v1alpha1::{AbejaConnection, Origin, SecretVersion, VersionState};
use secret_version_operator::domain::reason::Reason;
use serde_json::json;

use crate::scene::Scene;
use crate::world;

#[tokio::test]
async fn by_id() {
    let scene = Scene::begin("by-id").await;
    let remote = scene.remote().await;
    let old = remote.make(b"canary-old").await;
    remote.make(b"canary-new").await;
    scene.observed("app", &remote, json!({"id": old.id}), json!({})).await;
    let cr = scene.serves("app", 1).await;
    scene.holds("app", &[("value", b"canary-old")]).await;
    let status = cr.status.unwrap();
    assert_eq!((status.version_id, status.origin), (Some(old.id), Some(Origin::Observed)));
    assert_eq!(status.state, Some(VersionState::Active));
    assert_eq!(cr.metadata.finalizers, None);
    assert_eq!(scene.writes().await, 2, "Secret, status");
    scene.end().await;
}

#[tokio::test]
async fn by_number_once_there_is_one() {
    let scene = Scene::begin("by-number").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    scene.observed("app", &remote, json!({"number": 2}), json!({})).await;
    let failure = scene.fails("app", Reason::VersionNotFound).await;
    assert!(!failure.stalled && failure.message.contains('2'), "{}", failure.message);
    assert!(scene.get::<Secret>("app").await.is_none());
    remote.make(b"canary-2").await;
    remote.make(b"canary-3").await;
    scene.serves("app", 2).await;
    scene.holds("app", &[("value", b"canary-2")]).await;
    scene.end().await;
}

#[tokio::test]
async fn an_id_that_does_not_exist_is_named_and_can_be_corrected() {
    let scene = Scene::begin("no-id").await;
    let remote = scene.remote().await;
    let version = remote.make(b"canary-1").await;
    scene.observed("app", &remote, json!({"id": "no-such-version"}), json!({})).await;
    let failure = scene.fails("app", Reason::VersionNotFound).await;
    assert!(failure.message.contains("no-such-version"), "{}", failure.message);
    scene.edit("app", json!({"versionRef": {"id": version.id}})).await;
    scene.serves("app", 1).await;
    scene.end().await;
}

#[tokio::test]
async fn the_newest_active_version_is_followed_within_a_refresh() {
    let scene = Scene::begin("latest").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    scene.observed("app", &remote, json!({"latest": "Active"}), json!({"refreshInterval": "5s"})).await;
    scene.serves("app", 1).await;
    scene.holds("app", &[("value", b"canary-1")]).await;

    let second = remote.make(b"canary-2").await;
    scene.serves("app", 2).await;
    scene.holds("app", &[("value", b"canary-2")]).await;

    remote.switch(&second, false).await;
    scene.serves("app", 1).await;
    scene.holds("app", &[("value", b"canary-1")]).await;
    assert_eq!(remote.numbers().await, [(1, true), (2, false)], "its state is left alone");
    scene.end().await;
}

#[tokio::test]
async fn without_an_active_version_the_last_value_stays() {
    let scene = Scene::begin("none-active").await;
    let remote = scene.remote().await;
    let version = remote.make(b"canary-1").await;
    scene.observed("app", &remote, json!({"latest": "Active"}), json!({})).await;
    scene.serves("app", 1).await;
    remote.switch(&version, false).await;
    scene.sync("app").await;
    let failure = scene.fails("app", Reason::NoActiveVersion).await;
    assert!(!failure.stalled);
    assert_eq!(failure.cr.status.unwrap().version, Some(1), "status names what the Secret holds");
    scene.holds("app", &[("value", b"canary-1")]).await;
    remote.destroy(&version).await;
    scene.sync("app").await;
    scene.fails("app", Reason::NoActiveVersion).await;
    scene.holds("app", &[("value", b"canary-1")]).await;
    remote.make(b"canary-2").await;
    scene.serves("app", 2).await;
    scene.end().await;
}

#[tokio::test]
async fn a_state_is_held_where_one_is_asked_for() {
    let scene = Scene::begin("held").await;
    let remote = scene.remote().await;
    let version = remote.make(b"canary-1").await;
    let spec = json!({"state": "Inactive", "refreshInterval": "5s"});
    scene.observed("app", &remote, json!({"id": version.id}), spec).await;
    remote.has(&[(1, false)]).await;
    scene.ready("app").await;
    scene.holds("app", &[("value", b"canary-1")]).await;
    remote.switch(&version, true).await;
    remote.has(&[(1, false)]).await;
    scene.edit("app", json!({"state": "Active"})).await;
    remote.has(&[(1, true)]).await;
    scene.end().await;
}

#[tokio::test]
async fn a_deleted_resource_leaves_the_remote_alone_and_takes_its_secret_along() {
    let scene = Scene::begin("let-go").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    scene.observed("app", &remote, json!({"latest": "Active"}), json!({})).await;
    scene.serves("app", 1).await;
    let before = remote.requests().await.len();
    scene.remove::<SecretVersion>("app").await;
    scene.gone::<Secret>("app").await;
    assert_eq!(remote.numbers().await, [(1, true)]);
    assert_eq!(remote.requests().await.len(), before, "not even asked");
    scene.end().await;
}

#[tokio::test]
async fn a_name_is_resolved_once_and_pinned() {
    let scene = Scene::begin("name").await;
    let name = format!("name of {}", scene.namespace);
    let by_name = json!({"remoteRef": {"secretId": null, "secretName": name}});
    let nobody = crate::scene::Remote::of(&scene.world.simulator, "unused");
    scene.observed("app", &nobody, json!({"latest": "Active"}), by_name.clone()).await;
    let failure = scene.fails("app", Reason::SecretNotFound).await;
    assert!(!failure.stalled && failure.message.contains(&name), "{}", failure.message);

    let remote = scene.remote_named(&name).await;
    remote.make(b"canary-1").await;
    let cr = scene.serves("app", 1).await;
    assert_eq!(cr.status.unwrap().secret_id.as_ref(), Some(&remote.id));

    let namesake = scene.remote_named(&name).await;
    namesake.make(b"canary-of-namesake").await;
    remote.make(b"canary-2").await;
    scene.sync("app").await;
    scene.serves("app", 2).await;

    scene.observed("late", &nobody, json!({"latest": "Active"}), by_name).await;
    let failure = scene.fails("late", Reason::AmbiguousName).await;
    assert!(failure.stalled);
    assert!(failure.message.contains(&remote.id) && failure.message.contains(&namesake.id), "{}", failure.message);
    scene.end().await;
}

#[tokio::test]
async fn a_name_that_may_not_be_looked_up_is_said_to_be_so() {
    let scene = Scene::begin("no-list").await;
    scene.secret("weak", &[("token", world::TOKEN_WITHOUT_LIST.as_bytes())]).await;
    let mut spec = world::connection(&scene.world.simulator);
    spec["auth"]["token"]["secretRef"]["name"] = "weak".into();
    scene.create::<AbejaConnection>("weak", json!({"spec": spec})).await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    let weak = json!({"kind": "AbejaConnection", "name": "weak"});
    let by_name = json!({"connectionRef": weak, "remoteRef": {"secretId": null, "secretName": scene.namespace}});
    scene.observed("app", &remote, json!({"latest": "Active"}), by_name).await;
    let failure = scene.fails("app", Reason::NameResolutionDenied).await;
    assert!(!failure.stalled && failure.message.contains("secretId"), "{}", failure.message);
    scene.observed("by-id", &remote, json!({"latest": "Active"}), json!({"connectionRef": weak})).await;
    scene.serves("by-id", 1).await;
    scene.end().await;
}

#[tokio::test]
async fn a_remote_that_fails_changes_nothing_here_and_is_waited_for() {
    let scene = Scene::begin("outage").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    scene.observed("app", &remote, json!({"latest": "Active"}), json!({})).await;
    scene.serves("app", 1).await;
    let fault = remote.fault(json!({"status": {"code": 503}})).await;
    scene.sync("app").await;
    let failure = scene.fails("app", Reason::RemoteUnavailable).await;
    assert!(!failure.stalled);
    scene.holds("app", &[("value", b"canary-1")]).await;
    remote.heal(fault).await;
    scene.serves("app", 1).await;
    scene.end().await;
}

#[tokio::test]
async fn a_value_that_is_not_served_as_base64_replaces_nothing() {
    let scene = Scene::begin("spoilt").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    scene.observed("app", &remote, json!({"latest": "Active"}), json!({})).await;
    scene.serves("app", 1).await;
    let fault = remote.fault(json!({"malformed": "bad_base64"})).await;
    remote.make(b"canary-2").await;
    scene.sync("app").await;
    let failure = scene.fails("app", Reason::ValueNotServed).await;
    assert_eq!(failure.cr.status.unwrap().version, Some(1), "status names what the Secret holds");
    scene.holds("app", &[("value", b"canary-1")]).await;
    remote.heal(fault).await;
    scene.serves("app", 2).await;
    scene.holds("app", &[("value", b"canary-2")]).await;
    scene.end().await;
}
