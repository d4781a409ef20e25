//! A quota that drops while everything is due: nobody hammers, the queue drains, and each change is sent once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kit::{ControlPlane, eventually};
use kube::api::ListParams;
use secret_version_operator::api::v1alpha1::SecretVersion;
use serde_json::json;

use crate::is_full;
use crate::subject::{AtRest, Subject, is_ready};
use crate::table::{Figures, Table};
use crate::world::{ORGANIZATION, World};

/// Applies requests at once, as an impatient tool would.
const AT_ONCE: usize = 16;

/// Requests that one pass of a throttled resource may send: the call, and again after the pause that was asked for.
const PER_PASS: usize = 3;

/// What a row asks for.
struct Quota {
    resources: usize,
    /// For how long next to nothing is let through.
    drought: Duration,
    /// How many requests a second are after that.
    per_second: u32,
}

impl Quota {
    fn of_this_run() -> Self {
        if is_full() {
            Self { resources: 1000, drought: Duration::from_mins(1), per_second: 100 }
        } else {
            Self { resources: 200, drought: Duration::from_secs(6), per_second: 100 }
        }
    }
}

async fn limit(world: &World<'_>, per_second: u32, burst: u32) -> Result<u64> {
    let fault = json!({
        "match": { "organization_id": ORGANIZATION },
        "action": { "rate_limit": { "per_second": per_second, "burst": burst } },
    });
    world.simulator.add_fault(&fault).await
}

/// Waits until everything is ready with so many versions.
async fn all_ready(world: &World<'_>, versions: usize, within: Duration) -> Result<()> {
    let done =
        |cr: &SecretVersion| is_ready(cr) && cr.status.as_ref().is_some_and(|status| status.history.len() == versions);
    eventually(within, "the queue is drained", async || {
        let all = world.api::<SecretVersion>().list(&ListParams::default()).await?.items;
        let left = all.iter().filter(|cr| !done(cr)).count();
        ensure!(left == 0, "{left} of {} are not ready", all.len());
        Ok(())
    })
    .await
}

async fn drought(world: &World<'_>, quota: &Quota) -> Result<Figures> {
    let mut subjects: Vec<Subject> =
        stream::iter(0..quota.resources).map(|_| Subject::new(world)).buffered(AT_ONCE).try_collect().await?;
    // Only a change makes them due.
    let spec = &json!({ "refreshInterval": "10m" });
    let applied = stream::iter(&mut subjects).map(|subject| subject.apply_with(world, spec)).buffer_unordered(AT_ONCE);
    applied.try_collect::<Vec<()>>().await?;
    all_ready(world, 1, quota.drought * 5 + Duration::from_mins(2)).await?;

    let before = world.journal.total();
    let dry = limit(world, 1, 1).await?;
    let began = Instant::now();
    let changed = stream::iter(&mut subjects).map(|subject| subject.change(world)).buffer_unordered(AT_ONCE);
    changed.try_collect::<Vec<()>>().await?;
    tokio::time::sleep_until((began + quota.drought).into()).await;
    let sent = world.journal.total() - before;
    let passes = usize::try_from(quota.drought.as_secs().ilog2())? + 3;
    println!("{} resources due at 1 request a second: {sent} requests in {:?}", quota.resources, began.elapsed());
    ensure!(sent <= quota.resources * passes * PER_PASS, "{sent} requests under the quota: nobody was patient");

    let narrow = limit(world, quota.per_second, quota.per_second).await?;
    world.lift(dry).await?;
    let drained = Instant::now();
    all_ready(world, 2, quota.drought * 3 + Duration::from_mins(2)).await?;
    println!("drained {:.1} s after the quota rose to {} a second", drained.elapsed().as_secs_f32(), quota.per_second);
    world.lift(narrow).await?;

    let held = async |subject: &Subject| {
        let refused = subject.posts(world).await?.iter().filter(|post| !post.committed).count();
        subject.holds(world, &AtRest::created(&[0, 1], 2 + refused)).await
    };
    Figures::sum(subjects.iter().map(held)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_19_a_quota_that_drops_while_all_are_due() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "quota").await.unwrap();
    let quota = &Quota::of_this_run();
    let row = format!("1 request a second for {:?}, {} due", quota.drought, quota.resources);
    let mut table = Table::default();
    table.order([row.clone()]);
    table.enter(&row, drought(world, quota).await);
    table.conclude("19: a quota that drops");
    println!("peak of the operator's resident memory: {} KiB", world.memory("VmHWM:").unwrap());
    world.is_clean().await.unwrap();
}
