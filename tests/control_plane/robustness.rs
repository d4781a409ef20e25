//! What happens to the operator itself: stopped, killed, restarted, short of rights, or shown an object that it cannot read.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::ensure;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kit::operator::Options;
use kit::{Operator, eventually, metrics};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use secret_version_operator::api::v1alpha1::{AbejaConnection, Origin, SecretVersion};
use secret_version_operator::domain::reason::Reason;
use serde_json::json;

use crate::scene::{CONNECTION, Remote, SOON, Scene, assert_silent};
use crate::world::UNREADABLE;

/// A resource in sync with the first version of its remote secret.
async fn synced<'a>(scene: &'a Scene, name: &str, spec: serde_json::Value) -> Remote<'a> {
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed(name, &remote, spec).await;
    scene.serves(name, 1).await;
    remote
}

/// Waits until the remote has had this many creates, answered or not.
async fn posted(remote: &Remote<'_>, count: usize) {
    let posted = eventually(SOON, "the create has arrived", async || {
        ensure!(remote.posts().await == count, "not yet");
        Ok(())
    });
    posted.await.unwrap();
}

#[tokio::test]
async fn the_rights_in_one_namespace_are_enough_for_it_and_others_are_left_alone() {
    let scene = Scene::apart("namespaced", &[]).await;
    let other = scene.world.plane.namespace("unwatched").await.unwrap();
    let unwatched: Api<SecretVersion> = Api::namespaced(scene.client.clone(), &other);
    let remote = synced(&scene, "db", json!({})).await;
    let mut cr = scene.get::<SecretVersion>("db").await.unwrap();
    cr.metadata = ObjectMeta { name: Some("db".to_owned()), ..ObjectMeta::default() };
    cr.status = None;
    unwatched.create(&PostParams::default(), &cr).await.unwrap();

    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.serves("db", 2).await;
    scene.edit("db", json!({"target": {"name": "renamed"}})).await;
    scene.gone::<Secret>("db").await;
    scene.holds("renamed", &[("value", b"canary-2")]).await;
    scene.remove::<SecretVersion>("db").await;
    assert_eq!(remote.numbers().await, []);
    scene.gone::<Secret>("renamed").await;
    scene.remove::<AbejaConnection>(CONNECTION).await;
    let untouched = unwatched.get("db").await.unwrap();
    assert_eq!(untouched.status.unwrap().observed_generation, Some(-1));
    scene.end().await;
}

#[tokio::test]
async fn without_watches_of_secrets_refreshes_find_what_moved() {
    let scene = Scene::apart("unwatched", &["secrets.watch=false"]).await;
    let remote = synced(&scene, "db", json!({"refreshInterval": "5s"})).await;
    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.serves("db", 2).await;
    scene.remove::<Secret>("db").await;
    scene.holds("db", &[("value", b"canary-2")]).await;
    scene.secret("db", &[("value", b"canary-edited")]).await;
    scene.holds("db", &[("value", b"canary-2")]).await;
    assert_eq!(remote.posts().await, 2);

    scene.edit("db", json!({"refreshPolicy": "OnChange", "refreshInterval": null})).await;
    assert!(scene.fails("db", Reason::SecretsNotWatched).await.stalled);
    scene.end().await;
}

#[tokio::test]
async fn told_to_stop_it_ends_what_it_began_and_then_itself() {
    let scene = Scene::apart("stopped", &[]).await;
    let remote = synced(&scene, "db", json!({})).await;
    remote.fault_of_creates(json!({"delay": {"at": "after_commit", "duration": "1s"}})).await;
    scene.secret("source", &[("key", b"canary-2")]).await;
    posted(&remote, 2).await;
    let operator = &scene.world.operator;
    let began = Instant::now();
    assert_eq!(operator.process().stop().await.unwrap(), 0, "{}", operator.process().log_tail());
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    let status = scene.get::<SecretVersion>("db").await.unwrap().status.unwrap();
    assert_eq!(status.version, Some(2), "the answer was recorded before the end");

    let (writes, requests) = (scene.writes().await, remote.requests().await.len());
    operator.process().start().unwrap();
    operator.wait_ready().await.unwrap();
    let passed = eventually(SOON, "it has looked at the resource", async || {
        let page = operator.metrics().await?;
        ensure!(
            metrics::sum(&page, "secret_version_operator_reconcile_total", &[("kind", "SecretVersion")]) >= 1.0,
            "not yet"
        );
        Ok(())
    });
    passed.await.unwrap();
    assert_eq!((scene.writes().await, remote.requests().await.len()), (writes, requests), "a restart is quiet");
    scene.end().await;
}

#[tokio::test]
async fn killed_in_the_middle_of_a_create_another_finds_what_came_of_it() {
    let lease =
        ["leaderElection.leaseDuration=4s", "leaderElection.renewDeadline=3s", "leaderElection.retryPeriod=500ms"];
    let scene = Scene::apart("killed", &lease).await;
    let remote = synced(&scene, "db", json!({})).await;
    let world = &scene.world;
    let standby = Operator::start(world.plane.run_dir(), &world.installed.operator()).await.unwrap();
    let fault = remote.fault_of_creates(json!({"delay": {"at": "after_commit", "duration": "30s"}})).await;
    scene.secret("source", &[("key", b"canary-2")]).await;
    posted(&remote, 2).await;
    world.operator.process().kill().unwrap();
    remote.heal(fault).await;

    let cr = scene.serves("db", 2).await;
    assert_eq!(cr.status.unwrap().origin, Some(Origin::Created));
    scene.told("db", Reason::VersionRecovered).await;
    scene.holds("db", &[("value", b"canary-2")]).await;
    assert_eq!((remote.posts().await, remote.numbers().await), (2, vec![(1, true), (2, true)]));
    scene.secret("source", &[("key", b"canary-3")]).await;
    scene.serves("db", 3).await;

    // The other way round, and what is deleted takes all three along.
    world.operator.process().start().unwrap();
    world.operator.wait_ready().await.unwrap();
    standby.process().kill().unwrap();
    scene.remove::<SecretVersion>("db").await;
    assert_eq!(remote.numbers().await, []);
    assert_silent("standby's log", &String::from_utf8_lossy(&fs::read(standby.process().log()).unwrap()));
    scene.end().await;
}

#[tokio::test]
async fn a_deletion_whose_credential_a_restart_forgot_says_so_and_can_be_let_go() {
    let scene = Scene::apart("forgotten", &[]).await;
    let remote = synced(&scene, "db", json!({})).await;
    let operator = &scene.world.operator;
    operator.process().stop().await.unwrap();
    scene.remove::<Secret>("token").await;
    scene.delete::<SecretVersion>("db").await;
    operator.process().start().unwrap();
    let failure = scene.fails("db", Reason::CredentialNotFound).await;
    assert!(failure.message.contains("spec.deletionPolicy to Retain"), "{}", failure.message);
    scene.edit("db", json!({"deletionPolicy": "Retain"})).await;
    scene.gone::<SecretVersion>("db").await;
    assert_eq!(remote.numbers().await, [(1, true)]);
    operator.wait_ready().await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_told_of_and_harms_only_itself() {
    let scene = Scene::begin("unharmed").await;
    let (namespace, name) = UNREADABLE;
    let events: Api<Event> = Api::namespaced(scene.client.clone(), namespace);
    let told = eventually(SOON, "the object is told of", async || {
        let all = events.list(&ListParams::default()).await?.items;
        let about = |event: &&Event| event.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name);
        ensure!(all.iter().find(about).is_some_and(|e| e.reason.as_deref() == Some("InvalidResource")), "not yet");
        Ok(())
    });
    told.await.unwrap();
    let page = scene.world.operator.metrics().await.unwrap();
    let unparsable = metrics::sum(&page, "secret_version_operator_unparsable_objects_total", &[]);
    assert!(unparsable >= 1.0, "{page}");
    // It is not written, and others are served beside it.
    let object = scene.world.plane.kubectl(&["get", "sv", name, "-n", namespace, "-o", "json"]).await.unwrap();
    let object: serde_json::Value = serde_json::from_str(&object.ok().unwrap()).unwrap();
    assert_eq!(object["status"], json!({"observedGeneration": -1}));
    synced(&scene, "db", json!({})).await;
    scene.end().await;
}

#[tokio::test]
async fn nothing_is_denied_from_the_very_start() {
    let scene = Scene::begin("rights").await;
    synced(&scene, "db", json!({})).await;
    let account = &scene.world.installed;
    let all = scene.world.plane.audit_since(scene.world.mark).unwrap();
    let denied = all.service_account(&account.namespace, &account.service_account).denied();
    assert!(denied.is_empty(), "{:#?}", denied.events());
    scene.end().await;
}

#[tokio::test]
async fn clear_text_must_be_asked_for() {
    let plane = kit::ControlPlane::shared().await.unwrap();
    let options = Options {
        kubeconfig: plane.kubeconfig_admin(),
        args: vec!["--allow-endpoint=http://remote.example.com".to_owned()],
        ..Options::default()
    };
    let operator = Operator::launch(plane.run_dir(), &options).await.unwrap();
    let code = tokio::time::timeout(SOON, operator.process().wait()).await.unwrap().unwrap();
    let log = operator.process().log_tail();
    assert!(code != 0 && log.contains("--allow-insecure-endpoints"), "{code}: {log}");
}
