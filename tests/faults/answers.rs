//! What the remote may answer to a create, or fail to, and what must come of it.

use std::time::Duration;

use anyhow::{Result, ensure};
use kit::ControlPlane;
use secret_version_operator::api::v1alpha1::SecretVersion;
use serde_json::{Value, json};

use crate::runs_of;
use crate::subject::{AtRest, Subject};
use crate::table::{Figures, Table, run_of};
use crate::world::{GRACE, World};

/// Resources at the same time. Most of a run is waiting.
const AT_ONCE: usize = 64;

/// Resources at the same time that share a budget which the remote cuts again and again.
const THROTTLED_AT_ONCE: usize = 4;

/// A grace, the backoff beside it, and what I5 allows after that; many share one operator.
const HEALING: Duration = Duration::from_secs(GRACE.as_secs() + 60);

#[derive(Clone, Copy)]
enum Outcome {
    /// The one request did it.
    Done,
    /// A second one did, no sooner than this after the first.
    Again(Duration),
}

struct Row {
    name: String,
    /// What befalls one create.
    action: Option<Value>,
    /// How far every list lags.
    lag: Option<&'static str>,
    outcome: Outcome,
}

fn row(name: &str, outcome: Outcome, action: Value) -> Row {
    Row { name: name.to_owned(), action: Some(action), lag: None, outcome }
}

fn status(code: u16, body: &str, committed: bool) -> Value {
    json!({ "status": {
        "code": code, "body": body, "committed": committed, "headers": { "location": "/elsewhere" },
    }})
}

/// The remote has carried the create out: it is found, and never sent again.
fn committed() -> Vec<Row> {
    let mut rows = vec![Row { name: "no fault".to_owned(), action: None, lag: None, outcome: Outcome::Done }];
    for code in [500, 502, 503, 504, 409, 404, 307] {
        for body in ["json", "html"] {
            // A 404 in the API's own words is a refusal; the remote would be lying.
            if (code, body) == (404, "json") {
                continue;
            }
            rows.push(row(&format!("committed, {code} {body}"), Outcome::Done, status(code, body, true)));
        }
    }
    let drop = |at: &str, reset: bool| json!({ "drop": { "at": at, "reset": reset } });
    let delay = |at: &str| json!({ "delay": { "at": at, "duration": "3s" } });
    for (name, action) in [
        ("committed, closed before the answer (FIN)", drop("after_commit", false)),
        ("committed, closed before the answer (RST)", drop("after_commit", true)),
        ("committed, closed inside the headers", drop("inside_headers", false)),
        ("committed, reset inside the headers", drop("inside_headers", true)),
        ("committed, closed inside the body", drop("inside_body", false)),
        ("committed, reset inside the body", drop("inside_body", true)),
        ("committed, truncated JSON", json!({ "malformed": "truncated_json" })),
        ("committed, no JSON", json!({ "malformed": "invalid_json" })),
        ("committed, empty body", json!({ "malformed": "empty_body" })),
        ("committed, wrong types", json!({ "malformed": "wrong_type" })),
        ("committed, another secret's id", json!({ "malformed": "other_secret_id" })),
        ("committed, timed out", delay("after_commit")),
        ("committed, body too slow", json!({ "trickle": { "pause": "100ms" } })),
        ("timed out, committed 2 s later", delay("before_commit")),
        ("closed, committed 3 s later", json!({ "late_commit": { "after": "3s" } })),
        ("500, committed 3 s later", json!({ "late_commit": { "after": "3s", "code": 500 } })),
    ] {
        rows.push(row(name, Outcome::Done, action));
    }
    // The remote's time to settle is a second here.
    let lag = |name: &str, action: Option<Value>| Row {
        name: name.to_owned(),
        action,
        lag: Some("1s"),
        outcome: Outcome::Done,
    };
    rows.push(lag("lists lag 1 s", None));
    rows.push(lag("lists lag 1 s; committed, 500", Some(status(500, "json", true))));
    rows.push(lag("lists lag 1 s; committed, closed", Some(drop("after_commit", false))));
    rows
}

/// The remote has not carried the create out: it is sent once more. Where nobody can know, not before the grace is over.
fn not_committed() -> Vec<Row> {
    let mut rows = Vec::new();
    for (code, body) in
        [(500, "json"), (502, "html"), (503, "json"), (504, "html"), (409, "json"), (404, "html"), (307, "empty")]
    {
        let name = format!("not committed, {code} {body}");
        rows.push(row(&name, Outcome::Again(GRACE), status(code, body, false)));
    }
    for (name, reset) in [("FIN", false), ("RST", true)] {
        let action = json!({ "drop": { "at": "before_commit", "reset": reset } });
        rows.push(row(&format!("not committed, closed ({name})"), Outcome::Again(GRACE), action));
    }
    for code in [401, 403, 404, 405] {
        rows.push(row(&format!("refused, {code}"), Outcome::Again(Duration::ZERO), status(code, "json", false)));
    }
    rows.push(row("refused, 429", Outcome::Again(Duration::ZERO), status(429, "html", false)));
    let wait = json!({ "status": { "code": 429, "retry_after": 3 } });
    rows.push(row("refused, 429 with Retry-After 3", Outcome::Again(Duration::from_secs(3)), wait));
    rows
}

/// One resource: a first create and a rotation, both under the row's fault.
async fn run(world: &World<'_>, row: &Row) -> Result<Figures> {
    let mut subject = Subject::new(world).await?;
    if let Some(lag) = row.lag {
        let lag = json!({ "list_lag": { "duration": lag } });
        world.fault("list_versions", &subject.secret_id, None, &lag).await?;
    }
    let per_change = match row.outcome {
        Outcome::Done => 1,
        Outcome::Again(_) => 2,
    };
    let mut figures = Figures::default();
    for changes in 1..=2 {
        if let Some(action) = &row.action {
            world.fault("create_version", &subject.secret_id, Some(1), action).await?;
        }
        if changes == 1 {
            subject.apply(world).await?;
        } else {
            subject.change(world).await?;
        }
        subject.ready(world, changes, HEALING).await?;
        let indices: Vec<usize> = (0..changes).collect();
        figures = subject.holds(world, &AtRest::created(&indices, changes * per_change)).await?;
        if let Outcome::Again(least) = row.outcome {
            let posts = subject.posts(world).await?;
            let [.., first, second] = posts.as_slice() else { unreachable!("there are two at least") };
            let waited = Duration::try_from(second.at.duration_since(first.at))?;
            ensure!(waited >= least, "sent again after {waited:?}, before {least:?} had passed");
        }
    }
    subject.rests(world).await?;
    // What is at rest would go on being refreshed.
    subject.delete(world).await?;
    subject.ends(world, HEALING).await?;
    Ok(figures)
}

/// A create that is refused for what it is: nothing more is sent until the source changes.
async fn run_stalled(world: &World<'_>, code: u16) -> Result<Figures> {
    let mut subject = Subject::new(world).await?;
    let refusal = status(code, "json", false);
    world.fault("create_version", &subject.secret_id, Some(1), &refusal).await?;
    subject.apply(world).await?;
    let stalled = |cr: Option<&SecretVersion>| {
        let conditions = cr.and_then(|cr| cr.status.as_ref()).map(|status| status.conditions.as_slice());
        let found = conditions.unwrap_or_default().iter().find(|condition| condition.type_ == "Stalled");
        found.is_some_and(|condition| condition.status == "True" && condition.reason == "CreateRejected")
    };
    subject.reaches(world, "stalled", HEALING, stalled).await?;
    world.refreshes(&subject.secret_id, 3).await?;
    ensure!(subject.posts(world).await?.len() == 1, "a refused create was sent again");
    subject.change(world).await?;
    subject.ready(world, 1, HEALING).await?;
    subject.holds(world, &AtRest::created(&[1], 2)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_version_per_change_whatever_the_remote_answers() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "answers").await.unwrap();
    // What one is told to leave alone is left alone by all who use the same budget.
    let apart = &World::start_steady(plane, "throttling").await.unwrap();
    let (throttling, rows): (Vec<Row>, Vec<Row>) =
        committed().into_iter().chain(not_committed()).partition(|row| row.name.contains("429"));
    let stalled = |code: u16| format!("refused, {code}: stalled until the source changes");
    let (mut all, mut throttled) = (Vec::new(), Vec::new());
    for _ in 0..runs_of(50) {
        all.extend(rows.iter().map(|row| run_of(row.name.clone(), run(world, row))));
        all.extend([400, 413, 415, 422].map(|code| run_of(stalled(code), run_stalled(world, code))));
        throttled.extend(throttling.iter().map(|row| run_of(row.name.clone(), run(apart, row))));
    }
    let (mut table, throttled) = tokio::join!(Table::of(AT_ONCE, all), Table::of(THROTTLED_AT_ONCE, throttled));
    table.append(throttled);
    table.conclude("Answers of the remote to a create and to a rotation");
    world.is_clean().await.unwrap();
    apart.is_clean().await.unwrap();
}
