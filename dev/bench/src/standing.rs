//! Many resources that are ready already: what they cost at rest, over a restart, when all of them change, and what somebody
//! new waits for beside them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use hdrhistogram::Histogram;
use jiff::{SignedDuration, Timestamp};
use kit::Operator;
use kit::progress::say;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::arena::{Arena, ORGANIZATION, Remote, secret_id};
use crate::figures::{Case, Page};
use crate::load::{self, AT_ONCE, Kind};
use crate::plot;
use crate::sample::taken;
use crate::watch::Watch;
use crate::{LONGEST, Rounds};

/// How often everything is refreshed.
const EVERY: Duration = Duration::from_secs(30);
const INTERVAL: &str = "30s";

/// What the latency of those is called who come while all this goes on.
const NEW: &str = "new beside them, from created to ready";

/// How many new resources come in a second, and for how long.
const ARRIVALS: (u64, usize) = (50, 30);

/// Everything about so many resources, round by round.
pub(crate) async fn run(sizes: &[usize], window: Duration, rounds: &Rounds) -> Result<()> {
    const SCENARIO: &str = "standing";
    let (per_second, seconds) = ARRIVALS;
    let arriving = usize::try_from(per_second)? * seconds;
    let mut page = Page::open(SCENARIO)?;
    for &size in sizes {
        let mut case =
            Case::new(format!("refreshed every {INTERVAL}, remote answers after {} ms", rounds.latency_ms), size);
        let mut latencies = Histogram::new(3)?;
        for _ in 0..rounds.count {
            let remote = Remote {
                secrets: size + arriving,
                versions: 1,
                value_bytes: rounds.value_bytes,
                latency_ms: rounds.latency_ms,
            };
            let arena = Arena::start(remote).await?;
            load::apply(&arena, Kind::Observed, 0..size, INTERVAL).await?;
            let mut watch = Watch::begin(&arena);
            let operator = arena.operator().await?;
            watch.until(size, 1, LONGEST).await?;
            // What the start left to be done is not of the rest.
            sleep(EVERY).await;
            at_rest(&arena, &operator, window, &mut case).await?;
            restarted(&arena, &operator, &mut case).await?;
            changed(&arena, &mut watch, size, &mut case).await?;
            let new = arrivals(&arena, size, arriving, per_second).await?;
            case.note_latencies(NEW, &new, &mut latencies)?;
            operator.process().stop().await?;
            arena.plane.stop().await?;
        }
        page.add(SCENARIO, case)?;
    }
    plot::latencies(&page, SCENARIO, "A new resource beside those that stand")
}

async fn at_rest(arena: &Arena, operator: &Operator, window: Duration, case: &mut Case) -> Result<()> {
    let (before, counts, seq) = (taken(operator.process())?, arena.counts().await?, arena.last_request().await?);
    sleep(window).await;
    let (after, counts) = (taken(operator.process())?, arena.counts().await?.since(counts));
    let looks = window.as_secs_f64() / EVERY.as_secs_f64();
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() / window.as_secs_f64();
    case.note("at rest, processor, % of a core", 100.0 * cpu);
    case.note("at rest, apiserver writes", counts.writes);
    case.note("at rest, apiserver reads", counts.reads);
    case.note("at rest, remote calls per refresh", (arena.last_request().await? - seq) as f64 / looks);
    case.note("at rest, resident memory, MiB", after.resident_kib as f64 / 1024.0);
    Ok(())
}

async fn restarted(arena: &Arena, operator: &Operator, case: &mut Case) -> Result<()> {
    let counts = arena.counts().await?;
    let seq = arena.last_request().await?;
    operator.process().stop().await?;
    let began = Instant::now();
    operator.process().start()?;
    operator.wait_ready().await?;
    case.note("restart, until it is ready, s", began.elapsed().as_secs_f64());
    sleep(EVERY).await;
    let (taken, counts) = (taken(operator.process())?, arena.counts().await?.since(counts));
    case.note("restart, apiserver writes", counts.writes);
    case.note("restart, apiserver reads", counts.reads);
    case.note("restart, remote calls until the first refresh is over", (arena.last_request().await? - seq) as f64);
    case.note("restart, peak resident memory, MiB", taken.peak_kib as f64 / 1024.0);
    case.note("restart, processor time, s", taken.cpu.as_secs_f64());
    Ok(())
}

/// Every remote secret gets another version.
async fn changed(arena: &Arena, watch: &mut Watch, size: usize, case: &mut Case) -> Result<()> {
    let value = STANDARD.encode(vec![b'w'; arena.remote.value_bytes]);
    let change = |n| {
        let version =
            json!({ "create": { "organization_id": ORGANIZATION, "secret_id": secret_id(n), "value_base64": value } });
        async move { arena.simulator.control(Method::POST, "/versions", Some(&version)).await.map(drop) }
    };
    let began = Instant::now();
    stream::iter(0..size).map(change).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let made = began.elapsed();
    watch.until(size, 2, LONGEST).await?;
    case.note("all changed, until all are served, s", began.elapsed().as_secs_f64());
    say(format!(
        "{size} changed within {:.1} s, and were served after {:.1} s",
        made.as_secs_f64(),
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// New resources come at a steady pace beside those that stand.
async fn arrivals(arena: &Arena, from: usize, count: usize, per_second: u64) -> Result<Histogram<u64>> {
    let mut watch = Watch::begin(arena);
    watch.until(from, 2, LONGEST).await?;
    let mut pace = interval(Duration::from_nanos(1_000_000_000 / per_second));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut requests = Vec::with_capacity(count);
    for n in from..from + count {
        pace.tick().await;
        let (client, namespace) = (arena.client.clone(), arena.namespace.to_string());
        requests.push(tokio::spawn(async move {
            load::apply_one(&client, &namespace, Kind::Observed, n, INTERVAL).await?;
            Ok::<_, anyhow::Error>((load::name(n), Instant::now()))
        }));
    }
    let mut created = Vec::with_capacity(count);
    for request in requests {
        created.push(request.await??);
    }
    let ready = watch.until_named(created.iter().map(|(name, _)| name.as_str()), LONGEST).await?;
    let mut latencies = Histogram::<u64>::new(3)?;
    for (name, at) in created {
        let (_, then) = ready.get(&name).context("a resource that is ready and is not")?;
        latencies.record(u64::try_from(then.saturating_duration_since(at).as_millis())?)?;
    }
    Ok(latencies)
}

/// A remote that bears ten calls a second, with a list of it due: who is new goes first, and the limit is kept.
pub(crate) async fn limited(size: usize, rounds: &Rounds) -> Result<()> {
    const SCENARIO: &str = "limited";
    const PER_SECOND: u64 = 10;
    const COMING: usize = 20;
    let mut page = Page::open(SCENARIO)?;
    let mut case = Case::new(format!("the remote bears {PER_SECOND} calls a second"), size);
    let mut all = Histogram::new(3)?;
    for _ in 0..rounds.count {
        let remote = Remote {
            secrets: size + COMING,
            versions: 1,
            value_bytes: rounds.value_bytes,
            latency_ms: rounds.latency_ms,
        };
        let arena = Arena::start(remote).await?;
        load::apply(&arena, Kind::Observed, 0..size, INTERVAL).await?;
        let mut watch = Watch::begin(&arena);
        let operator = arena.operator().await?;
        watch.until(size, 1, LONGEST).await?;
        let limit = json!({ "action": { "rate_limit": { "per_second": PER_SECOND, "burst": PER_SECOND } } });
        arena.simulator.add_fault(&limit).await?;
        let seq = arena.last_request().await?;
        // Two looks over everything, so that the limit was met.
        sleep(2 * EVERY).await;
        let mut latencies = Histogram::<u64>::new(3)?;
        for n in size..size + COMING {
            let began = Instant::now();
            load::apply_one(&arena.client, &arena.namespace, Kind::Observed, n, INTERVAL).await?;
            watch.until_named([load::name(n).as_str()], LONGEST).await?;
            latencies.record(u64::try_from(began.elapsed().as_millis())?)?;
        }
        let (entries, _) = arena.requests_since(seq).await?;
        note_limited(&entries, PER_SECOND, &mut case);
        case.note_latencies(NEW, &latencies, &mut all)?;
        operator.process().stop().await?;
        arena.plane.stop().await?;
    }
    page.add(SCENARIO, case)?;
    plot::latencies(&page, SCENARIO, "A new resource while the remote bears ten calls a second")
}

/// How long after the first refusal a limit should be known.
const FOUND: SignedDuration = SignedDuration::from_secs(10);

fn note_limited(entries: &[Value], per_second: u64, case: &mut Case) {
    let refused = |entry: &&Value| entry["status"] == 429;
    let mut seconds = std::collections::BTreeMap::<&str, u64>::new();
    for entry in entries {
        let second = entry["at"].as_str().and_then(|at| at.split('.').next()).unwrap_or_default();
        *seconds.entry(second).or_default() += 1;
    }
    let times = entries.iter().filter(refused).filter_map(|entry| entry["at"].as_str()?.parse::<Timestamp>().ok());
    let times: Vec<Timestamp> = times.collect();
    let late = |at: &&Timestamp| times.first().is_some_and(|first| at.duration_since(*first) > FOUND);
    let busiest = seconds.values().copied().max().unwrap_or_default();
    case.note("calls", entries.len() as f64);
    case.note("calls that were refused (429)", entries.iter().filter(refused).count() as f64);
    case.note("calls that were refused once the limit was found", times.iter().filter(late).count() as f64);
    case.note("calls in the busiest second", busiest as f64);
    case.note("seconds with more calls than are borne", seconds.values().filter(|n| **n > per_second).count() as f64);
}
