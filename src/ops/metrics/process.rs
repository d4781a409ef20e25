//! The process itself, read from `/proc` at each scrape, under the names that every Prometheus client gives.
//! What cannot be read, as on other systems than Linux, is left out.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(Process));
}

#[derive(Debug)]
struct Process;

/// The fields of `/proc/self/stat` that are told, in the units of the metrics.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
    /// Since the machine started.
    start_seconds: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some(stat) = read_stat() {
            let cpu = ConstCounter::new(stat.cpu_seconds);
            let help = "Time that the process spent on processors";
            cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
            gauge(&mut encoder, "process_virtual_memory_bytes", "Virtual memory", stat.virtual_bytes)?;
            gauge(&mut encoder, "process_resident_memory_bytes", "Resident memory", stat.resident_bytes)?;
            if let Some(boot) = boot_time() {
                let help = "When the process started, in seconds since 1970";
                gauge(&mut encoder, "process_start_time_seconds", help, boot + stat.start_seconds)?;
            }
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // The listing itself holds one open.
            let open = entries.count().saturating_sub(1);
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", to_f64(open as u64))?;
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        if let Some(limit) = limit {
            gauge(&mut encoder, "process_max_fds", "Most file descriptors that may be open", to_f64(limit))?;
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> Result<(), std::fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn read_stat() -> Option<Stat> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    parse_stat(&text, to_f64(rustix::param::clock_ticks_per_second()), to_f64(rustix::param::page_size() as u64))
}

/// `man 5 proc_pid_stat`. The second field is the program's name, in parentheses, and may hold both spaces and parentheses.
fn parse_stat(text: &str, ticks: f64, page: f64) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // Fields are counted from 1 in the manual, and the first here is its third.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Stat {
        cpu_seconds: (field(14)? + field(15)?) / ticks,
        start_seconds: field(22)? / ticks,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page,
    })
}

fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[allow(clippy::cast_precision_loss)] // Prometheus has floats only.
fn to_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stat_line() {
        let line = "42 (a) b (c)) S 1 42 42 0 -1 4194560 900 0 0 0 250 150 0 0 20 0 5 0 123456 104857600 2560 \
                    18446744073709551615 1 1 0 0 0 0 0 4096 17642";
        let expected = Stat {
            cpu_seconds: 4.0,
            start_seconds: 1234.56,
            virtual_bytes: 104_857_600.0,
            resident_bytes: 10_485_760.0,
        };
        assert_eq!(parse_stat(line, 100.0, 4096.0), Some(expected));
        assert_eq!(parse_stat("42 (short) S 1", 100.0, 4096.0), None);
        assert_eq!(parse_stat("", 100.0, 4096.0), None);
    }
}
