//! An operator that begins with many resources: all of them in sync, or all of them due.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use kit::ControlPlane;

use crate::follower::Follower;
use crate::runs_of;
use crate::table::{Figures, Table};
use crate::world::{SOON, World};

/// Two pages of them.
const RESOURCES: usize = 150;

/// Pages that may be read: two for those who wait for values, and two for each look that comes meanwhile.
const PAGES: usize = RESOURCES / 10;

/// What the remote was asked for until now: pages, and anything about one secret.
async fn asked(world: &World<'_>) -> Result<(usize, usize)> {
    let all = world.journal.all().await?;
    let alone = all.iter().filter(|(secret, _)| !secret.is_empty()).map(|(_, entries)| entries.len()).sum();
    Ok((all.get("").into_iter().flat_map(BTreeMap::values).filter(|entry| entry.is_page()).count(), alone))
}

/// The operator dies, each resource gets another version or none, and another operator begins.
async fn storm(world: &World<'_>, followers: &mut [Follower], all_due: bool) -> Result<Figures> {
    world.kill()?;
    if all_due {
        for follower in followers.iter_mut() {
            follower.make(world).await?;
        }
    }
    world.clear_lease().await?;
    let (pages_before, alone_before) = asked(world).await?;
    let mark = world.plane.audit_mark()?;
    world.operator.process().start()?;
    if all_due {
        for follower in followers.iter() {
            follower.serves(world, SOON).await?;
        }
    } else {
        let secrets: Vec<String> = followers.iter().map(|follower| follower.secret_id.clone()).collect();
        world.all_refreshed(&secrets, 1).await?;
    }
    let (pages, alone) = asked(world).await?;
    let (pages, alone) = (pages - pages_before, alone - alone_before);
    let written = world.writes_since(mark)?.filter(|event| event.resource != "events");
    let (written, expected) = (written.events().len(), if all_due { 2 * RESOURCES } else { 0 });
    ensure!(written == expected, "{written} writes where {expected} were to be made");
    ensure!(pages <= PAGES && alone == 0, "{pages} pages and {alone} requests for one secret");
    Ok(Figures { versions: if all_due { RESOURCES } else { 0 }, ..Figures::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_32_restart_storms() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "storm").await.unwrap();
    let mut followers = Vec::new();
    for _ in 0..RESOURCES {
        followers.push(Follower::apply(world).await.unwrap());
    }
    for follower in &followers {
        follower.serves(world, SOON).await.unwrap();
    }
    let rows = [("all are in sync", false), ("all are due", true)];
    let mut table = Table::default();
    table.order(rows.map(|(name, _)| name.to_owned()));
    for _ in 0..runs_of(10) {
        for (name, all_due) in rows {
            table.enter(name, storm(world, &mut followers, all_due).await);
        }
    }
    table.conclude("32: a restart with many resources");
    world.is_clean().await.unwrap();
}
