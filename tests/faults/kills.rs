//! The operator is stopped before and after everything that leaves it, in each kind of work: a first create, a rotation, the
//! adoption of what is there, switches of state, repairs and moves of the Secret, and deletions by both policies that act.
//! Once by `kill -9`, and once by `SIGTERM`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use kit::ControlPlane;
use serde_json::json;

use crate::runs_of;
use crate::subject::{AtRest, Subject};
use crate::table::{Figures, Table};
use crate::trap::{At, Effect, Stop, Trap};
use crate::world::{GRACE, SOON, STEADY, World};

/// Operators at work at the same time: most of a run is waiting for a Lease and a grace to pass.
const WORLDS: usize = 8;

/// The longest grace, and what I5 allows after that.
const RECOVERY: Duration = Duration::from_secs(GRACE.as_secs() + 30);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Create,
    Rotation,
    Adoption,
    Deactivation,
    Activation,
    /// The Secret is written anew with the value that the remote serves.
    Refresh,
    Repair,
    Retarget,
    Deletion,
    Retirement,
}

impl Phase {
    const ALL: [Self; 10] = [
        Self::Create,
        Self::Rotation,
        Self::Adoption,
        Self::Deactivation,
        Self::Activation,
        Self::Refresh,
        Self::Repair,
        Self::Retarget,
        Self::Deletion,
        Self::Retirement,
    ];

    fn effects(self) -> &'static [Effect] {
        use Effect::{
            AddFinalizer, ChangeTarget, CreateTarget, CreateVersion, DeleteVersion, ListVersions, NoteTarget,
            ReadVersion, RemoveFinalizer, RemoveTarget, SetState, WriteIntent, WriteRecord, WriteState,
        };
        match self {
            Self::Create => &[ListVersions, AddFinalizer, WriteIntent, CreateVersion, CreateTarget, WriteRecord],
            Self::Rotation => &[ListVersions, WriteIntent, CreateVersion, ChangeTarget, WriteRecord],
            Self::Adoption => &[CreateTarget, WriteRecord],
            Self::Deactivation | Self::Activation => &[SetState, WriteState],
            Self::Refresh => &[ReadVersion, CreateTarget, NoteTarget],
            Self::Repair => &[ChangeTarget],
            Self::Retarget => &[CreateTarget, RemoveTarget, NoteTarget],
            Self::Deletion => &[ListVersions, DeleteVersion, RemoveFinalizer],
            Self::Retirement => &[SetState, RemoveFinalizer],
        }
    }

    /// Brings a subject to where the phase begins.
    async fn prepare(self, world: &World<'_>, subject: &mut Subject) -> Result<()> {
        match self {
            Self::Create => return Ok(()),
            Self::Adoption => return subject.is_there(world).await,
            _ => {}
        }
        subject.apply(world).await?;
        subject.ready(world, 1, SOON).await?;
        match self {
            Self::Activation => {
                subject.switch_off(world).await?;
                subject.ready(world, 1, SOON).await?;
            }
            // Two of them: one is done with, perhaps, when the operator dies.
            Self::Deletion | Self::Retirement => {
                subject.change(world).await?;
                subject.ready(world, 2, SOON).await?;
            }
            _ => {}
        }
        if self == Self::Retirement {
            subject.edit(world, &json!({ "spec": { "deletionPolicy": "Deactivate" } })).await?;
            subject.ready(world, 2, SOON).await?;
        }
        Ok(())
    }

    async fn begin(self, world: &World<'_>, subject: &mut Subject) -> Result<()> {
        match self {
            Self::Create | Self::Adoption => subject.apply(world).await,
            Self::Rotation => subject.change(world).await,
            Self::Deactivation => subject.switch_off(world).await,
            Self::Activation => subject.edit(world, &json!({ "spec": { "state": "Active" } })).await,
            Self::Refresh => subject.lose_target(world).await,
            Self::Repair => subject.spoil_target(world).await,
            Self::Retarget => subject.retarget(world).await,
            Self::Deletion | Self::Retirement => subject.delete(world).await,
        }
    }

    /// Holds a subject to the end of the phase, and gives what the phase added.
    async fn concludes(self, world: &World<'_>, subject: &Subject, again: usize) -> Result<Figures> {
        let switched = |active| AtRest { active, switched: true, ..AtRest::created(&[0], 1) };
        let expected = match self {
            Self::Deletion => {
                subject.ends(world, RECOVERY).await?;
                return Ok(Figures::default());
            }
            Self::Retirement => {
                subject.retires(world, RECOVERY).await?;
                return Ok(Figures::default());
            }
            Self::Create => AtRest::created(&[0], 1 + again),
            Self::Rotation => AtRest::created(&[0, 1], 2 + again),
            Self::Adoption => AtRest::found(),
            Self::Deactivation => switched(false),
            Self::Activation => switched(true),
            Self::Refresh | Self::Repair | Self::Retarget => AtRest::created(&[0], 1),
        };
        subject.comes_to(world, &expected, RECOVERY).await?;
        let figures = subject.holds(world, &expected).await?;
        // What came before the fault is no part of the row.
        let before = usize::from(!matches!(self, Self::Create | Self::Adoption));
        Ok(Figures {
            changes: figures.changes - before,
            versions: figures.versions - before,
            posts: figures.posts - before,
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Point {
    phase: Phase,
    effect: Effect,
    at: At,
    stop: Stop,
}

impl Point {
    fn all(stop: Stop) -> Vec<Self> {
        let mut all = Vec::new();
        for phase in Phase::ALL {
            for effect in phase.effects().iter().copied() {
                // Only a create is worse for coming late.
                let late = (effect == Effect::CreateVersion).then_some(At::During);
                let moments = [At::Before].into_iter().chain(late).chain([At::After]);
                all.extend(moments.map(|at| Self { phase, effect, at, stop }));
            }
        }
        all
    }

    fn name(self) -> String {
        let Self { phase, effect, at, stop } = self;
        let in_vain = if stop == Stop::TermInVain { ", which never comes back" } else { "" };
        let (phase, at) = (format!("{phase:?}").to_lowercase(), format!("{at:?}").to_lowercase());
        format!("{phase} {} {at}{in_vain}", effect.name())
    }
}

async fn run(world: &World<'_>, point: Point, mut subject: Subject) -> Result<Figures> {
    point.phase.prepare(world, &mut subject).await?;
    let trap = Trap::set(world, &subject, point.effect, point.at).await?;
    point.phase.begin(world, &mut subject).await?;
    trap.spring(world, &subject, point.stop).await?;
    world.clear_lease().await?;
    world.operator.process().start()?;
    // A create that came to nothing is sent again, and no other.
    let again = usize::from((point.effect, point.at) == (Effect::CreateVersion, At::Before));
    point.phase.concludes(world, &subject, again).await
}

/// Takes points until none is left, and then holds its world to rest.
async fn work(plane: &ControlPlane, points: &Mutex<VecDeque<Point>>, table: &Mutex<Table>) -> Result<()> {
    let world = World::start_with(plane, "stops", &STEADY).await?;
    let mut secrets = Vec::new();
    loop {
        let Some(point) = points.lock().unwrap().pop_front() else { break };
        let subject = Subject::new(&world).await?;
        if !matches!(point.phase, Phase::Deletion | Phase::Retirement) {
            secrets.push(subject.secret_id.clone());
        }
        let outcome = run(&world, point, subject).await;
        let failed = outcome.is_err();
        table.lock().unwrap().enter(&point.name(), outcome);
        if failed {
            // Whatever state it is in, the next run begins with a running operator.
            world.proxy.clear();
            world.operator.process().kill()?;
            world.clear_lease().await?;
            world.operator.process().start()?;
        }
    }
    world.is_quiet(&secrets).await?;
    world.is_clean().await
}

/// Stops operators at all points, and gives how that ended.
async fn stop_at(mut points: Vec<Point>, times: usize, title: &str) {
    let plane = ControlPlane::shared().await.unwrap();
    if let Ok(name) = std::env::var("SVO_FAULT_ONLY") {
        points.retain(|point| point.name().contains(&name));
    }
    let mut table = Table::default();
    table.order(points.iter().copied().map(Point::name));
    let points: VecDeque<Point> = (0..times).flat_map(|_| points.clone()).collect();
    let worlds = WORLDS.min(points.len());
    let (points, table) = (Mutex::new(points), Mutex::new(table));
    let workers = join_all((0..worlds).map(|_| work(plane, &points, &table))).await;
    table.into_inner().unwrap().conclude(title);
    for worker in workers {
        worker.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_1_one_version_per_change_wherever_the_operator_is_killed() {
    stop_at(Point::all(Stop::Kill), runs_of(10), "Row 1: kill -9 of the operator").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_31_told_to_end_it_ends_in_time_wherever_it_is() {
    let mut points = Point::all(Stop::Term);
    if runs_of(10) == 1 {
        // What is held for as long as the process needs makes no difference before and after.
        points.retain(|point| point.at == At::After || point.effect == Effect::CreateVersion);
    }
    for effect in [Effect::WriteIntent, Effect::WriteRecord] {
        points.push(Point { phase: Phase::Create, effect, at: At::After, stop: Stop::TermInVain });
    }
    stop_at(points, runs_of(10), "Row 31: SIGTERM to the operator").await;
}
