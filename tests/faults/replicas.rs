//! More than one operator: a leader that is frozen until it is none any more, and two that both believe to be alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kit::proxy::{Action, Armed, Moment, Request, Rule};
use kit::{ControlPlane, Operator, eventually};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::runs_of;
use crate::subject::{AtRest, Subject};
use crate::table::{Figures, Table, run_of};
use crate::world::{GRACE, SOON, STEADY, World};

/// Pairs of operators at the same time.
const WORLDS: usize = 6;

/// Resources of two operators that act at the same time.
const AT_ONCE: usize = 16;

/// The Lease, the grace, and what I5 allows after that.
const RECOVERY: Duration = Duration::from_secs(8 + GRACE.as_secs() + 30);

/// Long enough for a busy machine to renew it, short enough to wait for its end.
const LEASE: [&str; 2] = ["--leader-elect-lease-duration=8s", "--leader-elect-renew-deadline=6s"];

/// Names a `libfaketime.so.1`: where it is there, the replicas' clocks stand ten minutes apart.
const FAKETIME: &str = "SVO_FAKETIME";

/// Where a leader is frozen.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Frozen {
    /// It has listed the versions; the answer is on its way.
    Listed,
    /// Its intent is written, and it does not know.
    IntentWritten,
    /// Its create is on the wire, and takes effect while it is frozen.
    Sending,
    /// The version is made; its Secret is written, and it does not know.
    TargetWritten,
    /// It has read a resource that is being deleted, and would delete its version next.
    Deleting,
}

impl Frozen {
    const ALL: [Self; 5] = [Self::Listed, Self::IntentWritten, Self::Sending, Self::TargetWritten, Self::Deleting];

    fn name(self) -> &'static str {
        match self {
            Self::Listed => "frozen at its list",
            Self::IntentWritten => "frozen at its intent",
            Self::Sending => "frozen at its POST",
            Self::TargetWritten => "frozen at its Secret",
            Self::Deleting => "frozen before a DELETE",
        }
    }

    /// The request to the apiserver whose answer is held.
    fn rule(self, name: &str) -> Option<Rule> {
        let body = |part: &str| {
            let part = part.to_owned();
            move |request: &Request| String::from_utf8_lossy(&request.body).contains(&part)
        };
        match self {
            Self::Listed | Self::Sending => None,
            Self::IntentWritten => {
                Some(Rule::on("patch", "secretversions/status").name(name).when(body("\"create\":{")))
            }
            Self::TargetWritten => Some(Rule::on("create", "secrets").when(body(&format!("\"name\":\"{name}\"")))),
            Self::Deleting => Some(Rule::on("get", "secretversions").name(name)),
        }
    }

    /// The call at the remote that takes its time, and when.
    fn call(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Listed => Some(("list_versions", "after_commit")),
            Self::Sending => Some(("create_version", "before_commit")),
            _ => None,
        }
    }
}

/// When the frozen one wakes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wakes {
    /// As soon as another one leads.
    Early,
    /// When the other one has done everything.
    Late,
}

async fn leads(operator: &Operator) -> Result<()> {
    ensure!(operator.metrics().await?.contains("secret_version_operator_leader 1\n"), "it does not lead");
    Ok(())
}

/// Freezes the leader in the middle of five pieces of work, lets the standby take over, and wakes the frozen one.
async fn freeze(
    world: &World<'_>,
    leader: &Operator,
    standby: &Operator,
    wakes: Wakes,
) -> Vec<(String, Result<Figures>)> {
    let name = |frozen: Frozen| format!("{}, woken {}", frozen.name(), format!("{wakes:?}").to_lowercase());
    match try_freeze(world, leader, standby, wakes).await {
        Ok(all) => all.into_iter().map(|(frozen, figures)| (name(frozen), figures)).collect(),
        Err(error) => vec![(name(Frozen::ALL[0]), Err(error))],
    }
}

async fn try_freeze(
    world: &World<'_>,
    leader: &Operator,
    standby: &Operator,
    wakes: Wakes,
) -> Result<Vec<(Frozen, Result<Figures>)>> {
    let mut subjects = Vec::new();
    for frozen in Frozen::ALL {
        let mut subject = Subject::new(world).await?;
        if frozen == Frozen::Deleting {
            subject.apply(world).await?;
            subject.ready(world, 1, SOON).await?;
        }
        subjects.push((frozen, subject));
    }
    // What the apiserver answers can be held for as long as it takes; what the remote does lasts less than its timeout.
    let mut held = Vec::new();
    for (frozen, subject) in &mut subjects {
        let Some(rule) = frozen.rule(&subject.name) else { continue };
        let mut armed: Armed = world.proxy.add(rule.namespace(&world.namespace), Action::Hold(Moment::After));
        if *frozen == Frozen::Deleting {
            subject.delete(world).await?;
        } else {
            subject.apply(world).await?;
        }
        held.push(timeout(SOON, armed.hit()).await.with_context(|| frozen.name())??);
    }
    for (frozen, subject) in &mut subjects {
        let Some((operation, at)) = frozen.call() else { continue };
        let delay = json!({ "delay": { "at": at, "duration": "900ms" } });
        world.fault(operation, &subject.secret_id, Some(1), &delay).await?;
        subject.apply(world).await?;
    }
    for (frozen, subject) in &subjects {
        let Some((operation, _)) = frozen.call() else { continue };
        let there = |requests: &crate::journal::Requests| requests.values().any(|entry| entry.is(operation));
        world.journal.until(SOON, frozen.name(), &subject.secret_id, there).await?;
    }
    leader.process().pause()?;
    eventually(SOON, "the standby leads", || leads(standby)).await?;
    if wakes == Wakes::Late {
        settle(world, &subjects).await;
    }
    let changed = async || -> Result<(usize, usize)> { Ok((changes(world).await?, world.proxy.writes())) };
    let before = changed().await?;
    held.into_iter().for_each(kit::proxy::Held::release);
    leader.process().resume()?;
    let code = timeout(SOON, leader.process().wait()).await.context("the former leader goes on")??;
    ensure!(code == 1, "the former leader ended with {code}");
    if wakes == Wakes::Late {
        let after = changed().await?;
        ensure!(
            after == before,
            "(calls that change the remote, writes) were {before:?} and are {after:?} after waking"
        );
    }
    let settled = settle(world, &subjects).await;
    leader.process().start()?;
    leader.wait_ready().await?;
    Ok(settled)
}

/// How many requests have asked the remote for a change.
async fn changes(world: &World<'_>) -> Result<usize> {
    let all = world.journal.all().await?;
    let calls = ["create_version", "update_version", "delete_version"];
    Ok(all.values().flat_map(|of| of.values()).filter(|entry| calls.iter().any(|call| entry.is(call))).count())
}

async fn settle(world: &World<'_>, subjects: &[(Frozen, Subject)]) -> Vec<(Frozen, Result<Figures>)> {
    join_all(subjects.iter().map(|(frozen, subject)| async move {
        let outcome = async {
            if *frozen == Frozen::Deleting {
                subject.ends(world, RECOVERY).await?;
                return Ok(Figures::default());
            }
            subject.ready(world, 1, RECOVERY).await?;
            subject.holds(world, &AtRest::created(&[0], 1)).await
        };
        (*frozen, outcome.await)
    }))
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_29_a_leader_that_is_frozen_and_wakes_sends_nothing() {
    let plane = ControlPlane::shared().await.unwrap();
    // Each time that a leader is frozen, it is so in the middle of each kind of work.
    let times = runs_of(300 / Frozen::ALL.len() / 2);
    let worlds = WORLDS.min(times);
    let work = async |share: usize| -> Result<Vec<(String, Result<Figures>)>> {
        let mut world = World::start_with(plane, "frozen", &LEASE).await?;
        let faketime = std::env::var(FAKETIME).unwrap_or_default();
        let skewed = [("LD_PRELOAD", faketime.as_str()), ("FAKETIME", "-10m"), ("DONT_FAKE_MONOTONIC", "1")];
        world.add_replica(&[], if faketime.is_empty() { &[] } else { &skewed }).await?;
        let mut all = Vec::new();
        for _ in 0..share {
            for wakes in [Wakes::Early, Wakes::Late] {
                let (leader, standby) = match leads(&world.operator).await {
                    Ok(()) => (&world.operator, &world.others[0]),
                    Err(_) => (&world.others[0], &world.operator),
                };
                all.extend(freeze(&world, leader, standby, wakes).await);
            }
        }
        world.is_clean().await?;
        Ok(all)
    };
    let shares = (0..worlds).map(|n| times / worlds + usize::from(n < times % worlds));
    let mut table = Table::default();
    for wakes in ["early", "late"] {
        table.order(Frozen::ALL.map(|frozen| format!("{}, woken {wakes}", frozen.name())));
    }
    let mut broken = Vec::new();
    for outcome in join_all(shares.map(work)).await {
        match outcome {
            Ok(all) => all.into_iter().for_each(|(name, outcome)| table.enter(&name, outcome)),
            Err(error) => broken.push(format!("{error:#}")),
        }
    }
    table.conclude("Row 29: the leader is frozen until another one leads, and wakes");
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The rights that a second Lease needs, which the chart does not give.
async fn allow_lease(world: &World<'_>, name: &str) -> Result<()> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": name },
        "rules": [{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "update"] }],
    });
    world.create::<Role>(role).await?;
    let subject: Value = json!({ "kind": "ServiceAccount", "name": "operator", "namespace": &*world.namespace });
    world
        .create::<RoleBinding>(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": name },
            "subjects": [subject],
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        }))
        .await
}

/// A life under two operators, each of which does everything.
async fn under_two(world: &World<'_>) -> Result<Figures> {
    let mut subject = Subject::new(world).await?;
    subject.apply(world).await?;
    subject.ready(world, 1, RECOVERY).await?;
    subject.change(world).await?;
    subject.ready(world, 2, RECOVERY).await?;
    let figures = subject.holds(world, &AtRest::created(&[0, 1], 2)).await?;
    subject.rests(world).await?;
    subject.delete(world).await?;
    subject.ends(world, RECOVERY).await?;
    Ok(figures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_30_two_replicas_that_both_lead() {
    let plane = ControlPlane::shared().await.unwrap();
    let mut world = World::start_with(plane, "both", &STEADY).await.unwrap();
    allow_lease(&world, "another-lease").await.unwrap();
    world.add_replica(&["--leader-elect-resource-name=another-lease"], &[]).await.unwrap();
    for replica in world.replicas() {
        eventually(SOON, "both lead", || leads(replica)).await.unwrap();
    }
    let world = &world;
    // One life is two changes under two writers; in `make test` a few lives meet.
    let lives = runs_of(100 / 5) * 5;
    let runs = (0..lives).map(|_| run_of("two replicas with a Lease each", under_two(world))).collect();
    let table = Table::of(AT_ONCE, runs).await;
    table.conclude("Row 30: two replicas that both lead");
    world.is_clean().await.unwrap();
}
