//! `kill -9` before and after every effect of a first create and of a rotation.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::join_all;
use kit::ControlPlane;
use kit::proxy::{Action, Armed, Moment, Rule};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::journal::{Entry, Requests};
use crate::runs;
use crate::subject::Subject;
use crate::table::{Figures, Table};
use crate::world::{GRACE, SOON, World};

/// Operators at work at the same time: most of a run is waiting for a Lease and a grace to pass.
const WORLDS: usize = 6;

/// The Lease of the dead, the longest grace, and what I5 allows after that.
const RECOVERY: Duration = Duration::from_secs(4 + GRACE.as_secs() + 30);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Create,
    Rotation,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    AddFinalizer,
    WriteIntent,
    Post,
    WriteTarget,
    WriteStatus,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// The request was sent, and never takes effect.
    Before,
    /// The request takes effect when its sender is dead.
    During,
    /// The request took effect, and its sender does not know.
    After,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    phase: Phase,
    effect: Effect,
    at: At,
}

impl Point {
    fn all() -> Vec<Self> {
        use Effect::{AddFinalizer, Post, WriteIntent, WriteStatus, WriteTarget};
        let mut all = Vec::new();
        for phase in [Phase::Create, Phase::Rotation] {
            for effect in [AddFinalizer, WriteIntent, Post, WriteTarget, WriteStatus] {
                // The finalizer is added once for all.
                if (phase, effect) == (Phase::Rotation, AddFinalizer) {
                    continue;
                }
                let moments: &[At] =
                    if effect == Post { &[At::Before, At::During, At::After] } else { &[At::Before, At::After] };
                all.extend(moments.iter().map(|at| Self { phase, effect, at: *at }));
            }
        }
        all
    }

    fn name(self) -> String {
        let Self { phase, effect, at } = self;
        let effect = match effect {
            Effect::AddFinalizer => "add_finalizer",
            Effect::WriteIntent => "write_intent",
            Effect::Post => "POST",
            Effect::WriteTarget => "write_target",
            Effect::WriteStatus => "write_status",
        };
        format!("{phase:?} {effect} {at:?}").to_lowercase().replace("post", "POST")
    }
}

/// What will stop the operator at a point.
enum Trap {
    /// In the proxy before the apiserver.
    Kubernetes(Armed),
    /// In the simulator.
    Remote(At),
}

impl Trap {
    async fn set(world: &World<'_>, subject: &Subject, point: Point) -> Result<Self> {
        let body =
            |part: String| move |request: &kit::proxy::Request| String::from_utf8_lossy(&request.body).contains(&part);
        let name = subject.name.as_str();
        let rule = match point.effect {
            Effect::AddFinalizer => Rule::on("patch", "secretversions").name(name),
            Effect::WriteIntent => {
                Rule::on("patch", "secretversions/status").name(name).when(body("\"create\":{".to_owned()))
            }
            Effect::WriteStatus => {
                Rule::on("patch", "secretversions/status").name(name).when(body("\"history\":".to_owned()))
            }
            Effect::WriteTarget if point.phase == Phase::Create => {
                Rule::on("create", "secrets").when(body(format!("\"name\":\"{name}\"")))
            }
            Effect::WriteTarget => Rule::on("patch", "secrets").name(name),
            Effect::Post => {
                let action = Self::remote_fault(point.at);
                world.fault("create_version", &subject.secret_id, Some(1), &action).await?;
                return Ok(Self::Remote(point.at));
            }
        };
        let moment = if point.at == At::Before { Moment::Before } else { Moment::After };
        Ok(Self::Kubernetes(world.proxy.add(rule.namespace(&world.namespace), Action::Hold(moment))))
    }

    fn remote_fault(at: At) -> Value {
        match at {
            At::Before => json!({ "drop": { "at": "before_commit" } }),
            // Less than the client's timeout, more than it takes to kill it.
            At::During => json!({ "delay": { "at": "before_commit", "duration": "700ms" } }),
            At::After => json!({ "delay": { "at": "after_commit", "duration": "30s" } }),
        }
    }

    /// Waits until the operator is at the point, and kills it there.
    async fn spring(self, world: &World<'_>, subject: &Subject, sent_before: usize) -> Result<()> {
        match self {
            Self::Kubernetes(mut armed) => {
                let held = timeout(SOON, armed.hit()).await.context("the operator never came to the point")??;
                world.kill()?;
                held.cut();
                world.proxy.clear();
            }
            Self::Remote(at) => {
                let reached = |entry: &Entry| match at {
                    At::Before => entry.finished,
                    At::During => true,
                    At::After => entry.committed,
                };
                let nth = |requests: &Requests| {
                    requests.values().filter(|entry| entry.is("create_version")).nth(sent_before).is_some_and(reached)
                };
                world.journal.until(SOON, "the create was sent", &subject.secret_id, nth).await?;
                world.kill()?;
            }
        }
        Ok(())
    }
}

async fn run(world: &World<'_>, point: Point, mut subject: Subject) -> Result<Figures> {
    let before = match point.phase {
        Phase::Create => 0,
        Phase::Rotation => {
            subject.apply(world).await?;
            subject.ready(world, 1, SOON).await?;
            1
        }
    };
    let trap = Trap::set(world, &subject, point).await?;
    match point.phase {
        Phase::Create => subject.apply(world).await?,
        Phase::Rotation => subject.change(world).await?,
    }
    trap.spring(world, &subject, before).await?;
    world.operator.process().start()?;
    let changes = before + 1;
    subject.ready(world, changes, RECOVERY).await?;
    // A create that came to nothing is sent again, and no other.
    let posts = changes + usize::from((point.effect, point.at) == (Effect::Post, At::Before));
    let indices: Vec<usize> = (0..changes).collect();
    subject.holds(world, &indices, posts).await.map(|figures| Figures {
        // What came before the fault is no part of the row.
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
        secrets.push(subject.secret_id.clone());
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
