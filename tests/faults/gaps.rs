//! Watches that break, forget and fall silent while people go on with their work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;
use futures::future::try_join_all;
use kit::proxy::{Action, Moment, Request, Rule};
use kit::{ControlPlane, metrics};
use secret_version_operator::api::v1alpha1::{SecretVersion, VersionState};
use tokio::time::{sleep, timeout};

use crate::subject::{AtRest, Subject, is_ready};
use crate::table::{Figures, Table, run_of};
use crate::world::{SOON, STEADY, World};
use crate::{is_full, runs_of, seed};

/// All that the operator watches.
const WATCHED: [&str; 4] = ["secretversions", "secrets", "abejaconnections", "namespaces"];

/// What is listed in pages.
const PAGED: [&str; 2] = ["secretversions", "secrets"];

/// Changes of each source: as many as may come at once.
const CHANGES: usize = 5;

/// What befalls the watches, again and again.
#[derive(Clone, Copy)]
enum Gap {
    /// They end, in good order or not.
    Cut,
    /// What they missed is gone: everything is listed again, and in the middle of some lists that is gone, too.
    Expired,
}

impl Gap {
    async fn befall(self, world: &World<'_>, rng: &mut Rng, over: &AtomicBool) -> usize {
        let mut gaps = 0;
        while !over.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(rng.u64(1000..5000))).await;
            if matches!(self, Self::Expired) {
                expire_lists(world);
            }
            for watches in WATCHED.map(|resource| world.proxy.watches(resource)) {
                match self {
                    Self::Cut if rng.bool() => watches.cut(),
                    Self::Cut => watches.end(),
                    Self::Expired => watches.expire(),
                }
            }
            gaps += 1;
        }
        gaps
    }
}

/// The next list of each kind is cut short: what it goes on from is gone.
fn expire_lists(world: &World<'_>) {
    for resource in PAGED {
        let continued = Rule::on("list", resource).when(Request::is_continued);
        drop(world.proxy.add(continued, Action::Answer { moment: Moment::Before, status: 410, retry_after: None }));
    }
}

/// A resource whose source changes as often as it may, and that is deleted in the end.
async fn live(world: &World<'_>, subject: &mut Subject, begin: Duration, mut rng: Rng) -> Result<Figures> {
    sleep(begin).await;
    subject.apply(world).await?;
    subject.ready(world, 1, SOON).await?;
    for changes in 2..=CHANGES {
        sleep(Duration::from_millis(rng.u64(0..2000))).await;
        subject.change(world).await?;
        subject.ready(world, changes, SOON).await?;
    }
    let all: Vec<usize> = (0..CHANGES).collect();
    let figures = subject.holds(world, &AtRest::created(&all, CHANGES)).await?;
    subject.delete(world).await?;
    subject.ends(world, SOON).await?;
    Ok(figures)
}

async fn live_through(world: &World<'_>, row: &str, gap: Gap, full: usize) {
    let mut rng = Rng::with_seed(seed());
    let mut reference = Subject::new(world).await.unwrap();
    live(world, &mut reference, Duration::ZERO, rng.fork()).await.unwrap();
    let count = runs_of(full).max(4);
    // Ten minutes of gaps in full.
    let spread = Duration::from_secs(if is_full() { 540 } else { 4 });
    let mut subjects = try_join_all((0..count).map(|_| Subject::new(world))).await.unwrap();
    let over = AtomicBool::new(false);
    let lives = subjects.iter_mut().map(|subject| {
        let begin = spread.mul_f64(rng.f64());
        run_of(row, live(world, subject, begin, rng.fork()))
    });
    let lives = lives.collect();
    let to_the_end = async {
        let table = Table::of(count, lives).await;
        over.store(true, Ordering::Relaxed);
        table
    };
    let (table, gaps) = tokio::join!(to_the_end, gap.befall(world, &mut rng, &over));
    println!("{row}: {gaps} gaps in each of {} watches", WATCHED.len());
    table.conclude(row);
    let writes = world.effective_writes().unwrap();
    for subject in &subjects {
        let (found, expected) = (&writes[&subject.name], &writes[&reference.name]);
        assert!(found == expected || world.was_slow_for(&subject.name).unwrap(), "{}: {found:?}", subject.name);
    }
    world.is_clean().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_watches_that_break_every_few_seconds() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_with(plane, "gaps", &STEADY).await.unwrap();
    live_through(world, "Row 12: watches break every 1 to 5 s", Gap::Cut, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_watches_and_lists_whose_history_is_gone() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_with(plane, "expiry", &STEADY).await.unwrap();
    for resource in PAGED {
        let first = Rule::on("list", resource).when(|request| !request.is_continued());
        drop(world.proxy.add(first.always(), Action::PageSize(2)));
    }
    live_through(world, "Row 13: 410 for watches, and within lists", Gap::Expired, 50).await;
    // A list that is cut short is begun anew.
    let page = world.operator.metrics().await.unwrap();
    let broken = |kind| metrics::sum(&page, "secret_version_operator_watch_errors_total", &[("kind", kind)]);
    assert!(broken("Secret") > broken("Namespace"), "no list of Secrets was cut short");
}

/// The least that the operator takes, in seconds; what it allows for lateness comes to it.
const WATCH_TIMEOUT: &str = "--watch-timeout=5s";

async fn errors(world: &World<'_>, kind: &str) -> f64 {
    let page = world.operator.metrics().await.unwrap();
    metrics::sum(&page, "secret_version_operator_watch_errors_total", &[("kind", kind)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_watches_that_are_open_and_silent() {
    let plane = ControlPlane::shared().await.unwrap();
    let args = [&STEADY[..], &[WATCH_TIMEOUT]].concat();
    let world = &World::start_with(plane, "silent", &args).await.unwrap();
    let mut subjects = try_join_all((0..runs_of(10)).map(|_| Subject::new(world))).await.unwrap();
    for subject in &mut subjects {
        subject.apply(world).await.unwrap();
        subject.ready(world, 1, SOON).await.unwrap();
    }
    let before = (errors(world, "Secret").await, errors(world, "SecretVersion").await);
    for resource in ["secrets", "secretversions"] {
        world.proxy.watches(resource).blackhole();
    }
    let silent = subjects.iter_mut().map(|subject| {
        run_of("open, and nothing comes", async {
            subject.change(world).await?;
            subject.ready(world, 2, SOON).await?;
            subject.holds(world, &AtRest::created(&[0, 1], 2)).await
        })
    });
    let mut table = Table::of(16, silent.collect()).await;
    // Somebody can be told of it.
    let after = (errors(world, "Secret").await, errors(world, "SecretVersion").await);
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} watches broke before, {after:?} after");

    let mut unanswered = world.proxy.add(Rule::on("list", "secretversions"), Action::Hold(Moment::Before));
    world.expire("secretversions").await.unwrap();
    let held = timeout(SOON, unanswered.hit()).await.unwrap().unwrap();
    let asked = subjects.iter().map(|subject| {
        run_of("a list that is never answered", async {
            subject.switch_off(world).await?;
            let inactive = |cr: Option<&SecretVersion>| {
                let state = cr.and_then(|cr| cr.status.as_ref()).and_then(|status| status.state);
                state == Some(VersionState::Inactive) && cr.is_some_and(is_ready)
            };
            subject.reaches(world, "inactive", SOON, inactive).await?;
            let posts = subject.posts(world).await?.len();
            ensure!(posts == 2, "{posts} creates");
            Ok(Figures { changes: 0, versions: 0, posts: 0 })
        })
    });
    table.append(Table::of(16, asked.collect()).await);
    drop(held);
    table.conclude("Row 14: half-dead connections");
    world.is_clean().await.unwrap();
}
