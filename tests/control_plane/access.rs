//! Connections of the cluster: who may use them, for what, and what becomes of those whose access is revoked.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams, PostParams};
use secret_version_operator::api::v1alpha1::{ClusterAbejaConnection, SecretVersion};
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::world::{self, OTHER_ORGANIZATION};

/// A connection of the cluster with these access rules, named like the scene's namespace.
async fn share(scene: &Scene, access: Value) {
    let mut spec = world::connection(&scene.world.simulator);
    spec["auth"]["token"]["secretRef"]["name"] = "cluster-token".into();
    spec["access"] = access;
    let connection = json!({
        "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "ClusterAbejaConnection",
        "metadata": {"name": scene.namespace}, "spec": spec,
    });
    let connection = serde_json::from_value(connection).unwrap();
    connections(scene).create(&PostParams::default(), &connection).await.unwrap();
}

/// Other access rules.
async fn grant(scene: &Scene, access: Value) {
    let patch = Patch::Merge(json!({"spec": {"access": access}}));
    connections(scene).patch(&scene.namespace, &PatchParams::default(), &patch).await.unwrap();
}

fn connections(scene: &Scene) -> Api<ClusterAbejaConnection> {
    Api::all(scene.client.clone())
}

/// What makes a resource use it.
fn through(scene: &Scene) -> Value {
    json!({"connectionRef": {"kind": "ClusterAbejaConnection", "name": scene.namespace}})
}

/// A rule for the scene's namespace.
fn this(scene: &Scene, permission: &str) -> Value {
    json!({"namespaces": {"names": [scene.namespace]}, "permission": permission})
}

#[tokio::test]
async fn without_rules_nobody_may_and_nobody_learns_that_it_exists() {
    let scene = Scene::begin("nobody").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    share(&scene, json!([])).await;
    scene.observed("app", &remote, json!({"latest": "Active"}), through(&scene)).await;
    let hidden = scene.fails("app", Reason::ConnectionNotFound).await;
    assert!(!hidden.stalled);
    let absent = json!({"connectionRef": {"kind": "ClusterAbejaConnection", "name": "absent"}});
    scene.observed("absent", &remote, json!({"latest": "Active"}), absent).await;
    let not_there = scene.fails("absent", Reason::ConnectionNotFound).await;
    assert_eq!(hidden.message, not_there.message.replace("absent", &scene.namespace));
    assert_eq!(remote.operations().await, [""; 0]);

    grant(&scene, json!([{"namespaces": {"names": ["another"]}, "permission": "ReadWrite"}])).await;
    scene.sync("app").await;
    scene.fails("app", Reason::ConnectionNotFound).await;
    grant(&scene, json!([this(&scene, "Read")])).await;
    scene.serves("app", 1).await;
    scene.end().await;
}

#[tokio::test]
async fn read_is_not_enough_to_create_or_to_hold_a_state() {
    let scene = Scene::begin("read").await;
    let (remote, other) = (scene.remote().await, scene.remote().await);
    remote.make(b"canary-1").await;
    scene.secret("source", &[("key", b"canary-2")]).await;
    share(&scene, json!([this(&scene, "Read")])).await;
    scene.observed("app", &remote, json!({"number": 1}), through(&scene)).await;
    scene.serves("app", 1).await;
    scene.edit("app", json!({"state": "Inactive"})).await;
    scene.fails("app", Reason::ReadOnly).await;
    scene.managed("db", &other, through(&scene)).await;
    let failure = scene.fails("db", Reason::ReadOnly).await;
    assert!(failure.message.contains("ReadWrite"), "{}", failure.message);
    assert_eq!((remote.numbers().await, other.posts().await), (vec![(1, true)], 0));

    // Rules are OR-ed.
    grant(&scene, json!([this(&scene, "Read"), this(&scene, "ReadWrite")])).await;
    scene.serves("db", 1).await;
    remote.has(&[(1, false)]).await;
    scene.ready("app").await;
    scene.end().await;
}

#[tokio::test]
async fn a_rule_may_name_secrets() {
    let scene = Scene::begin("secrets").await;
    let name = format!("{}-other", scene.namespace);
    let (named, other) = (scene.remote().await, scene.remote_named(&name).await);
    named.make(b"canary-1").await;
    other.make(b"canary-2").await;
    let mut rule = this(&scene, "Read");
    rule["secretIds"] = json!([named.id]);
    share(&scene, json!([rule])).await;
    scene.observed("named", &named, json!({"latest": "Active"}), through(&scene)).await;
    scene.serves("named", 1).await;
    scene.observed("other", &other, json!({"latest": "Active"}), through(&scene)).await;
    scene.fails("other", Reason::ConnectionNotFound).await;

    // A name leads nowhere that an id would not.
    let mut by_name = through(&scene);
    by_name["remoteRef"] = json!({"secretId": null, "secretName": name});
    scene.observed("by-name", &other, json!({"latest": "Active"}), by_name).await;
    let hidden = scene.fails("by-name", Reason::SecretNotFound).await;
    let mut absent = through(&scene);
    absent["remoteRef"] = json!({"secretId": null, "secretName": format!("no-{name}")});
    scene.observed("absent", &other, json!({"latest": "Active"}), absent).await;
    let not_there = scene.fails("absent", Reason::SecretNotFound).await;
    assert_eq!(hidden.message, not_there.message.replace("no-", ""));
    assert_eq!(other.operations().await, [""; 0]);
    scene.end().await;
}

#[tokio::test]
async fn a_name_gives_no_more_rights_than_the_id() {
    let scene = Scene::begin("by-name").await;
    let remote = scene.remote().await;
    let mut writable = this(&scene, "ReadWrite");
    writable["secretIds"] = json!(["another"]);
    share(&scene, json!([this(&scene, "Read"), writable])).await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    let mut by_name = through(&scene);
    by_name["remoteRef"] = json!({"secretId": null, "secretName": scene.namespace});
    scene.managed("db", &remote, by_name).await;
    scene.fails("db", Reason::ReadOnly).await;
    assert_eq!(remote.operations().await, [""; 0]);
    scene.end().await;
}

#[tokio::test]
async fn a_rule_may_select_namespaces_by_label() {
    let scene = Scene::begin("labels").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    let rule = |selector: Value| json!([{"namespaces": {"selector": selector}, "permission": "Read"}]);
    share(&scene, rule(json!({"matchLabels": {"team": scene.namespace}}))).await;
    scene.observed("app", &remote, json!({"latest": "Active"}), through(&scene)).await;
    scene.fails("app", Reason::ConnectionNotFound).await;
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": scene.namespace}}}));
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    namespaces.patch(&scene.namespace, &PatchParams::default(), &label).await.unwrap();
    scene.serves("app", 1).await;

    grant(&scene, rule(json!({}))).await;
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": null}}}));
    namespaces.patch(&scene.namespace, &PatchParams::default(), &label).await.unwrap();
    scene.sync("app").await;
    scene.serves("app", 1).await;
    scene.end().await;
}

#[tokio::test]
async fn another_organization_cannot_be_named_through_a_connection_of_the_cluster() {
    let scene = Scene::begin("organization").await;
    let remote = scene.remote().await;
    share(&scene, json!([this(&scene, "ReadWrite")])).await;
    let mut spec = through(&scene);
    spec["remoteRef"] = json!({"organizationId": OTHER_ORGANIZATION});
    scene.observed("app", &remote, json!({"latest": "Active"}), spec).await;
    let failure = scene.fails("app", Reason::OrganizationNotAllowed).await;
    assert!(failure.stalled);
    assert_eq!(remote.operations().await, [""; 0]);
    scene.end().await;
}

#[tokio::test]
async fn what_may_not_be_used_is_not_looked_for_though_others_are_refreshed() {
    const NOBODYS: &str = "7770000000000";
    let scene = Scene::begin("stray").await;
    let remote = scene.remote().await;
    remote.make(b"canary-1").await;
    share(&scene, json!([this(&scene, "Read")])).await;
    let mut stray = through(&scene);
    stray["refreshInterval"] = "5s".into();
    let app = stray.clone();
    stray["remoteRef"] = json!({"organizationId": NOBODYS});
    scene.observed("stray", &remote, json!({"latest": "Active"}), stray).await;
    scene.fails("stray", Reason::OrganizationNotAllowed).await;
    scene.observed("app", &remote, json!({"latest": "Active"}), app).await;
    scene.serves("app", 1).await;
    for number in 2..4 {
        remote.make(format!("canary-{number}").as_bytes()).await;
        scene.serves("app", number).await;
    }
    let journal = scene.world.simulator.journal().await.unwrap();
    assert!(journal.iter().all(|entry| entry["organization_id"] != NOBODYS), "somebody looked for it");
    scene.end().await;
}

#[tokio::test]
async fn who_loses_access_keeps_the_last_value_and_is_let_go_when_deleted() {
    let scene = Scene::begin("revoked").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    share(&scene, json!([this(&scene, "ReadWrite")])).await;
    scene.managed("db", &remote, through(&scene)).await;
    let cr = scene.serves("db", 1).await;
    grant(&scene, json!([])).await;
    scene.fails("db", Reason::ConnectionNotFound).await;
    scene.secret("source", &[("key", b"canary-2")]).await;
    scene.sync("db").await;
    scene.holds("db", &[("value", b"canary-1")]).await;

    let before = remote.requests().await.len();
    scene.remove::<SecretVersion>("db").await;
    let note = scene.told("db", Reason::VersionsRetained).await;
    assert!(note.contains(&cr.status.unwrap().version_id.unwrap()) && note.contains("revoked"), "{note}");
    assert_eq!(remote.requests().await.len(), before, "no remote call");
    assert_eq!(remote.numbers().await, [(1, true)]);
    scene.end().await;
}
