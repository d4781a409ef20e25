//! What a process has taken so far, as Linux counts it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kit::process::Process;

/// Memory and processor time of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// The most memory that was resident at a time, in KiB.
    pub(crate) peak_kib: u64,
    /// Resident memory, in KiB.
    pub(crate) resident_kib: u64,
    /// Processor time, of the process and the kernel for it.
    pub(crate) cpu: Duration,
}

/// Clock ticks in a second, the same on every Linux that there is.
const TICKS: f64 = 100.0;

/// What a process has taken until now.
pub(crate) fn taken(process: &Process) -> Result<Taken> {
    let pid = process.pid().context("the process does not run")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok()).context("no such field")
    };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before it may hold blanks.
    let after = stat.rsplit_once(')').context("no name in stat")?.1;
    let ticks = |n: usize| after.split_whitespace().nth(n).and_then(|t| t.parse::<f64>().ok()).context("no such field");
    let cpu = Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS);
    Ok(Taken { peak_kib: field("VmHWM:")?, resident_kib: field("VmRSS:")?, cpu })
}
