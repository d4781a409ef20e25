//! What the remote may answer to a read, or fail to, for as long as it likes: the last good value stays, nothing is created on
//! a list that cannot be believed, a condition says what is so, and all goes on by itself once the remote does.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use kit::ControlPlane;
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};

use crate::follower::Follower;
use crate::runs_of;
use crate::subject::Subject;
use crate::table::{Figures, Run, Table, run_of};
use crate::world::World;

/// Resources at the same time. Most of a run is waiting.
const AT_ONCE: usize = 64;

/// The waits that failures brought about by then, and what I5 allows after that.
const HEALING: Duration = Duration::from_mins(1);

/// Requests that one pass may send in vain: five tries of a call, or a list of two pages read five times over.
const PER_PASS: usize = 12;

/// A MiB is the most that a Secret holds, and two, of base64, are the most that is read of a version.
const HUGE: [usize; 2] = [1024 * 1024 + 1, 1700 * 1024];

/// What the operator may take, in KiB: the chart's limit, less a fifth.
const PEAK: u64 = 200 * 1024;

/// More than is read of any answer.
const BOTTOMLESS: u64 = 1 << 40;

fn html(code: u16) -> Value {
    json!({ "status": { "code": code, "body": "html" } })
}

fn malformed(how: &str) -> Value {
    json!({ "malformed": how })
}

/// Bodies that are slow or large.
fn bodies() -> Vec<(&'static str, Reason, Value)> {
    vec![
        ("a byte each 100 ms", Reason::RemoteUnavailable, json!({ "trickle": { "pause": "100ms" } })),
        ("100 MiB", Reason::MalformedAnswer, json!({ "oversize": { "bytes": 100 << 20 } })),
        ("a body without end", Reason::MalformedAnswer, json!({ "oversize": { "bytes": BOTTOMLESS } })),
        ("a gzip bomb", Reason::MalformedAnswer, json!({ "oversize": { "bytes": 8 << 20, "gzip": true } })),
    ]
}

/// Answers that are not what the API says, to whatever is asked.
fn nonsense() -> Vec<(&'static str, Reason, Value)> {
    [
        "invalid_json",
        "truncated_json",
        "empty_body",
        "not_utf8",
        "wrong_type",
        "unknown_status",
        "other_secret_id",
        "other_version_id",
    ]
    .map(|how| (how, Reason::MalformedAnswer, malformed(how)))
    .into()
}

/// Absences that are none, and other refusals.
fn refusals() -> Vec<(&'static str, Reason, Value)> {
    vec![
        ("404 of a proxy", Reason::MalformedAnswer, html(404)),
        ("404 without a body", Reason::MalformedAnswer, json!({ "status": { "code": 404, "body": "empty" } })),
        ("404 of the API, as of another organization", Reason::NotFound, json!({ "status": { "code": 404 } })),
        ("410 of a proxy", Reason::BadRequest, html(410)),
        ("403", Reason::Forbidden, json!({ "status": { "code": 403 } })),
        ("a redirect", Reason::MalformedAnswer, html(302)),
    ]
}

/// Waits for a pass under the fault, and holds the operator to few requests.
async fn is_patient(world: &World<'_>, secret: &str, since: Timestamp) -> Result<()> {
    let entries = world.journal.of(secret).await?;
    let sent = entries.iter().filter(|entry| entry.at >= since).count();
    // Pauses double from a second, up to a fifth shorter; the test itself wakes it twice.
    let seconds = Timestamp::now().duration_since(since).as_secs();
    let passes = usize::try_from((seconds * 5 / 4 + 2).ilog2() + 4)?;
    ensure!(sent <= passes * PER_PASS, "{sent} requests in {seconds} s: a hot loop");
    Ok(())
}

/// What is too large to be read in time is out of time first.
fn or_too_late(reason: Reason) -> [Reason; 2] {
    [reason, if reason == Reason::MalformedAnswer { Reason::RemoteUnavailable } else { reason }]
}

/// A managed resource whose lists fail, at rest and when its source changes.
async fn lists_fail(world: &World<'_>, reason: Reason, action: Value) -> Result<Figures> {
    let mut subject = Subject::new(world).await?;
    subject.apply(world).await?;
    subject.ready(world, 1, HEALING).await?;
    let since = Timestamp::now();
    let fault = world.fault("list_versions", &subject.secret_id, None, &action).await?;
    // A version that only the list does not show is asked for by itself.
    let single = world.fault("get_version", &subject.secret_id, None, &action).await?;
    subject.sync(world).await?;
    world.fails_by(&subject.name, &or_too_late(reason)).await?;
    subject.target_is(world, 0).await?;

    subject.change(world).await?;
    world.refreshes(&subject.secret_id, 1).await?;
    world.fails_by(&subject.name, &or_too_late(reason)).await?;
    subject.target_is(world, 0).await?;
    ensure!(subject.posts(world).await?.len() == 1, "a version was created though no list could be read");
    is_patient(world, &subject.secret_id, since).await?;

    world.lift(fault).await?;
    world.lift(single).await?;
    subject.ready(world, 2, HEALING).await?;
    // It goes on being refreshed, and a read that comes too late may tell of it by now.
    subject.records(world, 2).await
}

/// A resource that follows versions, whose reads fail when there is a new one.
async fn reads_fail(world: &World<'_>, reason: Reason, action: Value) -> Result<Figures> {
    let mut follower = Follower::new(world).await?;
    let since = Timestamp::now();
    let fault = world.fault("get_version", &follower.secret_id, None, &action).await?;
    follower.make(world).await?;
    world.sync(&follower.name).await?;
    world.fails_by(&follower.name, &or_too_late(reason)).await?;
    follower.holds(world, 1).await?;
    is_patient(world, &follower.secret_id, since).await?;
    world.lift(fault).await?;
    follower.serves(world, HEALING).await?;
    Ok(Figures { versions: 2, ..Figures::default() })
}

/// A version whose value is larger than what can be kept, until a smaller one is made.
async fn is_too_large(world: &World<'_>, size: usize, reason: Reason) -> Result<Figures> {
    let mut follower = Follower::new(world).await?;
    follower.make_large(world, size).await?;
    world.sync(&follower.name).await?;
    world.fails(&follower.name, reason).await?;
    follower.holds(world, 1).await?;
    follower.make(world).await?;
    world.sync(&follower.name).await?;
    follower.serves(world, HEALING).await?;
    Ok(Figures { versions: 3, ..Figures::default() })
}

fn both<'a>(world: &'a World<'_>, rows: Vec<(&'static str, Reason, Value)>) -> Vec<Run<'a>> {
    rows.into_iter()
        .flat_map(|(name, reason, action)| {
            [
                run_of(format!("lists: {name}"), lists_fail(world, reason, action.clone())),
                run_of(format!("reads: {name}"), reads_fail(world, of_a_read(reason), action)),
            ]
        })
        .collect()
}

/// What the API itself does not know, and lists, may only be late.
fn of_a_read(reason: Reason) -> Reason {
    if reason == Reason::NotFound { Reason::ListIncomplete } else { reason }
}

/// Values that are none, though the rest of the answer is right.
fn no_values<'a>(world: &'a World<'_>) -> Vec<Run<'a>> {
    ["bad_base64", "null_value", "missing_value"]
        .map(|how| run_of(format!("reads: {how}"), reads_fail(world, Reason::ValueNotServed, malformed(how))))
        .into()
}

/// A world whose organization may not be listed: a page would serve what a read of one version does not.
async fn without_pages<'a>(plane: &'a ControlPlane, prefix: &str) -> Result<World<'a>> {
    let world = World::start_steady(plane, prefix).await?;
    let refused = json!({ "match": { "operation": "list_secrets" }, "action": { "status": { "code": 403 } } });
    world.simulator.add_fault(&refused).await?;
    Ok(world)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_21_slow_and_large_bodies() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &without_pages(plane, "bodies").await.unwrap();
    let before = world.memory("VmHWM:").unwrap();
    let runs = (0..runs_of(50)).flat_map(|_| both(world, bodies())).collect();
    let table = Table::of(AT_ONCE, runs).await;
    let peak = world.memory("VmHWM:").unwrap();
    println!("peak of the operator's resident memory: {before} KiB at the start, {peak} KiB at the end");
    table.conclude("21: bodies that are slow, or larger than anything that is read");
    assert!(peak < PEAK, "the operator took {peak} KiB");
    world.is_clean().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_malformed_answers() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &without_pages(plane, "malformed").await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..runs_of(50) {
        runs.extend(both(world, nonsense()));
        runs.extend(no_values(world));
        let [more_than_a_secret_holds, more_than_is_read] = HUGE;
        runs.push(run_of("a value over 1 MiB", is_too_large(world, more_than_a_secret_holds, Reason::TargetInvalid)));
        runs.push(run_of("a value over 2 MiB", is_too_large(world, more_than_is_read, Reason::MalformedAnswer)));
    }
    Table::of(AT_ONCE, runs).await.conclude("22: answers that are not what the API says");
    world.is_clean().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_false_absence() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &without_pages(plane, "absence").await.unwrap();
    let runs = (0..runs_of(50)).flat_map(|_| both(world, refusals())).collect();
    Table::of(AT_ONCE, runs).await.conclude("25: refusals that say nothing of the version");
    world.is_clean().await.unwrap();
}
