//! One seed, from its drawing to its judgement, in a thread of its own.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;
use secret_version_operator::cli::LogFormat;
use secret_version_operator::config::LogConfig;
use secret_version_operator::ops::telemetry;
use tracing_subscriber::fmt::MakeWriter;

use crate::flaw::Flaw;
use crate::script::Plan;
use crate::user::FOUND;
use crate::weather::Weather;
use crate::world::{Outcome, live, mix};

/// A world that was lived through.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    plan: Plan,
    weather: Weather,
}

impl Run {
    /// All that can be told of it.
    pub(crate) fn story(&self) -> String {
        let steps = self.trace.iter().filter(|step| !(step.contains("/leases/") && step.ends_with(" 200 Serve")));
        let steps: Vec<&str> = steps.map(String::as_str).collect();
        format!("{:?}\n{:?}\n{}", self.plan, self.weather, steps.join("\n"))
    }
}

/// Lives through the world of a seed.
pub(crate) fn simulate(seed: u64) -> Run {
    simulate_with(seed, Flaw::None)
}

/// The same with something wrong with the operator.
pub(crate) fn simulate_with(seed: u64, flaw: Flaw) -> Run {
    lived(seed, drawn(seed), flaw)
}

/// The same with several processes that divide the work, as the shards of a changing number.
pub(crate) fn simulate_divided(seed: u64, flaw: Flaw) -> Run {
    let plan = drawn(seed).divided(&mut Rng::with_seed(mix(&format!("{seed}/divisions"))));
    lived(seed, plan, flaw)
}

fn drawn(seed: u64) -> Plan {
    Plan::draw(&mut Rng::with_seed(mix(&format!("{seed}/plan"))))
}

fn lived(seed: u64, plan: Plan, flaw: Flaw) -> Run {
    let weather = Weather::draw(&mut Rng::with_seed(mix(&format!("{seed}/weather"))), plan.end);
    let mut outcome = run(seed, &plan, weather.clone(), flaw);
    // One world in eight is lived through again without a fault: in the end both are the same.
    if seed.is_multiple_of(8) && outcome.violations.is_empty() {
        let fair = run(seed, &plan, Weather::fair(), flaw);
        outcome.violations.extend(fair.violations.iter().map(|what| format!("without faults: {what}")));
        let comparable = !outcome.end.iter().chain(&fair.end).any(|end| end == FOUND);
        if comparable && fair.end != outcome.end && outcome.violations.is_empty() {
            let (with, without) = (outcome.end.join("\n"), fair.end.join("\n"));
            outcome.violations.push(format!("I12: with faults it ends so:\n{with}\nand without:\n{without}"));
        }
        if !outcome.violations.is_empty() {
            outcome.trace.push("without faults:".to_owned());
            outcome.trace.extend(fair.trace);
        }
    }
    Run { seed, violations: outcome.violations, trace: outcome.trace, plan, weather }
}

fn run(seed: u64, plan: &Plan, weather: Weather, flaw: Flaw) -> Outcome {
    // What libraries draw for their jitter.
    fastrand::seed(seed);
    let log = Log::default();
    let config = LogConfig { format: LogFormat::Text, level: "debug,kube=debug".to_owned() };
    let (subscriber, _level) = telemetry::subscriber(&config, log.clone(), false).unwrap();
    let _guard = tracing::subscriber::set_default(subscriber);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(live(seed, plan, weather, flaw, log))
}

/// Lines in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What was written so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
