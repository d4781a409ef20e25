//! Deletions that the remote does not confirm, refuses, or fails for ever: what was created goes, nothing else does, and there
//! is a way out that says so.

use std::time::Duration;

use anyhow::{Result, ensure};
use kit::ControlPlane;
use secret_version_operator::api::v1alpha1::SecretVersion;
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};

use crate::runs_of;
use crate::subject::Subject;
use crate::table::{Figures, Table, run_of};
use crate::world::{SOON, World};

/// Resources at the same time. Most of a run is waiting.
const AT_ONCE: usize = 64;

/// The backoff by then, and what I5 allows after that.
const HEALING: Duration = Duration::from_mins(1);

/// Two versions that this resource created, and one that somebody else made.
async fn two(world: &World<'_>) -> Result<(Subject, String)> {
    let mut subject = Subject::new(world).await?;
    let foreign = subject.somebody_else(world).await?;
    subject.apply(world).await?;
    subject.ready(world, 1, SOON).await?;
    subject.change(world).await?;
    subject.ready(world, 2, SOON).await?;
    Ok((subject, foreign))
}

/// The resource goes, and with it the two versions and no other.
async fn goes(world: &World<'_>, subject: &Subject, foreign: &str) -> Result<()> {
    subject.ends_without(world, HEALING).await?;
    let left = subject.remote_ids(world).await?;
    ensure!(left == [foreign], "left at the remote: {left:?}");
    Ok(())
}

/// So many deletions go wrong.
async fn disturbed(world: &World<'_>, times: u64, action: Value) -> Result<Figures> {
    let (subject, foreign) = two(world).await?;
    world.fault("delete_version", &subject.secret_id, Some(times), &action).await?;
    subject.delete(world).await?;
    goes(world, &subject, &foreign).await?;
    Ok(Figures { changes: 2, versions: 2, posts: 2 })
}

/// A remote that deletes nothing that is active.
async fn active_first(world: &World<'_>) -> Result<Figures> {
    let (subject, foreign) = two(world).await?;
    for _ in 0..2 {
        // One refusal for each version: what follows it is the switch, and then the deletion.
        world.fault("delete_version", &subject.secret_id, Some(1), &json!({ "status": { "code": 409 } })).await?;
    }
    subject.delete(world).await?;
    goes(world, &subject, &foreign).await?;
    let journal = world.journal.of(&subject.secret_id).await?;
    let switched = journal.iter().filter(|entry| entry.is("update_version")).count();
    ensure!(switched >= 1, "nothing was switched off first");
    Ok(Figures { changes: 2, versions: 2, posts: 2 })
}

/// Deletions fail for ever: a person is told why, and lets go.
async fn forever(world: &World<'_>, reason: Reason, action: Value) -> Result<Figures> {
    let (subject, _) = two(world).await?;
    world.fault("delete_version", &subject.secret_id, None, &action).await?;
    subject.delete(world).await?;
    let message = world.fails(&subject.name, reason).await?;
    ensure!(message.contains("spec.deletionPolicy to Retain"), "{message}");
    ensure!(world.api::<SecretVersion>().get(&subject.name).await.is_ok(), "it went though its versions stay");
    subject.target_is(world, 1).await?;
    world.patch::<SecretVersion>(&subject.name, &json!({ "spec": { "deletionPolicy": "Retain" } })).await?;
    subject.ends_without(world, HEALING).await?;
    let left = subject.remote_ids(world).await?;
    ensure!(left.len() == 3, "left at the remote: {left:?}");
    world.told(&subject.name, Reason::VersionsRetained, &left[1..]).await?;
    Ok(Figures { changes: 2, versions: 2, posts: 2 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_26_deletions_that_fail() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "deletion").await.unwrap();
    let status = |code: u16, body: &str, committed: bool| json!({ "status": { "code": code, "body": body, "committed": committed } });
    let drop = |at: &str| json!({ "drop": { "at": at, "reset": true } });
    let rows = [
        ("no fault", 0, json!({ "malformed": "empty_body" })),
        ("timed out, and done", 2, json!({ "delay": { "at": "after_commit", "duration": "3s" } })),
        ("timed out, and done later", 2, json!({ "late_commit": { "after": "2s", "code": 504 } })),
        ("cut before", 2, drop("before_commit")),
        ("cut, and done", 2, drop("after_commit")),
        ("404 of the API, and not done", 1, status(404, "json", false)),
        ("404 of the API, and done", 1, status(404, "json", true)),
        ("404 of a proxy, and not done", 2, status(404, "html", false)),
        ("200 of a proxy, and not done", 2, status(200, "html", false)),
        ("200, cut-off JSON, and done", 2, json!({ "malformed": "truncated_json" })),
        ("200, no body, and done", 2, json!({ "malformed": "empty_body" })),
        ("429, and not done", 2, json!({ "status": { "code": 429, "retry_after": 1 } })),
        ("503, and not done", 3, status(503, "html", false)),
        ("500, and done", 2, status(500, "json", true)),
    ];
    let endless = [
        ("500 for ever", Reason::RemoteUnavailable, status(500, "json", false)),
        ("403 for ever", Reason::Forbidden, status(403, "json", false)),
        ("409 for ever", Reason::RemoteConflict, status(409, "json", false)),
        ("404 of a proxy for ever", Reason::MalformedAnswer, status(404, "html", false)),
    ];
    let mut runs = Vec::new();
    for _ in 0..runs_of(50) {
        runs.extend(rows.iter().map(|(name, times, action)| run_of(*name, disturbed(world, *times, action.clone()))));
        runs.push(run_of("409 for what is active", active_first(world)));
        runs.extend(
            endless.iter().map(|(name, reason, action)| run_of(*name, forever(world, *reason, action.clone()))),
        );
    }
    Table::of(AT_ONCE, runs).await.conclude("26: deletions that go wrong");
    world.is_clean().await.unwrap();
}
