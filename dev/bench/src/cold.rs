//! Resources that are there before the operator is: from its start until all are ready.

use std::time::{Duration, Instant};

use anyhow::Result;
use kit::metrics;
use kit::progress::say;

use crate::arena::{Arena, Remote};
use crate::figures::{Case, Page};
use crate::load::{self, Kind};
use crate::sample::taken;
use crate::watch::Watch;
use crate::{LONGEST, Rounds, floor, plot};

/// Refreshes are not what is measured.
const INTERVAL: &str = "1h";

pub(crate) async fn run(kind: Kind, sizes: &[usize], rounds: &Rounds) -> Result<()> {
    let scenario = if kind == Kind::Observed { "cold-observed" } else { "cold-managed" };
    let mut page = Page::open(scenario)?;
    for &size in sizes {
        let versions = usize::from(kind == Kind::Observed);
        let remote = Remote { secrets: size, versions, value_bytes: rounds.value_bytes, latency_ms: rounds.latency_ms };
        let arena = Arena::start(remote).await?;
        let mut case = Case::new(format!("{kind:?}, remote answers after {} ms", rounds.latency_ms), size);
        for turn in 0..2 * rounds.count {
            arena.reset_remote().await?;
            load::clear(&arena).await?;
            load::apply(&arena, kind, 0..size, INTERVAL).await?;
            if crate::is_the_floors(turn) {
                by_floor(&arena, kind, size, &mut case).await?;
            } else {
                by_operator(&arena, size, &mut case).await?;
            }
        }
        case.compare();
        page.add(scenario, case)?;
        arena.plane.stop().await?;
    }
    let title = format!("{kind:?} resources, from the operator's start until all are ready");
    let rates = ["floor, resources/s", "operator, resources/s"];
    plot::draw(&page, scenario, "rate", &title, "resources a second", &rates)?;
    let memory = ["peak resident memory, MiB"];
    plot::draw(&page, scenario, "memory", &title, "MiB", &memory)
}

async fn by_floor(arena: &Arena, kind: Kind, size: usize, case: &mut Case) -> Result<()> {
    let mut watch = Watch::begin(arena);
    let processor = arena.processor()?;
    let began = Instant::now();
    floor::write(arena, kind, size).await?;
    watch.until(size, 1, LONGEST).await?;
    case.note("floor, resources/s", per_second(size, began.elapsed()));
    case.note_processor("floor", &processor, &arena.processor()?);
    say(format!("{size} {kind:?}: the floor took {:.2} s", began.elapsed().as_secs_f64()));
    Ok(())
}

async fn by_operator(arena: &Arena, size: usize, case: &mut Case) -> Result<()> {
    let mut watch = Watch::begin(arena);
    let (seq, counts, processor) = (arena.last_request().await?, arena.counts().await?, arena.processor()?);
    let began = Instant::now();
    let operator = arena.operator().await?;
    let ready = watch.until(size, 1, LONGEST).await?;
    let elapsed = began.elapsed();
    let taken = taken(operator.process())?;
    case.note_processor("operator", &processor, &arena.processor()?);
    let own =
        metrics::sum(&operator.metrics().await?, "secret_version_operator_kube_requests_total", &[("verb", "GET")]);
    case.note("reads per resource, with pages of lists", own / size as f64);
    let counts = arena.counts().await?.since(counts);
    let requests = arena.last_request().await? - seq;
    operator.process().stop().await?;
    let first = ready.values().map(|(_, at)| at.duration_since(began)).min().unwrap_or_default();
    case.note("operator, resources/s", per_second(size, elapsed));
    case.note("first ready after, s", first.as_secs_f64());
    case.note("peak resident memory, MiB", taken.peak_kib as f64 / 1024.0);
    case.note("processor time, s", taken.cpu.as_secs_f64());
    case.note("remote calls", requests as f64);
    case.note("apiserver writes per resource", counts.writes / size as f64);
    say(format!("{size}: the operator took {:.2} s, {requests} remote calls", elapsed.as_secs_f64()));
    Ok(())
}

fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
