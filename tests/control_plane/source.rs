//! Sources that give no value: the last one stays in use, no version is made, and the resource heals by itself.

use k8s_openapi::api::core::v1::Secret;
use secret_version_operator::domain::reason::Reason;
use serde_json::json;

use crate::scene::Scene;

#[tokio::test]
async fn a_missing_source_is_waited_for() {
    let scene = Scene::begin("missing").await;
    let remote = scene.remote().await;
    scene.managed("db", &remote, json!({})).await;
    let failure = scene.fails("db", Reason::SourceNotFound).await;
    assert!(!failure.stalled);
    assert_eq!(remote.posts().await, 0);
    scene.secret("source", &[("other", b"canary-other")]).await;
    scene.fails("db", Reason::SourceKeyNotFound).await;
    scene.secret("source", &[("key", b"")]).await;
    scene.fails("db", Reason::SourceEmpty).await;
    assert_eq!(remote.posts().await, 0);
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.serves("db", 1).await;
    assert_eq!(remote.posts().await, 1);
    scene.end().await;
}

#[tokio::test]
async fn a_source_that_goes_leaves_the_last_value_in_use() {
    let scene = Scene::begin("goes").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, json!({})).await;
    scene.serves("db", 1).await;

    scene.secret("source", &[("key", b"")]).await;
    let failure = scene.fails("db", Reason::SourceEmpty).await;
    assert!(!failure.stalled);
    scene.patch::<Secret>("source", json!({"data": {"key": null}})).await;
    scene.fails("db", Reason::SourceKeyNotFound).await;
    scene.remove::<Secret>("source").await;
    let failure = scene.fails("db", Reason::SourceNotFound).await;
    assert_eq!(failure.cr.status.unwrap().version, Some(1));
    scene.holds("db", &[("value", b"canary-1")]).await;
    assert_eq!(remote.numbers().await, [(1, true)]);

    // What is held without the source is held all the same.
    scene.remove::<Secret>("db").await;
    scene.holds("db", &[("value", b"canary-1")]).await;

    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.serves("db", 1).await;
    assert_eq!(remote.posts().await, 1, "the same bytes are no change");
    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.serves("db", 2).await;
    scene.end().await;
}

#[tokio::test]
async fn secrets_of_the_cluster_are_never_sent() {
    let scene = Scene::begin("refused").await;
    let remote = scene.remote().await;
    for (name, kind, key, value) in [
        ("helm", "helm.sh/release.v1", "release", "canary-release"),
        ("bootstrap", "bootstrap.kubernetes.io/token", "token-secret", "canary-bootstrap"),
        ("account", "kubernetes.io/service-account-token", "token", "canary-account"),
    ] {
        let annotations = json!({"kubernetes.io/service-account.name": "default"});
        let body = json!({"metadata": {"annotations": annotations}, "type": kind, "stringData": {key: value}});
        scene.create::<Secret>(name, body).await;
        let source = json!({"valueFrom": {"secretKeyRef": {"name": name, "key": key}}, "target": {"name": "target"}});
        scene.managed(name, &remote, source).await;
        let failure = scene.fails(name, Reason::SourceRefused).await;
        assert!(failure.stalled);
        scene.remove::<secret_version_operator::api::v1alpha1::SecretVersion>(name).await;
    }
    assert_eq!(remote.operations().await, [""; 0]);
    scene.end().await;
}

#[tokio::test]
async fn a_connections_credential_is_never_sent() {
    let scene = Scene::begin("credential").await;
    let remote = scene.remote().await;
    let credential = json!({"valueFrom": {"secretKeyRef": {"name": "token", "key": "token"}}});
    scene.managed("db", &remote, credential).await;
    let failure = scene.fails("db", Reason::SourceRefused).await;
    assert!(failure.stalled);
    assert_eq!(remote.posts().await, 0);

    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.edit("db", json!({"valueFrom": {"secretKeyRef": {"name": "source", "key": "key"}}})).await;
    scene.serves("db", 1).await;
    scene.end().await;
}

#[tokio::test]
async fn another_source_with_another_value_is_a_change() {
    let scene = Scene::begin("another").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1"), ("same", b"canary-1"), ("other", b"canary-2")]).await;
    scene.managed("db", &remote, json!({})).await;
    scene.serves("db", 1).await;
    scene.edit("db", json!({"valueFrom": {"secretKeyRef": {"key": "same"}}})).await;
    scene.serves("db", 1).await;
    assert_eq!(remote.posts().await, 1, "the same bytes from elsewhere are no change");
    scene.edit("db", json!({"valueFrom": {"secretKeyRef": {"key": "other"}}})).await;
    scene.serves("db", 2).await;
    scene.end().await;
}

#[tokio::test]
async fn a_value_that_the_remote_refuses_is_sent_once_until_it_changes() {
    let scene = Scene::begin("large").await;
    let remote = scene.remote().await;
    let large = b"canary-".repeat(10_000);
    scene.secret("source", &[("key", &large)]).await;
    scene.managed("db", &remote, json!({})).await;
    let failure = scene.fails("db", Reason::CreateRejected).await;
    assert!(failure.stalled);
    assert_eq!(remote.posts().await, 1);
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.serves("db", 1).await;
    assert_eq!((remote.posts().await, remote.numbers().await), (2, vec![(1, true)]));
    scene.end().await;
}
