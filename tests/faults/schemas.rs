//! Resources that the operator's own types do not fit: poison among many that are well, and what a newer operator left.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::events::v1::Event;
use kit::{eventually, install, metrics};
use kube::api::ListParams;
use secret_version_operator::api::v1alpha1::SecretVersion;
use serde_json::{Value, json};

use crate::lifecycle::{by_policy, edit_definition, leave};
use crate::subject::{AtRest, Subject};
use crate::table::{Figures, Table};
use crate::tenant::{NAME, Part, Tenant, plane_apart};
use crate::world::{SOON, World};
use crate::{is_full, runs_of};

/// Requests of the test itself at the same time.
const AT_ONCE: usize = 16;

/// Accepts values that no admission rule of ours would let through.
fn loosen(schema: &mut Value) {
    let spec = &mut schema["spec"]["properties"];
    spec["deletionPolicy"] = json!({ "type": "string" });
    spec["suspend"] = json!({ "x-kubernetes-int-or-string": true });
    spec["refreshInterval"] = json!({ "type": "string" });
}

/// Makes a resource that the operator's types do not fit. `spec` is what is spoiled of a good one.
async fn unreadable(world: &World<'_>, name: &str, spec: &Value) -> Result<()> {
    let mut manifest = Subject::new(world).await?.manifest();
    manifest["metadata"]["name"] = json!(name);
    manifest["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    world
        .plane
        .kubectl_with_input(&["create", "-n", &world.namespace, "-f", "-"], &manifest.to_string())
        .await?
        .ok()?;
    Ok(())
}

/// Edits what a typed client could not read in the answer.
async fn edit(world: &World<'_>, name: &str, spec: &Value) -> Result<()> {
    let patch = json!({ "spec": spec }).to_string();
    let args = ["patch", "sv", name, "-n", &world.namespace, "--type=merge", "-p", &patch];
    world.plane.kubectl(&args).await?.ok().map(drop)
}

/// Waits until an event says of each of these that it does not fit.
async fn are_told(world: &World<'_>, names: &[&str]) -> Result<()> {
    let told = eventually(SOON, "each is told to be left alone", async || {
        let events = world.api::<Event>().list(&ListParams::default()).await?.items;
        let invalid = events.into_iter().filter(|event| event.reason.as_deref() == Some("InvalidResource"));
        let told: BTreeSet<String> = invalid.filter_map(|event| event.regarding?.name).collect();
        ensure!(names.iter().all(|name| told.contains(*name)), "{told:?}");
        Ok(())
    });
    told.await
}

/// Resources that are made at the same time, and what it took until they were ready.
struct Batch {
    subjects: Vec<Subject>,
    cost: Cost,
}

#[derive(Debug)]
struct Cost {
    /// Looks at any resource.
    passes: f64,
    /// What the remote was asked for, for these.
    requests: usize,
    /// What was written of these.
    writes: usize,
}

impl Cost {
    fn is_within_twice(&self, other: &Self) -> bool {
        self.passes <= 2.0 * other.passes && self.requests <= 2 * other.requests && self.writes <= 2 * other.writes
    }
}

impl Batch {
    async fn of(world: &World<'_>, many: usize) -> Result<Self> {
        let before = passes(world).await?;
        let mut subjects = Vec::new();
        for _ in 0..many {
            subjects.push(Subject::new(world).await?);
        }
        let live = stream::iter(subjects).map(async |mut subject| {
            // None is looked at again while the others are counted.
            subject.apply_with(world, &json!({ "refreshInterval": "720h" })).await?;
            subject.ready(world, 1, SOON).await?;
            Ok::<_, anyhow::Error>(subject)
        });
        let subjects: Vec<Subject> = live.buffer_unordered(AT_ONCE).try_collect().await?;
        let passes = passes(world).await? - before;
        let written = world.effective_writes()?;
        let writes = subjects.iter().filter_map(|it| written.get(&it.name)).flat_map(BTreeMap::values).sum();
        let mut requests = 0;
        for subject in &subjects {
            requests += world.journal.of(&subject.secret_id).await?.len();
        }
        Ok(Self { subjects, cost: Cost { passes, requests, writes } })
    }

    async fn hold(&self, world: &World<'_>) -> Result<Figures> {
        let at_rest = &AtRest::created(&[0], 1);
        Figures::sum(self.subjects.iter().map(|subject| subject.holds(world, at_rest))).await
    }
}

/// How often the operator has looked at a resource.
async fn passes(world: &World<'_>) -> Result<f64> {
    let page = world.operator.metrics().await?;
    Ok(metrics::sum(&page, "secret_version_operator_reconcile_total", &[("kind", "SecretVersion")]))
}

/// Some cannot be read, some ask to be looked at all the time or never, and the remote of some is mad.
async fn poison(world: &World<'_>) -> Result<()> {
    unreadable(world, "no-such-policy", &json!({ "deletionPolicy": "Explode" })).await?;
    unreadable(world, "not-a-switch", &json!({ "suspend": "maybe" })).await?;
    for interval in ["1ms", "soon", "999999h"] {
        Subject::new(world).await?.apply_with(world, &json!({ "refreshInterval": interval })).await?;
    }
    for action in
        [json!({ "delay": { "at": "before_commit", "duration": "1m" } }), json!({ "malformed": "truncated_json" })]
    {
        let mut subject = Subject::new(world).await?;
        world.fault("list_versions", &subject.secret_id, None, &action).await?;
        subject.apply(world).await?;
    }
    are_told(world, &["no-such-policy", "not-a-switch"]).await
}

async fn poisoned(world: &World<'_>, many: usize) -> Result<Figures> {
    let alone = Batch::of(world, many).await?;
    poison(world).await?;
    let mut beside = Batch::of(world, many).await?;
    println!("{many} resources alone: {:?}; beside poison: {:?}", alone.cost, beside.cost);
    ensure!(beside.cost.is_within_twice(&alone.cost), "{:?} where {:?} does", beside.cost, alone.cost);
    let figures = beside.hold(world).await?;

    // One that was well is spoiled, and cannot go while it is: nobody knows what is to become of its version.
    let (spoiled, witness) = (beside.subjects.pop().context("many")?, &alone.subjects[0]);
    edit(world, &spoiled.name, &json!({ "deletionPolicy": "Explode" })).await?;
    are_told(world, &[&spoiled.name]).await?;
    world.plane.kubectl(&["delete", "sv", &spoiled.name, "-n", &world.namespace, "--wait=false"]).await?.ok()?;
    for _ in 0..2 {
        let before = world.journal.of(&witness.secret_id).await?.len();
        witness.sync(world).await?;
        world.journal.until(SOON, "another is refreshed", &witness.secret_id, |all| all.len() > before).await?;
    }
    ensure!(spoiled.remote_ids(world).await?.len() == 1, "a version was deleted of a resource that cannot be read");
    edit(world, &spoiled.name, &json!({ "deletionPolicy": "Delete" })).await?;
    spoiled.ends(world, SOON).await?;
    Ok(figures)
}

/// Another test's operator would wait for this one's remote in vain.
async fn all_gone(world: &World<'_>) -> Result<()> {
    let all = format!("/apis/secrets.abeja.io/v1alpha1/namespaces/{}/secretversions", world.namespace);
    world.plane.kubectl(&["delete", "--raw", &all]).await?.ok()?;
    eventually(5 * SOON, "all resources are gone", async || {
        let left = world.api::<SecretVersion>().list_metadata(&ListParams::default()).await?.items.len();
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_33_poison_among_many() {
    let plane = &*plane_apart().await;
    let world = &World::start_everywhere(plane, "poison").await.unwrap();
    edit_definition(plane, loosen).await.unwrap();
    let many = if is_full() { 1000 } else { 100 };
    let name = format!("seven that are poison among {many}");
    let mut table = Table::default();
    table.order([name.clone()]);
    for _ in 0..runs_of(20) {
        table.enter(&name, poisoned(world, many).await);
        world.simulator.clear_faults().await.unwrap();
        all_gone(world).await.unwrap();
    }
    table.conclude("Row 33: resources that do not fit, or never rest");
    world.is_clean().await.unwrap();
    install::crds(plane).await.unwrap();
}

/// What a newer operator wrote and this one does not know stays as it is.
async fn newer_fields(world: &World<'_>) -> Result<Figures> {
    let tenant = Tenant::new(world, "newer", "Delete").await?;
    tenant.edit_status(&json!({ "future": { "known": "to a newer operator" } })).await?;
    tenant.change(1).await?;
    tenant.ready(2).await?;
    let get = ["get", "sv", NAME, "-n", &tenant.namespace, "-o", "jsonpath={.status.future.known}"];
    let kept = world.plane.kubectl(&get).await?.ok()?;
    ensure!(kept == "to a newer operator", "the newer operator's field is {kept:?}");
    let posts = tenant.calls("create_version").await?.len();
    ensure!(posts == 2, "{posts} POSTs of two changes");
    leave(&[tenant]).await?;
    Ok(Figures { changes: 2, versions: 2, posts })
}

/// An intent in a newer form is not acted on; in a form that is known it is found out about.
async fn newer_intent(world: &World<'_>) -> Result<Figures> {
    let tenant = Tenant::new(world, "newer", "Delete").await?;
    world.operator.process().stop().await?;
    tenant.edit_status(&json!({ "create": { "schema": 2, "id": "of-a-newer-operator" } })).await?;
    tenant.change(1).await?;
    world.operator.process().start()?;
    let held = async || {
        eventually(SOON, "it is seen as it is", async || {
            let cr = tenant.resource().await?.context("there is none")?;
            let seen = cr.status.as_ref().and_then(|status| status.observed_generation);
            ensure!(seen == cr.metadata.generation, "not yet");
            Ok(())
        })
        .await?;
        tenant.says("AmbiguousCreate", "written by a newer operator; upgrade this one").await
    };
    held().await?;
    ensure!(tenant.calls("create_version").await?.len() == 1, "sent, though the intent cannot be understood");
    tenant.delete(Part::Resource).await?;
    held().await?;
    ensure!(tenant.at_remote().await? == ["active"], "deleted, though the intent cannot be understood");
    tenant.edit_status(&json!({ "create": { "schema": 1 } })).await?;
    by_policy(std::slice::from_ref(&tenant)).await?;
    let posts = tenant.calls("create_version").await?.len();
    ensure!(posts == 1, "{posts} POSTs, where nobody could tell what became of the last");
    leave(&[tenant]).await?;
    Ok(Figures { changes: 1, versions: 1, posts })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_37_what_a_newer_operator_left() {
    let plane = &*plane_apart().await;
    let world = &World::start_everywhere(plane, "downgrade").await.unwrap();
    let newer = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    edit_definition(plane, |schema| schema["status"]["properties"]["future"] = newer).await.unwrap();
    let mut table = Table::default();
    table.order(["a field of a newer status", "an intent of a newer form"].map(str::to_owned));
    for _ in 0..runs_of(30) {
        table.enter("a field of a newer status", newer_fields(world).await);
        table.enter("an intent of a newer form", newer_intent(world).await);
    }
    table.conclude("Row 37: a newer operator was there before");
    world.is_clean().await.unwrap();
    install::crds(plane).await.unwrap();
}
