//! Faults against the promise of exactly one version per change: the real operator under the chart's ServiceAccount, a
//! real apiserver behind a proxy that holds and cuts, and a simulator that lies, drops and delays.
//!
//! Each test prints a table of its rows. `SVO_FAULT_RUNS` says how often each row is run; `make faults` runs them often, and
//! `SVO_FAULT_FULL` as often as the fault matrix says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]
#![allow(clippy::print_stdout, reason = "the tables are what a person runs the long form for")]

mod answers;
mod bad_input;
mod credentials;
mod deletion;
mod follower;
mod gaps;
mod journal;
mod kills;
mod lifecycle;
mod lists;
mod oracle;
mod outages;
mod quiet;
mod reads;
mod refusals;
mod replicas;
mod resend;
mod schemas;
mod soak;
mod stale;
mod storm;
mod subject;
mod sweeps;
mod table;
mod targets;
mod tenant;
mod throttle;
mod trap;
mod travel;
mod upgrades;
mod walk;
mod weather;
mod world;

/// How often each row is run, unless `SVO_FAULT_RUNS` says otherwise.
const RUNS: usize = 1;

/// How often a row is run whose full count this is: all of it with `SVO_FAULT_FULL`, else no more often than the others.
fn runs_of(full: usize) -> usize {
    if is_full() { full } else { full.min(runs()) }
}

fn is_full() -> bool {
    std::env::var_os("SVO_FAULT_FULL").is_some()
}

fn runs() -> usize {
    match std::env::var("SVO_FAULT_RUNS") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => RUNS,
    }
}

/// The seed of choices at random: that of `SVO_FAULT_SEED`, else a new one.
fn seed() -> u64 {
    std::env::var("SVO_FAULT_SEED").map_or_else(|_| fastrand::u64(..), |text| text.parse().unwrap())
}
