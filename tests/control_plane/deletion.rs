//! Things go in any order: what was created at the remote goes too, or a condition says what blocks it and how to let go.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kit::eventually;
use kube::api::{Api, DeleteParams};
use secret_version_operator::api::v1alpha1::{AbejaConnection, SecretVersion};
use secret_version_operator::domain::reason::Reason;
use serde_json::json;

use crate::scene::{CONNECTION, Remote, SOON, Scene};

/// A scene with one resource of each policy and an observed one, all in sync.
struct Household<'a> {
    deleted: Remote<'a>,
    deactivated: Remote<'a>,
    retained: Remote<'a>,
    observed: Remote<'a>,
}

impl<'a> Household<'a> {
    async fn of(scene: &'a Scene) -> Self {
        scene.secret("source", &[("key", b"canary-1")]).await;
        let [deleted, deactivated, retained, observed] =
            [scene.remote().await, scene.remote().await, scene.remote().await, scene.remote().await];
        for (policy, remote) in [("Delete", &deleted), ("Deactivate", &deactivated), ("Retain", &retained)] {
            scene.managed(&policy.to_lowercase(), remote, json!({"deletionPolicy": policy})).await;
        }
        observed.make(b"canary-1").await;
        scene.observed("observed", &observed, json!({"latest": "Active"}), json!({})).await;
        for name in ["delete", "deactivate", "retain", "observed"] {
            scene.serves(name, 1).await;
        }
        Self { deleted, deactivated, retained, observed }
    }

    /// What the policies say is what is left.
    async fn is_gone(&self) {
        assert_eq!(self.deleted.numbers().await, []);
        assert_eq!(self.deactivated.numbers().await, [(1, false)]);
        assert_eq!(self.retained.numbers().await, [(1, true)]);
        assert_eq!(self.observed.numbers().await, [(1, true)]);
    }
}

/// Asks for the deletion of the scene's namespace.
async fn delete_namespace(scene: &Scene) {
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    namespaces.delete(&scene.namespace, &DeleteParams::default()).await.unwrap();
}

/// Waits until the scene's namespace is gone, with everything that was in it.
async fn namespace_is_gone(scene: &Scene) {
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    eventually(SOON, "the namespace is gone", async || {
        let left = namespaces.get_opt(&scene.namespace).await?;
        anyhow::ensure!(left.is_none(), "{}", serde_json::to_string_pretty(&left)?);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_namespace_goes_as_a_whole() {
    let scene = Scene::begin("whole").await;
    let household = Household::of(&scene).await;
    delete_namespace(&scene).await;
    namespace_is_gone(&scene).await;
    household.is_gone().await;
    scene.end().await;
}

#[tokio::test]
async fn a_namespace_goes_whose_credential_went_first() {
    let scene = Scene::begin("credential").await;
    let household = Household::of(&scene).await;
    scene.remove::<Secret>("token").await;
    scene.fails("delete", Reason::CredentialNotFound).await;
    delete_namespace(&scene).await;
    namespace_is_gone(&scene).await;
    household.is_gone().await;
    scene.end().await;
}

#[tokio::test]
async fn a_namespace_goes_whose_connection_went_first() {
    let scene = Scene::begin("connection").await;
    let household = Household::of(&scene).await;
    scene.delete::<AbejaConnection>(CONNECTION).await;
    scene.remove::<Secret>("token").await;
    delete_namespace(&scene).await;
    namespace_is_gone(&scene).await;
    household.is_gone().await;
    scene.end().await;
}

#[tokio::test]
async fn a_namespace_goes_whose_resources_went_first_while_the_remote_was_away() {
    let scene = Scene::begin("resources").await;
    let household = Household::of(&scene).await;
    let fault = household.deleted.fault(json!({"drop": {"at": "before_commit"}})).await;
    scene.delete::<SecretVersion>("delete").await;
    scene.remove::<SecretVersion>("deactivate").await;
    scene.remove::<SecretVersion>("retain").await;
    scene.fails("delete", Reason::RemoteUnavailable).await;
    delete_namespace(&scene).await;
    household.deleted.heal(fault).await;
    namespace_is_gone(&scene).await;
    household.is_gone().await;
    scene.end().await;
}

#[tokio::test]
async fn a_remote_that_is_away_blocks_a_deletion_and_says_how_to_let_go() {
    let scene = Scene::begin("away").await;
    let (waits, goes) = (scene.remote().await, scene.remote().await);
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("waits", &waits, json!({})).await;
    scene.managed("goes", &goes, json!({})).await;
    scene.serves("waits", 1).await;
    let cr = scene.serves("goes", 1).await;
    let fault = waits.fault(json!({"status": {"code": 503}})).await;
    goes.fault(json!({"status": {"code": 503}})).await;
    for name in ["waits", "goes"] {
        scene.delete::<SecretVersion>(name).await;
        let failure = scene.fails(name, Reason::RemoteUnavailable).await;
        assert!(!failure.stalled && failure.message.contains("spec.deletionPolicy to Retain"), "{}", failure.message);
        scene.holds(name, &[("value", b"canary-1")]).await;
    }

    scene.edit("goes", json!({"deletionPolicy": "Retain"})).await;
    scene.gone::<SecretVersion>("goes").await;
    assert_eq!(goes.numbers().await, [(1, true)]);
    let note = scene.told("goes", Reason::VersionsRetained).await;
    assert!(note.contains(&cr.status.unwrap().version_id.unwrap()), "{note}");

    waits.heal(fault).await;
    scene.gone::<SecretVersion>("waits").await;
    assert_eq!(waits.numbers().await, []);
    scene.end().await;
}

#[tokio::test]
async fn a_version_that_is_gone_already_blocks_nothing() {
    let scene = Scene::begin("already").await;
    let remote = scene.remote().await;
    scene.secret("source", &[("key", b"canary-1")]).await;
    scene.managed("db", &remote, json!({})).await;
    scene.serves("db", 1).await;
    let [version] = remote.versions().await.try_into().unwrap();
    remote.destroy(&version).await;
    scene.remove::<SecretVersion>("db").await;
    scene.end().await;
}

#[tokio::test]
async fn a_resource_that_never_came_to_anything_goes_at_once() {
    let scene = Scene::begin("nothing").await;
    let remote = scene.remote().await;
    scene.managed("db", &remote, json!({})).await;
    scene.fails("db", Reason::SourceNotFound).await;
    scene.remove::<SecretVersion>("db").await;
    assert_eq!(remote.posts().await, 0);
    scene.end().await;
}
