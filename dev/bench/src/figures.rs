//! Figures, each measured several times, and the page of them that is kept beside the plots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, thread};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::arena::Processor;

/// A figure over all rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// What was measured of one case, round by round, by name of the figure.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Case {
    /// What was asked for, in words.
    pub(crate) what: String,
    /// How many resources.
    pub(crate) resources: usize,
    /// Every figure, round by round. Its name ends with its unit.
    pub(crate) figures: BTreeMap<String, Vec<f64>>,
    /// Latencies in ms by the share of those that took no longer, in %, of all rounds together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) latencies: BTreeMap<String, Vec<(f64, u64)>>,
}

/// The shares that a latency is kept of, in %.
const SHARES: [f64; 10] = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0];

impl Case {
    pub(crate) fn new(what: impl Into<String>, resources: usize) -> Self {
        Self { what: what.into(), resources, figures: BTreeMap::new(), latencies: BTreeMap::new() }
    }

    /// Notes latencies of one more round, of which `all` has those of every round.
    pub(crate) fn note_latencies(
        &mut self,
        name: &str,
        round: &Histogram<u64>,
        all: &mut Histogram<u64>,
    ) -> Result<()> {
        for (word, share) in [("p50", 50.0), ("p99", 99.0), ("most", 100.0)] {
            self.note(&format!("{name}, {word}, ms"), round.value_at_percentile(share) as f64);
        }
        all.add(round)?;
        let curve = SHARES.iter().map(|share| (*share, all.value_at_percentile(*share))).collect();
        self.latencies.insert(name.to_owned(), curve);
        Ok(())
    }

    /// Notes a figure of one more round.
    pub(crate) fn note(&mut self, name: &str, value: f64) {
        self.figures.entry(name.to_owned()).or_default().push(value);
    }

    /// Notes the processor time that the others took while somebody did the work.
    pub(crate) fn note_processor(&mut self, who: &str, before: &Processor, after: &Processor) {
        for (name, time) in after {
            let time = time.saturating_sub(before.get(name).copied().unwrap_or_default());
            self.note(&format!("{who}, processor time of {name}, s"), time.as_secs_f64());
        }
    }

    /// Notes what the operator reached of the floor, round by round.
    pub(crate) fn compare(&mut self) {
        let [floor, operator] = ["floor", "operator"].map(|who| self.figures[&format!("{who}, resources/s")].clone());
        for (operator, floor) in operator.into_iter().zip(floor) {
            self.note("operator, % of the floor", 100.0 * operator / floor);
        }
    }

    /// A figure over all rounds.
    pub(crate) fn spread(&self, name: &str) -> Option<Spread> {
        let mut all = self.figures.get(name)?.clone();
        all.sort_by(f64::total_cmp);
        let (lower, upper) = (all.get(all.len().checked_sub(1)? / 2)?, all.get(all.len() / 2)?);
        Some(Spread { median: f64::midpoint(*lower, *upper), least: *all.first()?, most: *all.last()? })
    }

    /// The case as rows of text.
    pub(crate) fn print(&self) {
        println!("\n{} ({} resources)", self.what, self.resources);
        for name in self.figures.keys() {
            if let Some(Spread { median, least, most }) = self.spread(name) {
                println!("  {name:44} {median:>12.2}   ({least:.2} to {most:.2})");
            }
        }
    }
}

/// All cases of one scenario, and where they were measured.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Page {
    machine: BTreeMap<String, String>,
    pub(crate) cases: Vec<Case>,
}

impl Page {
    /// The page of a scenario as it was kept, without cases that are measured anew.
    pub(crate) fn open(scenario: &str) -> Result<Self> {
        let kept = fs::read_to_string(file(scenario, "json")).ok().and_then(|text| serde_json::from_str(&text).ok());
        let cases = kept.map(|page: Self| page.cases).unwrap_or_default();
        Ok(Self { machine: machine()?, cases })
    }

    /// Adds a case, in place of the one of that name and size, prints it, and keeps the page.
    pub(crate) fn add(&mut self, scenario: &str, case: Case) -> Result<()> {
        case.print();
        self.cases.retain(|old| (&old.what, old.resources) != (&case.what, case.resources));
        self.cases.push(case);
        self.cases.sort_by(|a, b| (&a.what, a.resources).cmp(&(&b.what, b.resources)));
        let path = file(scenario, "json");
        fs::create_dir_all(path.parent().context("a file without folder")?)?;
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}

/// A file of a scenario.
pub(crate) fn file(scenario: &str, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/benchmarks/{scenario}.{extension}"))
}

fn machine() -> Result<BTreeMap<String, String>> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("benchmarks need Linux")?;
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|n| n.parse().ok()).context("no memory")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok([
        ("processor", field("model name")),
        ("cores", thread::available_parallelism()?.to_string()),
        ("memory", format!("{} GiB", kib / (1024 * 1024))),
        ("kernel", format!("Linux {}", kernel.trim())),
        (
            "runs beside it",
            "etcd, kube-apiserver, kube-controller-manager, the simulated remote, and the loader".to_owned(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into())
}
