//! Credentials that are refused, as a whole or for one secret: the last good value stays, others are not affected, and a
//! credential that was rotated is in use without a restart.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kit::ControlPlane;
use reqwest::Method;
use secret_version_operator::domain::reason::Reason;
use serde_json::json;

use crate::runs_of;
use crate::subject::{AtRest, Subject};
use crate::table::{Figures, Table, run_of};
use crate::world::{CONNECTION, World};

/// Resources at the same time. Most of a run is waiting.
const AT_ONCE: usize = 64;

/// The backoff by then, and what I5 allows after that.
const HEALING: Duration = Duration::from_mins(1);

/// Issues a credential of this name, in place of the one that it had.
async fn issue(world: &World<'_>, name: &str, token: &str) -> Result<()> {
    let credential = json!({ "name": name, "kind": "bearer", "token": token });
    world.simulator.control(Method::POST, "/credentials", Some(&credential)).await?;
    Ok(())
}

/// A credential is revoked, and another one is issued.
async fn rotated(world: &World<'_>) -> Result<Figures> {
    let name = format!("connection-{}", world.number());
    issue(world, &name, &format!("{name}-first")).await?;
    world.connect(&name, &format!("{name}-first")).await?;
    let through = |name: &str| json!({ "connectionRef": { "kind": "AbejaConnection", "name": name } });
    let (mut subject, mut other) = (Subject::new(world).await?, Subject::new(world).await?);
    subject.apply_with(world, &through(&name)).await?;
    other.apply_with(world, &through(CONNECTION)).await?;
    subject.ready(world, 1, HEALING).await?;
    other.ready(world, 1, HEALING).await?;

    world.simulator.control(Method::DELETE, &format!("/credentials/{name}"), None).await?;
    subject.change(world).await?;
    other.change(world).await?;
    let message = world.fails(&subject.name, Reason::Unauthorized).await?;
    ensure!(message.contains("credential"), "{message}");
    subject.target_is(world, 0).await?;
    other.ready(world, 2, HEALING).await?;

    issue(world, &name, &format!("{name}-second")).await?;
    world.patch::<Secret>(&name, &json!({ "stringData": { "token": format!("{name}-second") } })).await?;
    subject.ready(world, 2, HEALING).await?;
    other.holds(world, &AtRest::created(&[0, 1], 2)).await?;
    subject.holds(world, &AtRest::created(&[0, 1], 2)).await
}

/// The credential may do nothing with one secret for a while, or only not write it.
async fn forbidden(world: &World<'_>, write_only: bool) -> Result<Figures> {
    let (mut subject, mut other) = (Subject::new(world).await?, Subject::new(world).await?);
    subject.apply(world).await?;
    other.apply(world).await?;
    subject.ready(world, 1, HEALING).await?;
    other.ready(world, 1, HEALING).await?;

    let mut matching = json!({ "secret_id": subject.secret_id });
    if write_only {
        matching["method"] = "POST".into();
    }
    let fault = json!({ "match": matching, "action": { "status": { "code": 403 } } });
    let fault = world.simulator.add_fault(&fault).await?;
    subject.change(world).await?;
    other.change(world).await?;
    let message = world.fails(&subject.name, Reason::Forbidden).await?;
    ensure!(message.contains("rights"), "{message}");
    subject.target_is(world, 0).await?;
    other.ready(world, 2, HEALING).await?;
    world.lift(fault).await?;
    subject.ready(world, 2, HEALING).await?;
    let refused = subject.posts(world).await?.iter().filter(|post| !post.committed).count();
    ensure!(write_only == (refused > 0), "{refused} creates were refused");
    other.holds(world, &AtRest::created(&[0, 1], 2)).await?;
    subject.holds(world, &AtRest::created(&[0, 1], 2 + refused)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_refused_credentials() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "credentials").await.unwrap();
    let pid = world.operator.process().pid();
    let mut runs = Vec::new();
    for _ in 0..runs_of(50) {
        runs.push(run_of("401, then the credential is rotated", rotated(world)));
        runs.push(run_of("403 on one secret", forbidden(world, false)));
        runs.push(run_of("403 on creates of one secret", forbidden(world, true)));
    }
    Table::of(AT_ONCE, runs).await.conclude("20: credentials that are refused");
    assert_eq!(world.operator.process().pid(), pid, "the operator was restarted");
    world.is_clean().await.unwrap();
}
