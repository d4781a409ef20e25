//! Managed resources that are all deleted at once, with the versions that they created.

use std::time::Instant;

use anyhow::Result;
use kit::progress::say;
use kube::api::ListParams;
use secret_version_operator::api::v1alpha1::SecretVersion;

use crate::arena::{Arena, Remote};
use crate::figures::{Case, Page};
use crate::load::{self, Kind};
use crate::watch::Watch;
use crate::{LONGEST, Rounds, floor};

pub(crate) async fn run(sizes: &[usize], rounds: &Rounds) -> Result<()> {
    const SCENARIO: &str = "deletion";
    let mut page = Page::open(SCENARIO)?;
    for &size in sizes {
        let remote =
            Remote { secrets: size, versions: 0, value_bytes: rounds.value_bytes, latency_ms: rounds.latency_ms };
        let arena = Arena::start(remote).await?;
        let mut case = Case::new(format!("Managed, remote answers after {} ms", rounds.latency_ms), size);
        for turn in 0..2 * rounds.count {
            arena.reset_remote().await?;
            load::clear(&arena).await?;
            load::apply(&arena, Kind::Managed, 0..size, "1h").await?;
            let operator = arena.operator().await?;
            Watch::begin(&arena).until(size, 1, LONGEST).await?;
            let by_floor = crate::is_the_floors(turn);
            let resources = arena.api::<SecretVersion>();
            let doomed = resources.list(&ListParams::default()).await?.items;
            if by_floor {
                operator.process().stop().await?;
            }
            let (seq, began) = (arena.last_request().await?, Instant::now());
            load::delete(&arena).await?;
            if by_floor {
                floor::delete(&arena, doomed).await?;
            }
            load::gone(&resources, &ListParams::default()).await?;
            let elapsed = began.elapsed().as_secs_f64();
            let calls = arena.last_request().await? - seq;
            let who = if by_floor { "floor" } else { "operator" };
            say(format!("{size} deleted: the {who} took {elapsed:.2} s, {calls} remote calls"));
            case.note(&format!("{who}, resources/s"), size as f64 / elapsed);
            if !by_floor {
                case.note("remote calls per resource", calls as f64 / size as f64);
                operator.process().stop().await?;
            }
        }
        case.compare();
        page.add(SCENARIO, case)?;
        arena.plane.stop().await?;
    }
    Ok(())
}
