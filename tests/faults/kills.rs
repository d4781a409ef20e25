//! `kill -9` before and after every effect: of a first create, a rotation, the adoption of what is there, a switch of state,
//! and a deletion.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use kit::ControlPlane;

use crate::runs;
use crate::subject::{AtRest, Subject};
use crate::table::{Figures, Table};
use crate::trap::{At, Effect, Trap};
use crate::world::{GRACE, SOON, World};

/// Operators at work at the same time: most of a run is waiting for a Lease and a grace to pass.
const WORLDS: usize = 8;

/// The Lease of the dead, the longest grace, and what I5 allows after that.
const RECOVERY: Duration = Duration::from_secs(4 + GRACE.as_secs() + 30);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Create,
    Rotation,
    Adoption,
    Switch,
    Deletion,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Create, Self::Rotation, Self::Adoption, Self::Switch, Self::Deletion];

    fn effects(self) -> &'static [Effect] {
        use Effect::{
            AddFinalizer, ChangeTarget, CreateTarget, CreateVersion, DeleteVersion, RemoveFinalizer, SetState,
            WriteIntent, WriteRecord, WriteState,
        };
        match self {
            Self::Create => &[AddFinalizer, WriteIntent, CreateVersion, CreateTarget, WriteRecord],
            Self::Rotation => &[WriteIntent, CreateVersion, ChangeTarget, WriteRecord],
            Self::Adoption => &[CreateTarget, WriteRecord],
            Self::Switch => &[SetState, WriteState],
            Self::Deletion => &[DeleteVersion, RemoveFinalizer],
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Point {
    phase: Phase,
    effect: Effect,
    at: At,
}

impl Point {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for phase in Phase::ALL {
            for effect in phase.effects().iter().copied() {
                // Only a create is worse for coming late.
                let late = (effect == Effect::CreateVersion).then_some(At::During);
                let moments = [At::Before].into_iter().chain(late).chain([At::After]);
                all.extend(moments.map(|at| Self { phase, effect, at }));
            }
        }
        all
    }

    fn name(self) -> String {
        let Self { phase, effect, at } = self;
        format!("{} {} {}", format!("{phase:?}").to_lowercase(), effect.name(), format!("{at:?}").to_lowercase())
    }
}

async fn run(world: &World<'_>, point: Point, mut subject: Subject) -> Result<Figures> {
    match point.phase {
        Phase::Create => {}
        Phase::Adoption => subject.is_there(world).await?,
        Phase::Rotation | Phase::Switch | Phase::Deletion => {
            subject.apply(world).await?;
            subject.ready(world, 1, SOON).await?;
        }
    }
    if point.phase == Phase::Deletion {
        // Two to delete: one is gone, perhaps, when the operator dies.
        subject.change(world).await?;
        subject.ready(world, 2, SOON).await?;
    }
    let trap = Trap::set(world, &subject, point.effect, point.at).await?;
    match point.phase {
        Phase::Create | Phase::Adoption => subject.apply(world).await?,
        Phase::Rotation => subject.change(world).await?,
        Phase::Switch => subject.switch_off(world).await?,
        Phase::Deletion => subject.delete(world).await?,
    }
    trap.spring(world, &subject).await?;
    world.operator.process().start()?;

    // A create that came to nothing is sent again, and no other.
    let again = usize::from((point.effect, point.at) == (Effect::CreateVersion, At::Before));
    let expected = match point.phase {
        Phase::Create => AtRest::created(&[0], 1 + again),
        Phase::Rotation => AtRest::created(&[0, 1], 2 + again),
        Phase::Adoption => AtRest::found(),
        Phase::Switch => AtRest { active: false, ..AtRest::created(&[0], 1) },
        Phase::Deletion => {
            subject.ends(world, RECOVERY).await?;
            return Ok(Figures::default());
        }
    };
    subject.ready(world, expected.changes.len(), RECOVERY).await?;
    let figures = subject.holds(world, &expected).await?;
    let before = usize::from(matches!(point.phase, Phase::Rotation | Phase::Switch));
    // What came before the fault is no part of the row.
    Ok(Figures {
        changes: figures.changes - before,
        versions: figures.versions - before,
        posts: figures.posts - before,
    })
}

/// Takes points until none is left, and then holds its world to rest.
async fn work(plane: &ControlPlane, points: &Mutex<VecDeque<Point>>, table: &Mutex<Table>) -> Result<()> {
    let world = World::start(plane, "kills").await?;
    let mut secrets = Vec::new();
    loop {
        let Some(point) = points.lock().unwrap().pop_front() else { break };
        let subject = Subject::new(&world).await?;
        if point.phase != Phase::Deletion {
            secrets.push(subject.secret_id.clone());
        }
        let outcome = run(&world, point, subject).await;
        let failed = outcome.is_err();
        table.lock().unwrap().enter(&point.name(), outcome);
        if failed {
            // Whatever state it is in, the next run begins with a running operator.
            world.proxy.clear();
            world.operator.process().kill()?;
            world.operator.process().start()?;
        }
    }
    world.is_quiet(&secrets).await?;
    world.is_clean().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_version_per_change_wherever_the_operator_is_killed() {
    let plane = ControlPlane::shared().await.unwrap();
    let points: VecDeque<Point> = (0..runs()).flat_map(|_| Point::all()).collect();
    let mut table = Table::default();
    table.order(Point::all().into_iter().map(Point::name));
    let (points, table) = (Mutex::new(points), Mutex::new(table));
    let workers = join_all((0..WORLDS).map(|_| work(plane, &points, &table))).await;
    table.into_inner().unwrap().conclude("kill -9 of the operator");
    for worker in workers {
        worker.unwrap();
    }
}
