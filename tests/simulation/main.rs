//! A simulated world: the real controllers against an apiserver and a remote in the same process, on a paused clock, all
//! chance from one seed. Each seed is a world of its own: what people do, what goes wrong, and when. Once the faults are
//! over it has to come to rest, and what the operator did is held to the invariants I1 to I12.
//!
//! A world that fails names its seed. To see it again:
//!
//! ```sh
//! SVO_SIM_SEED=17 cargo test --test simulation replay -- --nocapture
//! ```
//!
//! `SVO_SIM_DIVIDED=1` beside it shows the world of that seed whose work is divided among shards.
//!
//! `SVO_SIM_FLAW=BlindRetry` beside it shows it with a bug put in, one of [`Flaw::ALL`]. `SVO_SIM_RUNS=100000` lives through as many worlds, `SVO_SIM_FROM` says which is the first.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the course of a world is what a person runs it for")]

mod flaw;
mod kube_wire;
mod network;
mod oracle;
mod process;
mod remote_wire;
mod run;
mod script;
mod user;
mod weather;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use flaw::Flaw;
use run::{Run, simulate, simulate_divided, simulate_with};

/// Worlds that every run of the tests goes through.
const FEW: u64 = 40;

/// After how many worlds a long run says how far it is.
const PROGRESS: u64 = 5000;

/// In how many a flaw has to show, and a subtle one where there is time for many worlds.
const WORLDS_FOR_A_FLAW: u64 = 150;
const WORLDS_FOR_A_SUBTLE_FLAW: u64 = 5000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_world_comes_to_rest_within_the_invariants() {
    all_come_to_rest(simulate);
}

/// Three processes as two or three shards or as one, and as another number after a while.
#[test]
fn every_world_whose_work_is_divided_comes_to_rest_within_the_invariants() {
    all_come_to_rest(|seed| simulate_divided(seed, Flaw::None));
}

fn all_come_to_rest(simulate: impl Fn(u64) -> Run + Sync) {
    let (from, runs) = (number("SVO_SIM_FROM").unwrap_or(1), number("SVO_SIM_RUNS").unwrap_or(FEW));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(from);
    let failed: std::sync::Mutex<Vec<Run>> = std::sync::Mutex::default();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + runs {
                        return;
                    }
                    let run = simulate(seed);
                    if seed.is_multiple_of(PROGRESS) {
                        eprintln!("{seed} worlds, {:.0} s", begun.elapsed().as_secs_f64());
                    }
                    if !run.violations.is_empty() {
                        eprintln!("seed {seed}: {}", run.violations.join("; "));
                        failed.lock().unwrap().push(run);
                    }
                }
            });
        }
    });
    let took = begun.elapsed();
    let failed = failed.into_inner().unwrap();
    eprintln!("{runs} worlds in {took:.1?}, {:.0} a minute; {} failed", per_minute(runs, took), failed.len());
    if let Some(first) = failed.iter().min_by_key(|run| run.seed) {
        panic!("seed {}: {}\n{}", first.seed, first.violations.join("\n"), first.story());
    }
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_minute(runs: u64, took: std::time::Duration) -> f64 {
    runs as f64 * 60.0 / took.as_secs_f64()
}

/// What cannot fail is worth nothing: each of these is found, and says within how many worlds.
#[test]
fn a_flaw_is_found() {
    let patient = number("SVO_SIM_RUNS").is_some();
    std::thread::scope(|scope| {
        for flaw in Flaw::ALL.into_iter().filter(|flaw| patient || !flaw.is_subtle()) {
            let worlds = if flaw.is_subtle() { WORLDS_FOR_A_SUBTLE_FLAW } else { WORLDS_FOR_A_FLAW };
            scope.spawn(move || {
                let found = (1..=worlds).map(|seed| simulate_with(seed, flaw)).find(|run| !run.violations.is_empty());
                let found = found.unwrap_or_else(|| panic!("{flaw:?} is not found in {worlds} worlds"));
                eprintln!("{flaw:?}: seed {}: {}", found.seed, found.violations.join("; "));
            });
        }
    });
}

/// So are those that can show only where the work is divided.
#[test]
fn a_flaw_of_shards_is_found() {
    for flaw in Flaw::OF_SHARDS {
        let mut runs = (1..=WORLDS_FOR_A_FLAW).map(|seed| simulate_divided(seed, flaw));
        let found = runs.find(|run| run.violations.iter().any(|what| what.starts_with("I6")));
        let found = found.unwrap_or_else(|| panic!("{flaw:?} is not found"));
        eprintln!("{flaw:?}: seed {}: {}", found.seed, found.violations.join("; "));
    }
}

#[test]
fn replay() {
    let Some(seed) = number("SVO_SIM_SEED") else { return };
    let wanted = std::env::var("SVO_SIM_FLAW").unwrap_or_default();
    let flaw = Flaw::ALL.into_iter().chain(Flaw::OF_SHARDS).find(|flaw| format!("{flaw:?}") == wanted);
    let flaw = flaw.unwrap_or_default();
    let divided = std::env::var_os("SVO_SIM_DIVIDED").is_some();
    let run = if divided { simulate_divided(seed, flaw) } else { simulate_with(seed, flaw) };
    println!("{}", run.story());
    assert!(run.violations.is_empty(), "seed {seed}: {}", run.violations.join("\n"));
}

#[test]
fn the_same_seed_takes_the_same_course() {
    for seed in 1..=10 {
        let (first, second) = (simulate(seed), simulate(seed));
        let differs = first.trace.iter().zip(&second.trace).position(|(a, b)| a != b);
        if let Some(at) = differs {
            panic!("seed {seed} differs at step {at}:\n{}\n{}", first.trace[at], second.trace[at]);
        }
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
}
