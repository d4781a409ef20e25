//! What anybody may do to the target Secret: it is made again, repaired, or left alone, and never taken from anybody.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kit::{ControlPlane, eventually};
use kube::api::DeleteParams;
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};

use crate::runs_of;
use crate::subject::{AtRest, Subject};
use crate::table::{Figures, Table, run_of};
use crate::world::{SOON, World};

/// Resources at the same time. Most of a run is waiting.
const AT_ONCE: usize = 32;

/// The backoff by then, and what I5 allows after that.
const HEALING: Duration = Duration::from_mins(1);

/// Somebody's own data in a Secret.
const OTHERS: &str = "b3RoZXJz";

async fn synced(world: &World<'_>) -> Result<Subject> {
    let mut subject = Subject::new(world).await?;
    subject.apply(world).await?;
    subject.ready(world, 1, SOON).await?;
    Ok(subject)
}

async fn remove(world: &World<'_>, name: &str) -> Result<()> {
    world.api::<Secret>().delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Waits until the Secret holds the value of a change, whatever else it holds.
async fn holds(world: &World<'_>, subject: &Subject, change: usize) -> Result<Secret> {
    eventually(HEALING, "the target holds the value", async || {
        let target = world.api::<Secret>().get(&subject.name).await?;
        let value = target.data.as_ref().and_then(|data| data.get("value")).map(|bytes| bytes.0.as_slice());
        ensure!(value == Some(&subject.value(change)), "it does not");
        Ok(target)
    })
    .await
}

/// What somebody else put there is still there.
fn keeps_others(target: &Secret) -> Result<()> {
    let others = target.data.as_ref().and_then(|data| data.get("others"));
    ensure!(others.is_some_and(|bytes| bytes.0 == b"others"), "what somebody else put there is gone");
    Ok(())
}

async fn deleted(world: &World<'_>) -> Result<Figures> {
    let subject = synced(world).await?;
    let before = world.api::<Secret>().get(&subject.name).await?.metadata.uid;
    remove(world, &subject.name).await?;
    let after = holds(world, &subject, 0).await?.metadata.uid;
    ensure!(before != after, "it was never gone");
    subject.ready(world, 1, HEALING).await?;
    subject.holds(world, &AtRest::created(&[0], 1)).await
}

async fn edited(world: &World<'_>, edit: &Value) -> Result<Figures> {
    let subject = synced(world).await?;
    world.patch::<Secret>(&subject.name, edit).await?;
    holds(world, &subject, 0).await?;
    subject.ready(world, 1, HEALING).await?;
    subject.records(world, 1).await
}

/// Keys, labels and annotations of others stay, through a repair and through a change.
async fn added_to(world: &World<'_>) -> Result<Figures> {
    let mut subject = synced(world).await?;
    let edit = json!({
        "metadata": { "labels": { "by": "others" }, "annotations": { "by": "others" } },
        "data": { "others": OTHERS, "value": "ZWRpdGVk" },
    });
    world.patch::<Secret>(&subject.name, &edit).await?;
    holds(world, &subject, 0).await?;
    subject.change(world).await?;
    let target = holds(world, &subject, 1).await?;
    keeps_others(&target)?;
    let others = |map: &Option<BTreeMap<String, String>>| {
        map.as_ref().and_then(|map| map.get("by")).is_some_and(|by| by == "others")
    };
    ensure!(others(&target.metadata.labels) && others(&target.metadata.annotations), "labels of others are gone");
    subject.ready(world, 2, HEALING).await?;
    let posts = subject.posts(world).await?.len();
    ensure!(posts == 2, "{posts} POSTs");
    Ok(Figures { changes: 2, versions: 2, posts })
}

/// An immutable one keeps its value; the version is made and recorded all the same, and delivered once the Secret may go.
async fn immutable(world: &World<'_>) -> Result<Figures> {
    let mut subject = synced(world).await?;
    world.patch::<Secret>(&subject.name, &json!({ "immutable": true })).await?;
    subject.change(world).await?;
    let message = world.fails(&subject.name, Reason::TargetInvalid).await?;
    ensure!(message.contains("immutable"), "{message}");
    subject.target_is(world, 0).await?;
    remove(world, &subject.name).await?;
    holds(world, &subject, 1).await?;
    subject.ready(world, 2, HEALING).await?;
    subject.holds(world, &AtRest::created(&[0, 1], 2)).await
}

/// A Secret of somebody else's has the name, of this type or of another: it stays as it is, and the value comes once it is gone.
async fn foreign(world: &World<'_>, before: bool, kind: &str, owner: Option<Value>) -> Result<Figures> {
    let mut subject = if before { Subject::new(world).await? } else { synced(world).await? };
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": { "name": subject.name, "ownerReferences": owner.map(|owner| vec![owner]) },
        "data": { "others": OTHERS },
    });
    let made = if before {
        world.create::<Secret>(theirs).await?;
        subject.apply(world).await?;
        0
    } else {
        // Between the deletion and the operator's answer to it there is room for another one, sooner or later.
        eventually(SOON, "somebody else is faster", async || {
            let _ = world.api::<Secret>().delete(&subject.name, &DeleteParams::default()).await;
            world.create::<Secret>(theirs.clone()).await
        })
        .await?;
        1
    };
    if made == 1 {
        subject.change(world).await?;
    }
    let message = world.fails(&subject.name, Reason::TargetNotOwned).await?;
    ensure!(message.contains("adopt"), "{message}");
    let target = world.api::<Secret>().get(&subject.name).await?;
    keeps_others(&target)?;
    ensure!(target.data.is_some_and(|data| data.len() == 1), "something was added to somebody else's Secret");
    remove(world, &subject.name).await?;
    holds(world, &subject, made).await?;
    subject.ready(world, made + 1, HEALING).await?;
    subject.records(world, made + 1).await
}

/// The Secret has no room left.
async fn full(world: &World<'_>) -> Result<Figures> {
    let mut subject = synced(world).await?;
    let room = "eHh4".repeat(345_000);
    world.patch::<Secret>(&subject.name, &json!({ "data": { "others": OTHERS, "room": room } })).await?;
    subject.change_to(world, 20_000).await?;
    let message = world.fails(&subject.name, Reason::TargetInvalid).await?;
    ensure!(message.contains("refuses"), "{message}");
    let target = holds(world, &subject, 0).await?;
    keeps_others(&target)?;
    world.patch::<Secret>(&subject.name, &json!({ "data": { "room": null } })).await?;
    keeps_others(&holds(world, &subject, 1).await?)?;
    subject.ready(world, 2, HEALING).await?;
    let posts = subject.posts(world).await?.len();
    ensure!(posts == 2, "{posts} POSTs");
    Ok(Figures { changes: 2, versions: 2, posts })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_34_whatever_befalls_the_target() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "targets").await.unwrap();
    let edits = [
        ("its value edited", json!({ "data": { "value": "ZWRpdGVk" } })),
        ("its value emptied", json!({ "data": { "value": "" } })),
        ("its key removed", json!({ "data": { "value": null } })),
        ("all data removed", json!({ "data": null })),
    ];
    let theirs = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "theirs" } });
    world.create::<ConfigMap>(theirs).await.unwrap();
    // One that does not exist would have the garbage collector take the Secret away.
    let uid = world.api::<ConfigMap>().get("theirs").await.unwrap().metadata.uid;
    let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": uid, "controller": true });
    let mut runs = Vec::new();
    for _ in 0..runs_of(50) {
        runs.push(run_of("deleted", deleted(world)));
        for (name, edit) in &edits {
            runs.push(run_of(*name, edited(world, edit)));
        }
        runs.push(run_of("keys, labels and annotations added", added_to(world)));
        runs.push(run_of("immutable", immutable(world)));
        for (name, kind) in [("foreign", "Opaque"), ("foreign, of another type", "example.com/other")] {
            runs.push(run_of(format!("{name}, from the start"), foreign(world, true, kind, None)));
            runs.push(run_of(format!("{name}, in its place"), foreign(world, false, kind, None)));
        }
        runs.push(run_of("owned by another controller", foreign(world, true, "Opaque", Some(owner.clone()))));
        runs.push(run_of("full to the last byte", full(world)));
    }
    Table::of(AT_ONCE, runs).await.conclude("34: whatever befalls the target");
    world.is_clean().await.unwrap();
}
