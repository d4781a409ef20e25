//! A cache that shows the past: own writes that come back late, what came and went unseen, and a world that was before.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use kit::ControlPlane;
use kit::proxy::{Action, Moment, Rule};
use kube::api::DeleteParams;
use kube::runtime::wait::await_condition;
use secret_version_operator::api::v1alpha1::{AbejaConnection, Origin, SecretVersion};
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::follower::Follower;
use crate::subject::{AtRest, Subject};
use crate::table::{Figures, Table, run_of};
use crate::world::{CONNECTION, SOON, STEADY, TOKEN, World};
use crate::{is_full, runs_of};

/// What a cache is filled from.
const CACHED: [&str; 2] = ["secretversions", "secrets"];

/// What people do while the operator sees nothing.
#[derive(Clone, Copy, Debug)]
enum Unseen {
    SpecThereAndBack,
    SourceThereAndBack,
    SourceChangedTwice,
    CreatedAndDeleted,
    DeletedAndCreated,
    TargetDeleted,
}

impl Unseen {
    const ALL: [Self; 6] = [
        Self::SpecThereAndBack,
        Self::SourceThereAndBack,
        Self::SourceChangedTwice,
        Self::CreatedAndDeleted,
        Self::DeletedAndCreated,
        Self::TargetDeleted,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::SpecThereAndBack => "spec changed and changed back",
            Self::SourceThereAndBack => "source changed and changed back",
            Self::SourceChangedTwice => "source changed twice",
            Self::CreatedAndDeleted => "resource created and deleted",
            Self::DeletedAndCreated => "resource deleted and created again (Retain)",
            Self::TargetDeleted => "target deleted",
        }
    }

    /// What was before.
    async fn prepare(self, world: &World<'_>) -> Result<Subject> {
        let mut subject = Subject::new(world).await?;
        match self {
            Self::CreatedAndDeleted => return Ok(subject),
            Self::DeletedAndCreated => {
                let source = subject.source_manifest();
                world.create::<Secret>(source).await?;
                world.create::<SecretVersion>(retained(&subject)).await?;
            }
            _ => subject.apply(world).await?,
        }
        subject.ready(world, 1, SOON).await?;
        Ok(subject)
    }

    /// What nobody sees.
    async fn happen(self, world: &World<'_>, subject: &mut Subject) -> Result<()> {
        match self {
            Self::SpecThereAndBack => {
                subject.switch_off(world).await?;
                subject.edit(world, &json!({ "spec": { "state": "Active" } })).await
            }
            Self::SourceThereAndBack => {
                subject.change(world).await?;
                subject.change_back(world, 0).await
            }
            Self::SourceChangedTwice => {
                subject.change(world).await?;
                subject.change(world).await
            }
            Self::CreatedAndDeleted => {
                subject.apply(world).await?;
                subject.delete(world).await
            }
            Self::DeletedAndCreated => {
                subject.delete(world).await?;
                world.create::<SecretVersion>(retained(subject)).await
            }
            Self::TargetDeleted => {
                world.api::<Secret>().delete(&subject.name, &DeleteParams::default()).await?;
                Ok(())
            }
        }
    }

    /// What must come of it once it can be seen.
    async fn settle(self, world: &World<'_>, subject: &Subject) -> Result<Figures> {
        let expected = match self {
            Self::CreatedAndDeleted => {
                ensure!(world.journal.of(&subject.secret_id).await?.is_empty(), "the remote was asked for it");
                let target = world.api::<Secret>().get_opt(&subject.name).await?;
                ensure!(target.is_none(), "it has a Secret");
                return Ok(Figures::default());
            }
            Self::DeletedAndCreated => return referenced(world, subject).await,
            Self::SourceChangedTwice => AtRest::created(&[0, 2], 2),
            Self::SpecThereAndBack | Self::SourceThereAndBack | Self::TargetDeleted => AtRest::created(&[0], 1),
        };
        let (name, changes) = (&subject.name, expected.changes.len());
        if matches!(self, Self::TargetDeleted) {
            let back = kit::eventually(SOON, "the target is back", || async {
                world.api::<Secret>().get(name).await?;
                Ok(())
            });
            back.await?;
        }
        subject.ready(world, changes, SOON).await?;
        subject.rests(world).await?;
        subject.holds(world, &expected).await
    }
}

/// The resource, one that leaves at the remote what it made, and so has no finalizer.
fn retained(subject: &Subject) -> Value {
    let mut manifest = subject.manifest();
    manifest["spec"]["deletionPolicy"] = "Retain".into();
    manifest
}

/// The successor of a resource that is gone serves what that one left: nothing is made twice.
async fn referenced(world: &World<'_>, subject: &Subject) -> Result<Figures> {
    subject.ready(world, 1, SOON).await?;
    subject.rests(world).await?;
    let status = world.api::<SecretVersion>().get(&subject.name).await?.status.context("no status")?;
    ensure!(status.origin == Some(Origin::Referenced), "recorded as {:?}", status.origin);
    let posts = subject.posts(world).await?.len();
    ensure!(posts == 1, "{posts} creates");
    Ok(Figures { changes: 1, versions: 1, posts })
}

/// Nothing comes through the watches until [`light`].
fn dark(world: &World<'_>) {
    for resource in CACHED {
        world.proxy.watches(resource).freeze();
    }
}

/// What happened in the dark is never told: the operator lists again.
async fn light(world: &World<'_>) -> Result<()> {
    for resource in CACHED {
        world.expire(resource).await?;
        world.proxy.watches(resource).thaw();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_what_happens_while_nothing_is_seen() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_with(plane, "unseen", &STEADY).await.unwrap();
    let cases: Vec<Unseen> = (0..runs_of(100).div_ceil(Unseen::ALL.len())).flat_map(|_| Unseen::ALL).collect();
    let prepared = cases.iter().map(|case| async move { Ok::<_, anyhow::Error>((*case, case.prepare(world).await?)) });
    let mut subjects = try_join_all(prepared).await.unwrap();
    // What was begun may end.
    let begun: Vec<String> = subjects.iter().filter(|(_, s)| s.exists()).map(|(_, s)| s.secret_id.clone()).collect();
    world.all_refreshed(&begun, 1).await.unwrap();

    dark(world);
    let happening = subjects.iter_mut().map(|(case, subject)| case.happen(world, subject));
    try_join_all(happening).await.unwrap();
    light(world).await.unwrap();
    let settling = subjects.iter().map(|(case, subject)| run_of(case.name(), case.settle(world, subject)));
    let table = Table::of(subjects.len(), settling.collect()).await;
    table.conclude("Row 11: seen by a new list alone");
    world.is_clean().await.unwrap();
}

/// A pass that began with one connection sends nothing through it once the resource names another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_another_connection_while_nothing_is_seen() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_with(plane, "other", &STEADY).await.unwrap();
    world.connect("other", "no such token").await.unwrap();
    // The connection is held from now on, so that nothing else keeps the next resource from its create.
    Subject::new(world).await.unwrap().live(world, SOON).await.unwrap();
    let mut subject = Subject::new(world).await.unwrap();
    let read = Rule::on("get", "secretversions").name(&subject.name);
    let mut read = world.proxy.add(read, Action::Hold(Moment::Before));
    subject.apply(world).await.unwrap();
    let held = timeout(SOON, read.hit()).await.unwrap().unwrap();
    let named = |name: &str| json!({ "spec": { "connectionRef": { "name": name } } });
    subject.edit(world, &named("other")).await.unwrap();
    held.release();
    world.fails(&subject.name, Reason::Unauthorized).await.unwrap();
    assert_eq!(subject.posts(world).await.unwrap().len(), 0);

    subject.edit(world, &named(CONNECTION)).await.unwrap();
    subject.ready(world, 1, SOON).await.unwrap();
    subject.holds(world, &AtRest::created(&[0], 1)).await.unwrap();
    world.is_clean().await.unwrap();
}

/// What a refused write shows is believed, though the watch does not show it: else each pass would be refused like the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_what_is_found_when_a_write_is_refused() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_with(plane, "refused", &STEADY).await.unwrap();
    let mut follower = Follower::new(world).await.unwrap();
    dark(world);
    world.patch::<SecretVersion>(&follower.name, &json!({ "spec": { "refreshInterval": "6s" } })).await.unwrap();
    follower.switch_off(world).await.unwrap();
    world.fails(&follower.name, Reason::NoActiveVersion).await.unwrap();
    light(world).await.unwrap();
    follower.make(world).await.unwrap();
    follower.serves(world, SOON).await.unwrap();
    world.is_clean().await.unwrap();
}

/// The same of a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_what_is_found_when_a_write_to_a_connection_is_refused() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_with(plane, "unseen-edit", &STEADY).await.unwrap();
    world.connect("edited", TOKEN).await.unwrap();
    let connections = world.api::<AbejaConnection>();
    let says = |status: &'static str| {
        let ready = move |connection: &AbejaConnection| {
            let conditions = connection.status.iter().flat_map(|status| &status.conditions);
            conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == status)
        };
        await_condition(connections.clone(), "edited", move |it: Option<&AbejaConnection>| it.is_some_and(ready))
    };
    timeout(SOON, says("True")).await.unwrap().unwrap();

    world.proxy.watches("abejaconnections").freeze();
    world.patch::<AbejaConnection>("edited", &json!({ "spec": { "maxRetries": 1 } })).await.unwrap();
    world.patch::<Secret>("edited", &json!({ "stringData": { "token": "no such token" } })).await.unwrap();
    timeout(SOON, says("False")).await.unwrap().unwrap();
    world.proxy.watches("abejaconnections").thaw();
    world.is_clean().await.unwrap();
}

/// A life in which everything is seen late, and in which somebody else edits the resource meanwhile.
async fn seen_late(world: &World<'_>, subject: &mut Subject, within: Duration) -> Result<Figures> {
    subject.apply(world).await?;
    subject.ready(world, 1, within).await?;
    subject.edit(world, &json!({ "metadata": { "annotations": { "edited": "while nobody saw" } } })).await?;
    subject.change(world).await?;
    subject.ready(world, 2, within).await?;
    subject.rests(world).await?;
    subject.holds(world, &AtRest::created(&[0, 1], 2)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_own_writes_that_are_seen_late() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_with(plane, "lag", &STEADY).await.unwrap();
    let mut reference = Subject::new(world).await.unwrap();
    reference.live(world, SOON).await.unwrap();

    let lags: &[u64] = if is_full() { &[5, 20, 60] } else { &[5] };
    let each = runs_of(100).div_ceil(lags.len());
    let mut subjects = Vec::new();
    let mut table = Table::default();
    for lag in lags.iter().copied().map(Duration::from_secs) {
        for resource in CACHED {
            world.proxy.watches(resource).lag(lag);
        }
        let mut late = try_join_all((0..each).map(|_| Subject::new(world))).await.unwrap();
        let runs = late
            .iter_mut()
            .map(|subject| run_of(format!("seen {} s late", lag.as_secs()), seen_late(world, subject, SOON + 4 * lag)));
        table.append(Table::of(each, runs.collect()).await);
        subjects.append(&mut late);
    }
    table.conclude("Row 10: own writes are seen late");
    // As many writes as in a life in which everything is seen at once: none was in vain, none was repeated.
    let writes = world.effective_writes().unwrap();
    for subject in &subjects {
        let (found, expected) = (&writes[&subject.name], &writes[&reference.name]);
        assert!(found == expected || world.was_slow_for(&subject.name).unwrap(), "{}: {found:?}", subject.name);
    }
    let refused = world.refused_writes().unwrap();
    println!("writes refused because the cache lagged: {refused}");
    assert!(refused <= 4 * subjects.len(), "{refused} writes of {} resources were refused", subjects.len());
    world.is_clean().await.unwrap();
}
