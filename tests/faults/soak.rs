//! A soak: resources are made, changed and deleted while the operator is killed and both sides fail at random. In the end
//! the remote's journal must balance what the resources claim.
//!
//! The choices follow from a seed, which is printed; `SVO_FAULT_SEED` replays them. What the machine does in between is its
//! own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use futures::future::join_all;
use kit::{ControlPlane, eventually};
use kube::api::{ListParams, Patch, PatchParams};
use reqwest::Method;
use secret_version_operator::api::v1alpha1::{Origin, SecretVersion};
use serde_json::json;

use crate::subject::{Subject, is_ready};
use crate::table::{Figures, Table};
use crate::world::{SOON, World};
use crate::{runs_of, seed, weather};

/// Kills of the long form: more than three creates come under each.
const KILLS: usize = 1024;

/// Operators at work at the same time.
const WORLDS: usize = 8;

/// Resources of each at the same time.
const SUBJECTS: usize = 18;

/// Kills between two rests.
const KILLS_PER_ROUND: usize = 4;

/// Changes in the life of a resource. The operator lets five creates through at once, and then one a minute.
const CHANGES: usize = 4;

/// How long all may take to come to rest: long enough for the busiest machine. How soon they must is asked in the rows on
/// kills.
const RECOVERY: Duration = Duration::from_mins(6);

/// Long enough for a busy machine to renew it, short enough to wait for its end.
const LEASE: [&str; 2] = ["--leader-elect-lease-duration=10s", "--leader-elect-renew-deadline=9s"];

/// Where a resource is in its life.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    New,
    Living,
    Deleted,
}

struct Actor {
    subject: Subject,
    changes: usize,
    stage: Stage,
    /// Whether it was deleted together with its last change, which the operator then need not have seen.
    hasty: bool,
}

/// What all worlds reached together.
#[derive(Debug, Default)]
struct Reached {
    creates: AtomicUsize,
    kills: AtomicUsize,
    /// Kills that met work under way.
    telling: AtomicUsize,
}

impl Actor {
    async fn new(world: &World<'_>) -> Result<Self> {
        Ok(Self { subject: Subject::new(world).await?, changes: 0, stage: Stage::New, hasty: false })
    }

    /// The next event of its life.
    async fn act(&mut self, world: &World<'_>, rng: &mut Rng) -> Result<()> {
        match (self.stage, rng.u8(..20)) {
            (Stage::New, _) => {
                self.subject.apply(world).await?;
                (self.stage, self.changes) = (Stage::Living, 1);
            }
            (Stage::Living, dice) => {
                let change = self.changes < CHANGES && dice < 17;
                if change {
                    self.subject.change(world).await?;
                    self.changes += 1;
                }
                if !change || dice == 0 {
                    self.subject.delete(world).await?;
                    (self.stage, self.hasty) = (Stage::Deleted, change);
                }
            }
            (Stage::Deleted, _) => {}
        }
        Ok(())
    }

    /// Waits until it is where it should be, and holds it to what it should be.
    async fn settles(&self, world: &World<'_>) -> Result<Figures> {
        if self.stage == Stage::Deleted {
            self.gone(world).await?;
        } else {
            self.ready(world).await?;
        }
        let posts = self.subject.posts(world).await?;
        let mut made: BTreeMap<&str, usize> = BTreeMap::new();
        for post in posts.iter().filter(|post| post.committed) {
            *made.entry(post.body_sha256.as_deref().unwrap_or_default()).or_default() += 1;
        }
        let twice = made.values().filter(|times| **times > 1).count();
        ensure!(twice == 0, "{}: {twice} changes were made twice", self.subject.name);
        let least = self.changes - usize::from(self.hasty);
        ensure!(
            (least..=self.changes).contains(&made.len()),
            "{}: {} versions of {} changes",
            self.subject.name,
            made.len(),
            self.changes
        );
        Ok(Figures { changes: self.changes, versions: made.len(), posts: posts.len() })
    }

    async fn ready(&self, world: &World<'_>) -> Result<()> {
        let reached = self.subject.ready(world, self.changes, RECOVERY).await;
        let Err(slow) = reached else { return Ok(()) };
        // After three attempts of unknown outcome a person is asked; then the person asks back.
        if !format!("{slow:#}").contains("CreateUnresolved") {
            return Err(slow);
        }
        let ask = json!({ "metadata": { "annotations": { "secrets.abeja.io/reconcile-requested-at": "soak" } } });
        let api = world.api::<SecretVersion>();
        api.patch(&self.subject.name, &PatchParams::default(), &Patch::Merge(&ask)).await?;
        self.subject.ready(world, self.changes, RECOVERY).await
    }

    async fn gone(&self, world: &World<'_>) -> Result<()> {
        let gone = eventually(RECOVERY, "a deleted resource is gone", async || {
            let cr = world.api::<SecretVersion>().get_opt(&self.subject.name).await?;
            ensure!(cr.is_none(), "{}", serde_json::to_string(&cr.map(|cr| cr.status))?);
            Ok(())
        });
        gone.await.with_context(|| self.subject.name.clone())
    }
}

/// Starts the operator again where it ended by itself, as a kubelet would: who cannot renew its Lease ends.
async fn kubelet(world: &World<'_>) -> Result<()> {
    loop {
        if world.operator.process().exit_code()?.is_some() {
            world.operator.process().start()?;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Lets the operator begin to work, and kills it at any moment after that.
async fn kill(world: &World<'_>, reached: &Reached, actors: &[Actor], rng: &mut Rng) -> Result<()> {
    let lists = world.proxy.count("list", "secretversions");
    world.operator.process().start()?;
    let works = eventually(SOON, "the operator leads", async || {
        if !world.operator.process().is_running() {
            world.operator.process().start()?;
        }
        ensure!(world.proxy.count("list", "secretversions") > lists, "not yet");
        Ok(())
    });
    works.await?;
    tokio::time::sleep(Duration::from_millis(rng.u64(..2000))).await;
    world.kill()?;
    reached.kills.fetch_add(1, Ordering::Relaxed);
    let crs = world.api::<SecretVersion>().list(&ListParams::default()).await?.items;
    let at_rest = |actor: &Actor| match crs.iter().find(|cr| cr.metadata.name.as_ref() == Some(&actor.subject.name)) {
        Some(cr) => {
            let history = cr.status.as_ref().map_or(0, |status| status.history.len());
            actor.stage == Stage::Living && is_ready(cr) && history == actor.changes
        }
        None => actor.stage != Stage::Living,
    };
    if !actors.iter().all(at_rest) {
        reached.telling.fetch_add(1, Ordering::Relaxed);
    }
    if rng.u8(..4) > 0 {
        // An impatient administrator: the successor begins while the last request of the dead may still be on its way.
        world.clear_lease().await?;
    }
    Ok(())
}

/// Some lives go on under kills and in bad weather; then all must come to rest.
async fn round(world: &World<'_>, reached: &Reached, actors: &mut [Actor], rng: &mut Rng) -> Result<Vec<Figures>> {
    let share = actors.len().div_ceil(KILLS_PER_ROUND);
    for turn in 0..KILLS_PER_ROUND {
        for _ in 0..rng.u8(..4) {
            weather::at_the_apiserver(world, rng);
        }
        for actor in actors.iter_mut().skip(turn * share).take(share) {
            if rng.u8(..3) == 0 {
                weather::at_the_remote(world, &actor.subject.secret_id, rng).await?;
            }
            actor.act(world, rng).await?;
        }
        kill(world, reached, actors, rng).await?;
    }
    weather::clear(world).await?;
    world.operator.process().start()?;
    let settled = join_all(actors.iter().map(|actor| actor.settles(world)));
    tokio::select! {
        settled = settled => settled.into_iter().collect(),
        ended = kubelet(world) => bail!("{ended:?}"),
    }
}

/// Every version at the remote is recorded by one resource that created it, and every record is of one.
async fn balances(world: &World<'_>) -> Result<()> {
    let state = world.simulator.control(Method::GET, "/state", None).await?;
    let secrets = state["organizations"][0]["secrets"].as_array().context("no secrets")?;
    let versions = secrets.iter().filter_map(|secret| secret["versions"].as_array()).flatten();
    let there: BTreeSet<String> = versions.filter_map(|version| version["id"].as_str().map(str::to_owned)).collect();
    let mut claimed = BTreeSet::new();
    for cr in world.api::<SecretVersion>().list(&ListParams::default()).await?.items {
        for record in cr.status.map(|status| status.history).unwrap_or_default() {
            ensure!(record.origin == Origin::Created, "version {} was not created but found", record.version_id);
            ensure!(claimed.insert(record.version_id.clone()), "version {} is claimed twice", record.version_id);
        }
    }
    ensure!(there == claimed, "at the remote and claimed by nobody, or the reverse: {:?}", &there ^ &claimed);
    Ok(())
}

async fn work(plane: &ControlPlane, seed: u64, rounds: usize, reached: &Reached) -> Result<Vec<Figures>> {
    let rng = &mut Rng::with_seed(seed);
    let world = World::start_with(plane, "soak", &LEASE).await?;
    world.kill()?;
    let mut actors = Vec::new();
    for _ in 0..SUBJECTS {
        actors.push(Actor::new(&world).await?);
    }
    let mut all = Vec::new();
    let mut before: BTreeMap<String, usize> = BTreeMap::new();
    for left in (0..rounds).rev() {
        let figures = round(&world, reached, &mut actors, rng).await.with_context(|| {
            plane.run_dir().keep();
            format!("seed {seed}; {}", world.operator.process().log_tail())
        })?;
        for (actor, figures) in actors.iter().zip(&figures) {
            let earlier = before.insert(actor.subject.name.clone(), figures.versions).unwrap_or_default();
            reached.creates.fetch_add(figures.versions - earlier, Ordering::Relaxed);
        }
        balances(&world).await.with_context(|| format!("seed {seed}"))?;
        let Reached { creates, kills, telling } = reached;
        println!("soak: {creates:?} creates under {kills:?} kills so far, {telling:?} of which met work under way");
        let last = left == 0;
        for (actor, figures) in actors.iter_mut().zip(figures) {
            if last || actor.stage == Stage::Deleted {
                all.push(figures);
                if !last {
                    *actor = Actor::new(&world).await?;
                }
            }
        }
        if !last {
            world.kill()?;
        }
    }
    let living = actors.iter().filter(|actor| actor.stage == Stage::Living);
    let secrets: Vec<String> = living.map(|actor| actor.subject.secret_id.clone()).collect();
    world.is_quiet(&secrets).await?;
    world.is_clean().await?;
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_36_soak_of_creates_rotations_and_deletions_under_kills_and_faults() {
    let plane = ControlPlane::shared().await.unwrap();
    let rounds = runs_of(KILLS / KILLS_PER_ROUND / WORLDS);
    let worlds = if rounds == 1 { 2 } else { WORLDS };
    let seed = seed();
    let reached = Reached::default();
    let outcomes = join_all((0..worlds).map(|n| work(plane, seed.wrapping_add(n as u64), rounds, &reached))).await;
    let mut table = Table::default();
    table.order(["resources".to_owned()]);
    for outcome in outcomes {
        match outcome {
            Ok(all) => all.into_iter().for_each(|figures| table.enter("resources", Ok(figures))),
            Err(error) => table.enter("resources", Err(error)),
        }
    }
    let Reached { creates, kills, telling } = reached;
    println!("{creates:?} creates under {kills:?} kills, {telling:?} of which met work under way; seed {seed}");
    table.conclude("Row 36: soak of creates, rotations and deletions under kills and faults at random");
}
