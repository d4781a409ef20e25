//! `bench`: measures the operator on a local real control plane. Each figure stands beside a floor that is measured in the same run:
//! a client that writes what the operator has to write, and does nothing else.
#![allow(clippy::print_stdout, reason = "a command line tool: standard output is its interface")]
#![allow(clippy::cast_precision_loss, reason = "counts become figures")]

mod arena;
mod cold;
mod deletion;
mod figures;
mod floor;
mod foreign;
mod load;
mod plot;
mod sample;
mod standing;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use kit::progress::say;

use crate::load::Kind;

/// The longest that anything is waited for.
const LONGEST: Duration = Duration::from_mins(20);

/// Measures the operator, compiled for release, on a local real control plane.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

/// How often, and against what.
#[derive(Args)]
struct Rounds {
    /// How often each is measured; the floor and the operator take turns at going first
    #[arg(long = "rounds", default_value_t = 5)]
    count: usize,
    /// What the remote takes for each answer, in milliseconds
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Bytes of each value
    #[arg(long, default_value_t = 1024)]
    value_bytes: usize,
}

#[derive(Subcommand)]
enum Scenario {
    /// Observed resources that are there before the operator is: from its start until all are ready
    Cold {
        /// How many resources
        #[arg(long, value_delimiter = ',', default_value = "1000,2000,5000,10000,50000")]
        sizes: Vec<usize>,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// The same, of managed resources, each of which creates a version
    Create {
        /// How many resources
        #[arg(long, value_delimiter = ',', default_value = "1000,5000")]
        sizes: Vec<usize>,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// Resources that are ready already: at rest, over a restart, all changed at once, and others coming
    Standing {
        /// How many resources
        #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
        sizes: Vec<usize>,
        /// How long they are looked at while they rest, in seconds
        #[arg(long, default_value_t = 600)]
        window: u64,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// Managed resources that are all deleted at once, each with the version that it created
    Deletion {
        /// How many resources
        #[arg(long, value_delimiter = ',', default_value = "5000")]
        sizes: Vec<usize>,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// Secrets of others beside a hundred resources
    Foreign {
        /// How many Secrets
        #[arg(long, default_value_t = 1000)]
        secrets: usize,
        /// Bytes of each
        #[arg(long, default_value_t = 512 * 1024)]
        bytes: usize,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// A remote that bears ten calls a second
    Limited {
        /// How many resources
        #[arg(long, default_value_t = 10_000)]
        size: usize,
        #[command(flatten)]
        rounds: Rounds,
    },
}

/// Whether a turn is the floor's: first one, then the other, then the other first.
fn is_the_floors(turn: usize) -> bool {
    (turn / 2 + turn).is_multiple_of(2)
}

#[tokio::main]
async fn main() -> ExitCode {
    let installed = rustls::crypto::ring::default_provider().install_default();
    debug_assert!(installed.is_ok());
    match run(Arguments::parse().scenario).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(scenario: Scenario) -> Result<()> {
    match scenario {
        Scenario::Cold { sizes, rounds } => cold::run(Kind::Observed, &sizes, &rounds).await,
        Scenario::Create { sizes, rounds } => cold::run(Kind::Managed, &sizes, &rounds).await,
        Scenario::Standing { sizes, window, rounds } => {
            standing::run(&sizes, Duration::from_secs(window), &rounds).await
        }
        Scenario::Deletion { sizes, rounds } => deletion::run(&sizes, &rounds).await,
        Scenario::Foreign { secrets, bytes, rounds } => foreign::run(secrets, bytes, &rounds).await,
        Scenario::Limited { size, rounds } => standing::limited(size, &rounds).await,
    }
}
