//! Secrets of other people in the namespace that is watched: what they cost in memory.

use anyhow::Result;
use kit::progress::say;

use crate::arena::{Arena, Remote};
use crate::figures::{Case, Page};
use crate::load::{self, Kind};
use crate::sample::taken;
use crate::watch::Watch;
use crate::{LONGEST, Rounds};

/// Resources of ours beside them.
const OURS: usize = 100;

pub(crate) async fn run(count: usize, bytes: usize, rounds: &Rounds) -> Result<()> {
    const SCENARIO: &str = "foreign";
    let mut page = Page::open(SCENARIO)?;
    let mut case = Case::new(format!("{count} Secrets of {} KiB of others", bytes / 1024), OURS);
    for _ in 0..rounds.count {
        let remote =
            Remote { secrets: OURS, versions: 1, value_bytes: rounds.value_bytes, latency_ms: rounds.latency_ms };
        let arena = Arena::start(remote).await?;
        load::apply(&arena, Kind::Observed, 0..OURS, "1h").await?;
        // Once for what is done only once.
        for when in [None, Some("without them"), Some("with them")] {
            if when == Some("with them") {
                load::foreign(&arena, count, bytes).await?;
            }
            let operator = arena.operator().await?;
            operator.wait_ready().await?;
            Watch::begin(&arena).until(OURS, 1, LONGEST).await?;
            if let Some(when) = when {
                let taken = taken(operator.process())?;
                say(format!("{when}: {} KiB at the most", taken.peak_kib));
                case.note(&format!("{when}, peak resident memory, MiB"), taken.peak_kib as f64 / 1024.0);
                case.note(&format!("{when}, processor time until ready, s"), taken.cpu.as_secs_f64());
            }
            operator.process().stop().await?;
        }
        arena.plane.stop().await?;
    }
    page.add(SCENARIO, case)
}
