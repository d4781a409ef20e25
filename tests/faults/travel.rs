//! An operator that is shown an older world, in which a resource lives whose successor has its name.

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use http::Request;
use k8s_openapi::api::core::v1::Secret;
use kit::proxy::{Action, Rule};
use kit::{ControlPlane, eventually};
use secret_version_operator::api::v1alpha1::SecretVersion;
use serde_json::json;
use tokio::time::timeout;

use crate::runs_of;
use crate::subject::Subject;
use crate::table::{Figures, Table, run_of};
use crate::world::{SOON, STEADY, World};

/// How the operator comes to look at the older world.
#[derive(Clone, Copy, Debug)]
enum How {
    /// Its watches end with a 410.
    Relist,
    /// It starts anew, and remembers nothing.
    Restart,
}

/// What the older world shows of a resource that is gone by now.
#[derive(Clone, Copy, Debug)]
enum Past {
    /// It is well.
    Alive,
    /// It is being deleted, and its version could not be deleted yet: the version that its successor serves now.
    BeingDeleted,
}

/// Lists as they were.
struct Lists(Vec<(&'static str, String)>);

impl Lists {
    async fn keep(world: &World<'_>) -> Result<Self> {
        let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let mut lists = Vec::new();
        for (resource, path, accept) in [
            ("secretversions", "/apis/secrets.abeja.io/v1alpha1/secretversions".to_owned(), "application/json"),
            ("secrets", format!("/api/v1/namespaces/{}/secrets", world.namespace), metadata),
        ] {
            let request = Request::get(path).header("accept", accept).body(Vec::new())?;
            lists.push((resource, world.client.request_text(request).await?));
        }
        Ok(Self(lists))
    }

    /// Shows them to the operator, until something else has been refreshed twice, and then lets it catch up.
    async fn show(&self, world: &World<'_>, how: How, witness: &Subject) -> Result<()> {
        let mut replays = Vec::new();
        for (resource, text) in &self.0 {
            replays.push(world.proxy.add(Rule::on("list", resource).always(), Action::Replay(text.clone())));
            world.proxy.watches(resource).freeze();
        }
        match how {
            How::Relist => drop(try_join_all(self.0.iter().map(|(resource, _)| world.expire(resource))).await?),
            How::Restart => world.operator.process().restart().await?,
        }
        for replay in &mut replays {
            timeout(SOON, replay.hit()).await.context("the operator did not list")??;
        }
        world.refreshes(&witness.secret_id, 2).await?;
        world.proxy.clear();
        for (resource, _) in &self.0 {
            world.proxy.watches(resource).thaw();
        }
        Ok(())
    }
}

/// What no older world may change.
#[derive(Debug, PartialEq)]
struct State {
    resource: (Option<String>, Option<String>),
    target: (Option<String>, Option<String>),
    changes_at_remote: usize,
}

async fn state(world: &World<'_>, subject: &Subject) -> Result<State> {
    let versions = |meta: kube::core::ObjectMeta| (meta.uid, meta.resource_version);
    let changing = ["create_version", "update_version", "delete_version"];
    let journal = world.journal.of(&subject.secret_id).await?;
    Ok(State {
        resource: versions(world.api::<SecretVersion>().get_metadata(&subject.name).await?.metadata),
        target: versions(world.api::<Secret>().get_metadata(&subject.name).await?.metadata),
        changes_at_remote: journal.iter().filter(|entry| changing.iter().any(|call| entry.is(call))).count(),
    })
}

impl Past {
    fn name(self, how: How) -> String {
        format!("{how:?}: the predecessor {}", if matches!(self, Self::Alive) { "lives" } else { "is being deleted" })
    }

    /// The predecessor, as the older world will show it.
    async fn begin(self, world: &World<'_>) -> Result<Subject> {
        let mut subject = Subject::new(world).await?;
        subject.apply(world).await?;
        subject.ready(world, 1, SOON).await?;
        if matches!(self, Self::BeingDeleted) {
            world.fault("delete_version", &subject.secret_id, None, &json!({ "status": { "code": 500 } })).await?;
            subject.delete(world).await?;
            let tried = |requests: &crate::journal::Requests| requests.values().any(|entry| entry.is("delete_version"));
            world.journal.until(SOON, "a delete was tried", &subject.secret_id, tried).await?;
        }
        Ok(subject)
    }

    /// The predecessor goes, and another resource comes in its place.
    async fn succeed(self, world: &World<'_>, subject: &Subject) -> Result<()> {
        match self {
            Self::Alive => subject.delete(world).await?,
            Self::BeingDeleted => subject.edit(world, &json!({ "spec": { "deletionPolicy": "Retain" } })).await?,
        }
        let gone = eventually(SOON, "the predecessor is gone", || async {
            let left = world.api::<SecretVersion>().get_metadata_opt(&subject.name).await?;
            ensure!(left.is_none(), "it is there");
            Ok(())
        });
        gone.await?;
        world.create::<SecretVersion>(subject.manifest()).await?;
        subject.ready(world, 1, SOON).await
    }

    async fn end(self, world: &World<'_>, subject: &mut Subject, before: &State) -> Result<Figures> {
        subject.rests(world).await?;
        let after = state(world, subject).await?;
        ensure!(after == *before, "before {before:?}, after {after:?}");
        // It is not forgotten, either.
        subject.change(world).await?;
        subject.ready(world, 2, SOON).await?;
        let posts = subject.posts(world).await?.len();
        let expected = if matches!(self, Self::Alive) { 3 } else { 2 };
        ensure!(posts == expected, "{posts} creates, not {expected}");
        Ok(Figures { changes: expected, versions: expected, posts })
    }
}

async fn travel(world: &World<'_>, how: How) -> Table {
    let mut witness = Subject::new(world).await.unwrap();
    witness.apply(world).await.unwrap();
    witness.ready(world, 1, SOON).await.unwrap();
    let pasts = (0..runs_of(100).div_ceil(4)).flat_map(|_| [Past::Alive, Past::BeingDeleted]);
    let begun = pasts.map(|past| async move { Ok::<_, anyhow::Error>((past, past.begin(world).await?)) });
    let subjects = try_join_all(begun).await.unwrap();
    let lists = Lists::keep(world).await.unwrap();
    try_join_all(subjects.iter().map(|(past, subject)| past.succeed(world, subject))).await.unwrap();
    world.simulator.clear_faults().await.unwrap();
    let before = try_join_all(subjects.iter().map(|(_, subject)| async move {
        world.refreshes(&subject.secret_id, 1).await?;
        state(world, subject).await
    }));
    let before = before.await.unwrap();

    lists.show(world, how, &witness).await.unwrap();
    let ended = subjects.into_iter().zip(&before).map(|((past, mut subject), before)| {
        run_of(past.name(how), async move { past.end(world, &mut subject, before).await })
    });
    Table::of(64, ended.collect()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_9_a_world_in_which_the_predecessor_lives() {
    let plane = ControlPlane::shared().await.unwrap();
    let worlds = ["relist", "restart"].map(|name| World::start_with(plane, name, &STEADY));
    let worlds = &try_join_all(worlds).await.unwrap();
    let (mut table, restarted) = tokio::join!(travel(&worlds[0], How::Relist), travel(&worlds[1], How::Restart));
    table.append(restarted);
    table.conclude("Row 9: an older world");
    try_join_all(worlds.iter().map(World::is_clean)).await.unwrap();
}
