//! Lists that move while they are read, that lie, or that lag: what became of a create is found out rightly or not at all, and
//! nothing is said to be gone that is only not shown yet.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kit::ControlPlane;
use kube::api::DeleteParams;
use reqwest::Method;
use secret_version_operator::api::v1alpha1::SecretVersion;
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};

use crate::follower::Follower;
use crate::subject::{AtRest, Subject};
use crate::table::{Figures, Table, run_of};
use crate::world::{CONNECTION, GRACE, ORGANIZATION, STEADY, World};
use crate::{is_full, runs_of};

/// Resources at the same time. Most of a run is waiting.
const AT_ONCE: usize = 64;

/// A grace, the backoff beside it, and what I5 allows after that.
const HEALING: Duration = Duration::from_secs(GRACE.as_secs() + 60);

/// Versions of somebody else's that are there before: two pages of a list.
const LONG: usize = 130;

/// One more than is read.
const TOO_LONG: usize = 10_001;

/// A secret that has so many versions at the remote.
const CROWDED: &str = "9000000000001";

/// What happens to a list that is being read.
#[derive(Clone)]
enum List {
    /// It goes on, and is right in the end.
    Moves(Value, u64),
    /// It cannot be believed for as long as that lasts.
    Lies(Value),
}

/// A subject whose remote secret has a long list of other people's versions.
async fn long(world: &World<'_>) -> Result<Subject> {
    let subject = Subject::new(world).await?;
    let secret = &subject.secret_id;
    let add = |number: usize| async move {
        let version = json!({ "organization_id": ORGANIZATION, "secret_id": secret, "value": format!("row-{number}") });
        world.simulator.control(Method::POST, "/versions", Some(&json!({ "create": version }))).await
    };
    stream::iter(0..LONG).map(add).buffer_unordered(4).try_collect::<Vec<_>>().await?;
    Ok(subject)
}

/// A create under such a list, and another one whose answer is lost, so that only the list can tell.
async fn under(world: &World<'_>, list: List) -> Result<Figures> {
    let mut subject = long(world).await?;
    for changes in 1..=2 {
        let fault = match &list {
            List::Moves(action, times) => {
                world.fault("list_versions", &subject.secret_id, Some(*times), action).await?
            }
            List::Lies(action) => world.fault("list_versions", &subject.secret_id, None, action).await?,
        };
        if changes == 2 {
            let unanswered = json!({ "status": { "code": 500, "committed": true } });
            world.fault("create_version", &subject.secret_id, Some(1), &unanswered).await?;
            subject.change(world).await?;
        } else {
            subject.apply(world).await?;
        }
        if let List::Lies(_) = list {
            let message = world.fails(&subject.name, Reason::ListIncomplete).await?;
            ensure!(message.contains("list"), "{message}");
            ensure!(subject.posts(world).await?.len() == changes - 1, "a version was created on a list that lies");
            world.lift(fault).await?;
        }
        subject.ready(world, changes, HEALING).await?;
        subject.records(world, changes).await?;
    }
    subject.records(world, 2).await
}

/// More versions than are read: nothing is decided, and a person is told why.
async fn too_long(world: &World<'_>) -> Result<Figures> {
    let mut subject = Subject::new(world).await?;
    subject.apply_with(world, &json!({ "remoteRef": { "secretId": CROWDED } })).await?;
    let message = world.fails(&subject.name, Reason::MalformedAnswer).await?;
    ensure!(message.contains("larger than the operator reads"), "{message}");
    let requests = world.journal.of(CROWDED).await?;
    ensure!(!requests.iter().any(|entry| entry.is("create_version")), "a version was created");
    subject.delete(world).await?;
    subject.ends_without(world, HEALING).await?;
    let follower = json!({
        "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "metadata": { "name": "follower" },
        "spec": {
            "connectionRef": { "kind": "AbejaConnection", "name": CONNECTION },
            "remoteRef": { "secretId": CROWDED },
            "versionRef": { "latest": "Active" },
        },
    });
    world.create::<SecretVersion>(follower).await?;
    let message = world.fails("follower", Reason::MalformedAnswer).await?;
    ensure!(message.contains("larger than the operator reads"), "{message}");
    world.api::<SecretVersion>().delete("follower", &DeleteParams::default()).await?;
    let gone = json!({ "delete": { "organization_id": ORGANIZATION, "secret_id": CROWDED } });
    world.simulator.control(Method::POST, "/secrets", Some(&gone)).await?;
    Ok(Figures::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_lists_that_move_or_lie() {
    let plane = ControlPlane::shared().await.unwrap();
    let versions: Vec<Value> = (0..TOO_LONG).map(|number| json!({ "value": format!("row-{number}") })).collect();
    let crowded = json!({ "id": CROWDED, "name": "crowded", "versions": versions });
    let world = &World::start_beside(plane, "lists", &STEADY, &[crowded]).await.unwrap();
    let first = Table::of(1, vec![run_of("more than ten thousand versions", too_long(world))]).await;
    first.conclude("23: a list that is too long");

    let moves = |shift: &str, times| List::Moves(json!({ "page_shift": shift }), times);
    let lies = |how: &str| List::Lies(json!({ "malformed": how }));
    let rows = [
        ("a row added between the pages", moves("insert", 1)),
        ("a row added between the pages, three times", moves("insert", 3)),
        ("a row deleted between the pages", moves("delete", 1)),
        ("a row deleted between the pages, three times", moves("delete", 3)),
        ("every row twice", List::Moves(json!({ "malformed": "duplicate_rows" }), 4)),
        ("the first page again and again", lies("repeat_first_page")),
        ("more is promised for ever", lies("has_next_true")),
        ("no more is promised at once", lies("has_next_false")),
    ];
    let mut runs = Vec::new();
    for _ in 0..runs_of(100) {
        runs.extend(rows.iter().map(|(name, list)| run_of(*name, under(world, list.clone()))));
    }
    Table::of(AT_ONCE, runs).await.conclude("23: lists that move or lie while they are read");
    world.is_clean().await.unwrap();
}

/// What lags, and how the create is answered.
#[derive(Clone, Copy)]
struct Lag {
    duration: Duration,
    reads: bool,
    lost: bool,
}

/// Reads show a version only some time after it was made. It is never said to be gone.
async fn lagging(world: &World<'_>, lag: Lag) -> Result<Figures> {
    let mut subject = Subject::new(world).await?;
    let action = json!({ "list_lag": { "duration": format!("{}ms", lag.duration.as_millis()) } });
    world.fault("list_versions", &subject.secret_id, None, &action).await?;
    if lag.reads {
        world.fault("get_version", &subject.secret_id, None, &action).await?;
    }
    for changes in 1..=2 {
        if lag.lost {
            let lost = json!({ "drop": { "at": "after_commit" } });
            world.fault("create_version", &subject.secret_id, Some(1), &lost).await?;
        }
        if changes == 1 {
            subject.apply(world).await?;
        } else {
            subject.change(world).await?;
        }
        subject.ready(world, changes, lag.duration + HEALING).await?;
        // It is looked at while the list does not show it.
        subject.sync(world).await?;
        world.refreshes(&subject.secret_id, 1).await?;
    }
    subject.ready(world, 2, lag.duration + HEALING).await?;
    subject.holds(world, &AtRest::created(&[0, 1], 2)).await
}

/// A version of somebody else's is listed some time before it can be read.
async fn late_reads(world: &World<'_>, lag: Duration) -> Result<Figures> {
    let mut follower = Follower::new(world).await?;
    let action = json!({ "list_lag": { "duration": format!("{}ms", lag.as_millis()) } });
    world.fault("get_version", &follower.secret_id, None, &action).await?;
    follower.make(world).await?;
    world.sync(&follower.name).await?;
    follower.serves(world, lag + HEALING).await?;
    Ok(Figures { versions: 2, ..Figures::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_24_reads_that_lag() {
    let plane = ControlPlane::shared().await.unwrap();
    // What the operator takes for the longest lag unless it is told otherwise, or less of a wait.
    let settle = Duration::from_secs(if is_full() { 30 } else { 3 });
    let settles = format!("--remote-settle-time={}s", settle.as_secs());
    let args: Vec<&str> = STEADY.into_iter().chain([settles.as_str()]).collect();
    let world = &World::start_with(plane, "lag", &args).await.unwrap();
    let mut runs = Vec::new();
    for run in 0..runs_of(100) {
        for share in [0, 1, 2, 4] {
            // From no lag up to all that was promised, and each run a little else.
            let duration = (settle * share / 4).saturating_sub(Duration::from_millis(100 + 7 * (run as u64 % 10)));
            let of = format!("{share}/4 of the time to settle");
            for lost in [false, true] {
                for reads in [false, true] {
                    let what = if reads { "lists and reads" } else { "lists" };
                    let how = if lost { ", answer lost" } else { "" };
                    let lag = Lag { duration, reads, lost };
                    runs.push(run_of(format!("{what} lag {of}{how}"), lagging(world, lag)));
                }
            }
            runs.push(run_of(format!("reads lag {of} behind lists"), late_reads(world, duration)));
        }
    }
    Table::of(AT_ONCE, runs).await.conclude("24: reads that lag");
    let log = std::fs::read_to_string(world.operator.process().log()).unwrap();
    assert!(!log.contains(Reason::VersionGone.as_str()), "what was only late was said to be gone");
    world.is_clean().await.unwrap();
}
