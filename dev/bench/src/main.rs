//! `bench`: measures the operator on a local real control plane. Each figure stands beside a floor that is measured in the same run:
//! a client that writes what the operator has to write, and does nothing else.
#![allow(clippy::print_stdout, reason = "a command line tool: standard output is its interface")]

mod arena;
mod load;
mod sample;
mod watch;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use kit::progress::say;

use crate::arena::Arena;
use crate::sample::{Taken, taken};

/// Measures the operator, compiled for release, on a local real control plane.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Observed resources that are there before the operator is: from its start until all are ready
    Cold {
        /// How many resources
        #[arg(long, value_delimiter = ',', default_value = "1000,2000")]
        sizes: Vec<usize>,
        /// How often each is measured; the floor and the operator take turns at going first
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// What the remote takes for each answer, in milliseconds
        #[arg(long, default_value_t = 0)]
        latency: u64,
        /// Bytes of each value
        #[arg(long, default_value_t = 1024)]
        value: usize,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let installed = rustls::crypto::ring::default_provider().install_default();
    debug_assert!(installed.is_ok());
    let Args { scenario: Scenario::Cold { sizes, rounds, latency, value } } = Args::parse();
    for size in sizes {
        if let Err(error) = cold(size, rounds, latency, value).await {
            say(format!("error: {error:#}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// One way of getting resources ready, measured.
struct Round {
    elapsed: Duration,
    taken: Option<Taken>,
    remote_requests: usize,
}

async fn cold(size: usize, rounds: usize, latency: u64, value: usize) -> Result<()> {
    say(format!("cold sync of {size}: a control plane, and a remote with {size} secrets"));
    let arena = Arena::start(size, value, latency).await?;
    let (mut floors, mut operators) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for turn in 0..2 {
            load::apply(&arena, size).await?;
            if (round + turn) % 2 == 0 {
                floors.push(load::floor(&arena, size, value).await?);
                say(format!("round {round}: the floor took {:.2} s", floors[floors.len() - 1].as_secs_f64()));
            } else {
                let one = operator(&arena, size).await?;
                let took = one.elapsed.as_secs_f64();
                say(format!("round {round}: the operator took {took:.2} s, {} remote requests", one.remote_requests));
                operators.push(one);
            }
            load::clear(&arena).await?;
        }
    }
    report(size, &floors, &operators)?;
    arena.plane.stop().await
}

async fn operator(arena: &Arena, size: usize) -> Result<Round> {
    let (_, seq) = arena.requests_since(0).await?;
    let began = Instant::now();
    let operator = arena.operator().await?;
    watch::ready(arena, size, Duration::from_mins(20)).await?;
    let elapsed = began.elapsed();
    let taken = taken(operator.process())?;
    let (remote_requests, _) = arena.requests_since(seq).await?;
    operator.process().stop().await?;
    Ok(Round { elapsed, taken: Some(taken), remote_requests })
}

fn report(size: usize, floors: &[Duration], operators: &[Round]) -> Result<()> {
    let per_second = |elapsed: &Duration| size as f64 / elapsed.as_secs_f64();
    let floor = middle(floors.iter().map(per_second))?;
    let operator = middle(operators.iter().map(|round| per_second(&round.elapsed)))?;
    let peak = middle(operators.iter().filter_map(|r| r.taken).map(|t| t.peak_kib as f64 / 1024.0))?;
    let cpu = middle(operators.iter().filter_map(|r| r.taken).map(|t| t.cpu.as_secs_f64()))?;
    let requests = middle(operators.iter().map(|r| r.remote_requests as f64))?;
    println!(
        "| {size} | {floor:.0} | {operator:.0} | {:.0} % | {requests:.0} | {peak:.0} | {cpu:.1} |",
        100.0 * operator / floor
    );
    Ok(())
}

/// The median.
fn middle(all: impl Iterator<Item = f64>) -> Result<f64> {
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().context("nothing was measured")
}
