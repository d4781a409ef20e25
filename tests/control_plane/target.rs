//! The target Secret: made, merged into or left out as asked; repaired; and never anybody else's.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use secret_version_operator::api::v1alpha1::SecretVersion;
use secret_version_operator::domain::condition::{self, kind};
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};

use crate::scene::{Remote, Scene};

/// An object with everything in it that a property can be.
const ACCOUNT: &[u8] =
    br#"{"user": "canary-user", "port": 5432, "tls": {"ca": "canary-ca", "names": ["a", "b"]}, "none": null}"#;

/// A remote secret with one version.
async fn with_version<'a>(scene: &'a Scene, value: &[u8]) -> Remote<'a> {
    let remote = scene.remote().await;
    remote.make(value).await;
    remote
}

/// An observed resource `app` with this target, following the newest version.
async fn follow(scene: &Scene, remote: &Remote<'_>, target: Value) {
    scene.observed("app", remote, json!({"latest": "Active"}), json!({"target": target})).await;
}

#[tokio::test]
async fn owner_makes_a_secret_that_goes_with_the_resource() {
    let scene = Scene::begin("owner").await;
    let remote = with_version(&scene, b"canary-1").await;
    let labels = json!({"team": "billing"});
    let annotations = json!({"example.com/contact": "billing@example.com"});
    let target = json!({
        "name": "made", "key": "password", "type": "example.com/password", "labels": labels, "annotations": annotations,
    });
    follow(&scene, &remote, target).await;
    let cr = scene.ready("app").await;
    let secret = scene.holds("made", &[("password", b"canary-1")]).await;
    assert_eq!(secret.type_.as_deref(), Some("example.com/password"));
    assert_eq!(json!(secret.metadata.labels), labels);
    assert_eq!(json!(secret.metadata.annotations), annotations);
    let [owner] = secret.metadata.owner_references.unwrap().try_into().unwrap();
    assert_eq!(
        (owner.kind.as_str(), Some(owner.uid), owner.controller),
        ("SecretVersion", cr.metadata.uid, Some(true))
    );
    scene.remove::<SecretVersion>("app").await;
    scene.gone::<Secret>("made").await;
    scene.end().await;
}

#[tokio::test]
async fn orphan_makes_a_secret_that_stays_and_is_found_again() {
    let scene = Scene::begin("orphan").await;
    let remote = with_version(&scene, b"canary-1").await;
    follow(&scene, &remote, json!({"creationPolicy": "Orphan"})).await;
    scene.ready("app").await;
    let secret = scene.holds("app", &[("value", b"canary-1")]).await;
    assert_eq!(secret.metadata.owner_references, None);
    scene.remove::<SecretVersion>("app").await;
    let stays = scene.holds("app", &[("value", b"canary-1")]).await;
    remote.make(b"canary-2").await;
    follow(&scene, &remote, json!({"creationPolicy": "Orphan"})).await;
    scene.serves("app", 2).await;
    let found = scene.holds("app", &[("value", b"canary-2")]).await;
    assert_eq!(found.metadata.uid, stays.metadata.uid);
    scene.end().await;
}

#[tokio::test]
async fn merge_adds_its_own_keys_to_a_secret_that_is_there() {
    let scene = Scene::begin("merge").await;
    let remote = with_version(&scene, b"canary-1").await;
    follow(&scene, &remote, json!({"name": "shared", "creationPolicy": "Merge"})).await;
    let failure = scene.fails("app", Reason::TargetNotFound).await;
    assert!(!failure.stalled);
    assert!(scene.get::<Secret>("shared").await.is_none(), "Merge makes nothing");

    scene
        .create::<Secret>(
            "shared",
            json!({"metadata": {"labels": {"by": "user"}}, "stringData": {"other": "canary-other"}}),
        )
        .await;
    scene.ready("app").await;
    let secret = scene.holds("shared", &[("other", b"canary-other"), ("value", b"canary-1")]).await;
    assert_eq!(json!(secret.metadata.labels), json!({"by": "user"}));
    assert_eq!(secret.metadata.owner_references, None);

    remote.make(b"canary-2").await;
    scene.sync("app").await;
    scene.holds("shared", &[("other", b"canary-other"), ("value", b"canary-2")]).await;
    scene.remove::<SecretVersion>("app").await;
    scene.holds("shared", &[("other", b"canary-other"), ("value", b"canary-2")]).await;
    scene.end().await;
}

#[tokio::test]
async fn merge_never_takes_a_key_by_force() {
    let scene = Scene::begin("conflict").await;
    let remote = with_version(&scene, b"canary-1").await;
    // Not stringData, which leaves nobody as the manager of what it becomes.
    let data = json!({"value": ByteString(b"canary-other".to_vec())});
    let applied = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shared"}, "data": data});
    let params = PatchParams::apply("somebody-else");
    scene.api::<Secret>().patch("shared", &params, &Patch::Apply(&applied)).await.unwrap();
    follow(&scene, &remote, json!({"name": "shared", "creationPolicy": "Merge"})).await;
    let failure = scene.fails("app", Reason::TargetConflict).await;
    assert!(failure.message.contains("somebody-else"), "{}", failure.message);
    scene.holds("shared", &[("value", b"canary-other")]).await;

    scene.edit("app", json!({"target": {"key": "mine"}})).await;
    scene.ready("app").await;
    scene.holds("shared", &[("value", b"canary-other"), ("mine", b"canary-1")]).await;
    scene.end().await;
}

#[tokio::test]
async fn none_makes_no_secret() {
    let scene = Scene::begin("none").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, json!({"target": {"creationPolicy": "None"}})).await;
    let cr = scene.serves("db", 1).await;
    let status = cr.status.unwrap();
    assert_eq!(status.target, None);
    assert_eq!(condition::get(&status.conditions, kind::TARGET_SYNCED).unwrap().reason, Reason::NoTarget.as_str());
    assert!(scene.get::<Secret>("db").await.is_none());
    assert_eq!(scene.writes().await, 3, "finalizer, intent, status");

    scene.edit("db", json!({"target": null})).await;
    scene.holds("db", &[("value", b"canary-1")]).await;
    scene.end().await;
}

#[tokio::test]
async fn data_takes_properties_of_a_json_value() {
    let scene = Scene::begin("data").await;
    let remote = with_version(&scene, ACCOUNT).await;
    let data = |pairs: &[(&str, &str)]| -> Value {
        pairs.iter().map(|(key, property)| json!({"key": key, "property": property})).collect()
    };
    let all = data(&[
        ("username", "user"),
        ("port", "port"),
        ("tls", "tls"),
        ("ca.crt", "/tls/ca"),
        ("first", "/tls/names/0"),
    ]);
    follow(&scene, &remote, json!({"data": all})).await;
    scene.ready("app").await;
    let tls = br#"{"ca":"canary-ca","names":["a","b"]}"#;
    scene
        .holds(
            "app",
            &[("username", b"canary-user"), ("port", b"5432"), ("tls", tls), ("ca.crt", b"canary-ca"), ("first", b"a")],
        )
        .await;

    // Whoever added a key keeps it; what is no longer asked for goes.
    scene.patch::<Secret>("app", json!({"stringData": {"mine": "canary-mine"}})).await;
    scene.edit("app", json!({"target": {"data": data(&[("username", "user")])}})).await;
    scene.holds("app", &[("username", b"canary-user"), ("mine", b"canary-mine")]).await;

    for missing in ["none", "password", "/tls/names/7"] {
        scene.edit("app", json!({"target": {"data": data(&[("username", missing)])}})).await;
        let failure = scene.fails("app", Reason::PropertyNotFound).await;
        assert!(failure.message.contains(missing), "{}", failure.message);
        scene.holds("app", &[("username", b"canary-user"), ("mine", b"canary-mine")]).await;
    }
    scene.edit("app", json!({"target": {"data": data(&[("username", "user")])}})).await;
    scene.ready("app").await;
    remote.make(b"canary-no-json").await;
    scene.sync("app").await;
    let failure = scene.fails("app", Reason::ValueNotJson).await;
    assert_eq!(failure.cr.status.unwrap().version, Some(1), "status names what the Secret holds");
    scene.holds("app", &[("username", b"canary-user"), ("mine", b"canary-mine")]).await;
    scene.end().await;
}

#[tokio::test]
async fn a_secret_that_was_deleted_or_edited_is_repaired_at_once() {
    let scene = Scene::begin("repair").await;
    let remote = with_version(&scene, b"canary-1").await;
    follow(&scene, &remote, json!({"labels": {"team": "billing"}})).await;
    scene.ready("app").await;
    let first = scene.holds("app", &[("value", b"canary-1")]).await;
    scene.delete::<Secret>("app").await;
    let second = scene.until::<Secret>("app", "is made anew", |s| s.metadata.uid != first.metadata.uid).await;
    assert_eq!(second.data, first.data);

    let edits = [
        json!({"stringData": {"value": "canary-edited"}}),
        json!({"data": {"value": null}}),
        json!({"data": null}),
        json!({"metadata": {"labels": {"team": "other"}}}),
        json!({"metadata": {"ownerReferences": null, "annotations": {"secrets.abeja.io/adopt": "app"}}}),
    ];
    for edit in edits {
        scene.patch::<Secret>("app", edit.clone()).await;
        let whole = |s: &Secret| {
            crate::scene::data(s).get("value").is_some_and(|value| value == b"canary-1")
                && json!(s.metadata.labels) == json!({"team": "billing"})
                && s.metadata.owner_references.is_some()
        };
        scene.until(second.metadata.name.as_deref().unwrap(), &format!("is repaired after {edit}"), whole).await;
    }
    scene.ready("app").await;
    scene.end().await;
}

#[tokio::test]
async fn a_foreign_secret_is_refused_until_it_is_handed_over() {
    let scene = Scene::begin("foreign").await;
    let remote = with_version(&scene, b"canary-1").await;
    scene
        .create::<Secret>(
            "app",
            json!({"metadata": {"labels": {"by": "user"}}, "stringData": {"other": "canary-other"}}),
        )
        .await;
    follow(&scene, &remote, json!({"labels": {"team": "billing"}})).await;
    let failure = scene.fails("app", Reason::TargetNotOwned).await;
    assert!(failure.message.contains("secrets.abeja.io/adopt=app"), "{}", failure.message);
    scene.holds("app", &[("other", b"canary-other")]).await;

    let adopt = |name: &str| json!({"metadata": {"annotations": {"secrets.abeja.io/adopt": name}}});
    scene.patch::<Secret>("app", adopt("another")).await;
    scene.sync("app").await;
    scene.fails("app", Reason::TargetNotOwned).await;

    scene.patch::<Secret>("app", adopt("app")).await;
    scene.ready("app").await;
    let secret = scene.holds("app", &[("other", b"canary-other"), ("value", b"canary-1")]).await;
    assert_eq!(json!(secret.metadata.labels), json!({"by": "user", "team": "billing"}));
    scene.end().await;
}

#[tokio::test]
async fn a_secret_of_another_resource_is_never_taken() {
    let scene = Scene::begin("others").await;
    let remote = with_version(&scene, b"canary-1").await;
    follow(&scene, &remote, json!({})).await;
    scene.ready("app").await;
    scene.observed("thief", &remote, json!({"number": 1}), json!({"target": {"name": "app", "key": "mine"}})).await;
    scene.fails("thief", Reason::TargetNotOwned).await;
    let adopt = json!({"metadata": {"annotations": {"secrets.abeja.io/adopt": "thief"}}});
    scene.patch::<Secret>("app", adopt).await;
    scene.sync("thief").await;
    scene.fails("thief", Reason::TargetNotOwned).await;
    scene.holds("app", &[("value", b"canary-1")]).await;

    // Once it is given up it can be had.
    scene.remove::<SecretVersion>("app").await;
    scene.ready("thief").await;
    scene.holds("app", &[("mine", b"canary-1")]).await;
    scene.end().await;
}

#[tokio::test]
async fn another_name_moves_the_value_and_removes_the_old_secret() {
    let scene = Scene::begin("rename").await;
    let remote = with_version(&scene, b"canary-1").await;
    follow(&scene, &remote, json!({"name": "old"})).await;
    scene.ready("app").await;
    scene.edit("app", json!({"target": {"name": "new"}})).await;
    scene.holds("new", &[("value", b"canary-1")]).await;
    scene.gone::<Secret>("old").await;
    let cr = scene.ready("app").await;
    assert_eq!(cr.status.unwrap().target.unwrap().name, "new");

    // What cannot be written does not cost the one that is there.
    scene.secret("taken", &[("other", b"canary-other")]).await;
    scene.edit("app", json!({"target": {"name": "taken"}})).await;
    scene.fails("app", Reason::TargetNotOwned).await;
    scene.holds("new", &[("value", b"canary-1")]).await;
    scene.remove::<Secret>("taken").await;
    scene.holds("taken", &[("value", b"canary-1")]).await;
    scene.gone::<Secret>("new").await;
    scene.end().await;
}

#[tokio::test]
async fn a_former_secret_that_is_somebody_elses_by_now_stays() {
    let scene = Scene::begin("former").await;
    let remote = with_version(&scene, b"canary-1").await;
    follow(&scene, &remote, json!({"name": "old"})).await;
    scene.ready("app").await;
    scene.edit("app", json!({"suspend": true})).await;
    scene.remove::<Secret>("old").await;
    scene.secret("old", &[("other", b"canary-other")]).await;
    scene.edit("app", json!({"suspend": null, "target": {"name": "new"}})).await;
    scene.holds("new", &[("value", b"canary-1")]).await;
    scene.ready("app").await;
    scene.holds("old", &[("other", b"canary-other")]).await;
    scene.end().await;
}

#[tokio::test]
async fn an_immutable_secret_keeps_its_value_and_is_made_anew_once_it_is_gone() {
    let scene = Scene::begin("immutable").await;
    let remote = with_version(&scene, b"canary-1").await;
    follow(&scene, &remote, json!({})).await;
    scene.ready("app").await;
    scene.patch::<Secret>("app", json!({"immutable": true})).await;
    scene.sync("app").await;
    scene.ready("app").await;
    remote.make(b"canary-2").await;
    scene.sync("app").await;
    let failure = scene.fails("app", Reason::TargetInvalid).await;
    assert!(failure.stalled && failure.message.contains("immutable"), "{}", failure.message);
    scene.holds("app", &[("value", b"canary-1")]).await;
    scene.delete::<Secret>("app").await;
    scene.serves("app", 2).await;
    scene.holds("app", &[("value", b"canary-2")]).await;
    scene.end().await;
}

#[tokio::test]
async fn a_secret_of_another_type_is_not_written() {
    let scene = Scene::begin("type").await;
    let remote = with_version(&scene, b"canary-1").await;
    let body = json!({
        "metadata": {"annotations": {"secrets.abeja.io/adopt": "app"}}, "type": "example.com/other",
        "stringData": {"other": "canary-other"},
    });
    scene.create::<Secret>("app", body).await;
    follow(&scene, &remote, json!({})).await;
    let failure = scene.fails("app", Reason::TargetInvalid).await;
    assert!(failure.stalled && failure.message.contains("example.com/other"), "{}", failure.message);
    scene.holds("app", &[("other", b"canary-other")]).await;
    scene.end().await;
}

#[tokio::test]
async fn a_resource_made_anew_waits_until_the_old_ones_secret_is_collected() {
    let scene = Scene::begin("anew").await;
    let remote = with_version(&scene, b"canary-1").await;
    follow(&scene, &remote, json!({})).await;
    scene.ready("app").await;
    let first = scene.holds("app", &[("value", b"canary-1")]).await;
    remote.make(b"canary-2").await;
    scene.remove::<SecretVersion>("app").await;
    follow(&scene, &remote, json!({})).await;
    scene.serves("app", 2).await;
    let second = scene.holds("app", &[("value", b"canary-2")]).await;
    assert_ne!(first.metadata.uid, second.metadata.uid);
    scene.end().await;
}
