//! An older operator, this one, and the older one again: each takes over what the one before had under way.
//!
//! `SVO_PREVIOUS_BIN` names the older binary; without it there is nothing to be shown.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use futures::future::{join_all, try_join_all};
use kit::ControlPlane;
use kit::proxy::{Action, Moment, Rule};
use serde_json::json;

use crate::journal::Requests;
use crate::runs_of;
use crate::subject::Subject;
use crate::table::{Figures, Table};
use crate::world::{SOON, World};

/// Names the binary of an older operator.
const PREVIOUS: &str = "SVO_PREVIOUS_BIN";

/// What is under way while operators change places.
struct Group {
    /// Nothing.
    resting: Subject,
    /// A create that was carried out, and not recorded.
    made: Subject,
    /// A create that never came about.
    unmade: Subject,
    /// A deletion that the remote refuses.
    deleted: Subject,
    /// How often operators have changed places.
    swaps: usize,
}

async fn ready(world: &World<'_>) -> Result<Subject> {
    let mut subject = Subject::new(world).await?;
    subject.apply(world).await?;
    subject.ready(world, 1, SOON).await?;
    Ok(subject)
}

fn sent(requests: &Requests, operation: &str) -> usize {
    requests.values().filter(|entry| entry.is(operation)).count()
}

impl Group {
    async fn new(world: &World<'_>) -> Result<Self> {
        let subjects = try_join_all((0..4).map(|_| ready(world))).await?;
        let [resting, made, unmade, deleted] = subjects.try_into().ok().unwrap();
        Ok(Self { resting, made, unmade, deleted, swaps: 0 })
    }

    /// Begins what the next operator is to end.
    async fn begin(&mut self, world: &World<'_>) -> Result<()> {
        let (swaps, journal) = (self.swaps, &world.journal);
        let lost = json!({ "drop": { "at": "before_commit", "reset": true } });
        world.fault("create_version", &self.unmade.secret_id, Some(1), &lost).await?;
        let refused = json!({ "status": { "code": 500 } });
        world.fault("delete_version", &self.deleted.secret_id, None, &refused).await?;
        self.made.change(world).await?;
        self.unmade.change(world).await?;
        self.deleted.delete(world).await?;
        let made = |all: &Requests| sent(all, "create_version") > 1 + swaps;
        journal.until(SOON, "a create was carried out", &self.made.secret_id, made).await?;
        let unmade = |all: &Requests| sent(all, "create_version") > 1 + 2 * swaps;
        journal.until(SOON, "a create was lost", &self.unmade.secret_id, unmade).await?;
        let tried = |all: &Requests| sent(all, "delete_version") > 0;
        journal.until(SOON, "a delete was refused", &self.deleted.secret_id, tried).await
    }

    /// All that was begun is ended, once.
    async fn end(&mut self, world: &World<'_>) -> Result<Figures> {
        self.swaps += 1;
        let changes = 1 + self.swaps;
        self.resting.ready(world, 1, SOON).await?;
        self.made.ready(world, changes, SOON).await?;
        self.unmade.ready(world, changes, SOON).await?;
        self.deleted.ends(world, SOON).await?;
        self.resting.records(world, 1).await?;
        let made = self.made.records(world, changes).await?;
        let unmade = self.unmade.records(world, 1 + 2 * self.swaps).await?;
        ensure!(made.versions == changes && unmade.versions == changes, "{made:?}, {unmade:?}");
        self.deleted = ready(world).await?;
        Ok(Figures { changes: 2, versions: 2, posts: 3 })
    }
}

/// One operator dies in the middle of all this, and another begins.
async fn swap(world: &mut World<'_>, groups: &mut [Group], to: Option<PathBuf>) -> Result<Vec<Result<Figures>>> {
    let record = Rule::on("patch", "secretversions/status");
    let record = record.when(|request| String::from_utf8_lossy(&request.body).contains("\"history\":")).always();
    let _armed = world.proxy.add(record, Action::Answer { moment: Moment::Before, status: 503, retry_after: None });
    try_join_all(groups.iter_mut().map(|group| group.begin(world))).await?;
    world.kill()?;
    world.proxy.clear();
    world.simulator.clear_faults().await?;
    world.replace_operator(to).await?;
    Ok(join_all(groups.iter_mut().map(|group| group.end(world))).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_37_there_and_back_between_an_older_operator_and_this_one() {
    let Some(previous) = std::env::var_os(PREVIOUS).map(PathBuf::from) else {
        println!("row 37, with binaries: skipped, for {PREVIOUS} names no older operator");
        return;
    };
    let plane = ControlPlane::shared().await.unwrap();
    let world = &mut World::start_steady(plane, "upgrade").await.unwrap();
    world.kill().unwrap();
    world.replace_operator(Some(previous.clone())).await.unwrap();
    let groups = try_join_all((0..runs_of(30)).map(|_| Group::new(world))).await;
    let groups = &mut groups.unwrap();
    let mut table = Table::default();
    for (name, to) in [("to this operator", None), ("back to the older one", Some(previous))] {
        table.order([name.to_owned()]);
        for outcome in swap(world, groups, to).await.unwrap() {
            table.enter(name, outcome);
        }
    }
    table.conclude("Row 37: an older operator, this one, and the older one again");
    world.is_clean().await.unwrap();
}
