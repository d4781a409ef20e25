//! What is counted, under `secret_version_operator_`, plus the process metrics of every Prometheus client.
//!
//! Label values come from closed sets only: an `&'static str` is a word of the source, never a name of an object. So the
//! number of series has a bound, and no metric tells what an installation's secrets are called.

mod kube_layer;
mod process;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use kube_layer::{KubeRequests, KubeRequestsLayer};

use crate::domain::class::Class;
use crate::domain::reason::Reason;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a cache hit to a reconcile that waited for a slow remote, in seconds.
const RECONCILE_BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// From a near remote to its longest timeout, in seconds.
const REMOTE_BUCKETS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindOutcome {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindError {
    kind: &'static str,
    class: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Op {
    op: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpOutcome {
    op: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refresh {
    refresh: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Effect {
    effect: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShardLabels {
    index: u16,
    of: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// All metrics of the process. Clones are one.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    reconciles: Family<KindOutcome, Counter>,
    reconcile_duration: Histograms<Kind>,
    in_flight: Family<Kind, Gauge>,
    queue_depth: Family<Kind, Gauge>,
    events_left_out: Counter,
    errors: Family<KindError, Counter>,
    panics: Family<Kind, Counter>,
    unparsable: Family<Kind, Counter>,
    watch_errors: Family<Kind, Counter>,
    organizations: Family<Refresh, Gauge>,
    remote_requests: Family<OpOutcome, Counter>,
    remote_duration: Histograms<Op>,
    remote_effects: Family<Effect, Counter>,
    kube_requests: KubeRequests,
    leader: Gauge,
    shard: Family<ShardLabels, Gauge>,
}

/// One reconcile under way: counted as in flight until it is finished or dropped.
#[derive(Debug)]
#[must_use = "a reconcile that is dropped at once is not in flight"]
pub struct InFlight {
    gauge: Gauge,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Self {
        let mut root = Registry::default();
        process::register(&mut root);
        let registry = root.sub_registry_with_prefix("secret_version_operator");
        registry.register("build", "The operator's version", Info::new(Build { version: env!("CARGO_PKG_VERSION") }));
        let mut inner = Inner {
            reconciles: register(registry, "reconcile", "Reconciles, by how they ended", Family::default()),
            reconcile_duration: register(
                registry,
                "reconcile_duration_seconds",
                "Time that a reconcile took",
                Family::new_with_constructor(|| Histogram::new(RECONCILE_BUCKETS)),
            ),
            in_flight: register(registry, "reconciles_in_flight", "Reconciles under way", Family::default()),
            queue_depth: register(registry, "queue_depth", "Objects that wait for their turn", Family::default()),
            events_left_out: register(
                registry,
                "events_left_out",
                "Events that were not told, because too many waited; what they said is in a status",
                Counter::default(),
            ),
            errors: register(registry, "reconcile_errors", "Reconciles that failed, by why", Family::default()),
            panics: register(registry, "reconcile_panics", "Reconciles that panicked: bugs", Family::default()),
            unparsable: register(
                registry,
                "unparsable_objects",
                "Times that an object was skipped because it does not fit its schema",
                Family::default(),
            ),
            watch_errors: register(
                registry,
                "watch_errors",
                "Watches that broke and were begun again",
                Family::default(),
            ),
            organizations: register(
                registry,
                "organizations",
                "Organizations, each as one connection sees it, by how their resources are refreshed",
                Family::default(),
            ),
            remote_requests: register(registry, "remote_requests", "Requests to the remote", Family::default()),
            remote_duration: register(
                registry,
                "remote_request_duration_seconds",
                "Time that a request to the remote took",
                Family::new_with_constructor(|| Histogram::new(REMOTE_BUCKETS)),
            ),
            remote_effects: register(registry, "remote_effects", "Changes made at the remote", Family::default()),
            kube_requests: KubeRequests::register(registry),
            leader: register(registry, "leader", "Whether this process leads: 1 or 0", Gauge::default()),
            shard: register(registry, "shard", "The shard that this process stands for, if any", Family::default()),
            registry: Registry::default(),
        };
        inner.registry = root;
        Self(Arc::new(inner))
    }

    /// Counts a reconcile of `kind` as in flight for as long as the answer lives, so that no way out is forgotten.
    pub fn reconcile_begins(&self, kind: &'static str) -> InFlight {
        let gauge = self.0.in_flight.get_or_create_owned(&Kind { kind });
        gauge.inc();
        InFlight { gauge }
    }

    /// So many objects of `kind` wait for their turn.
    pub fn set_queue_depth(&self, kind: &'static str, depth: usize) {
        self.0.queue_depth.get_or_create(&Kind { kind }).set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// An event was not told, because too many waited.
    pub fn event_left_out(&self) {
        self.0.events_left_out.inc();
    }

    /// A reconcile of `kind` ended: how, and after how long.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, elapsed: Duration) {
        self.0.reconciles.get_or_create(&KindOutcome { kind, outcome }).inc();
        self.0.reconcile_duration.get_or_create(&Kind { kind }).observe(elapsed.as_secs_f64());
    }

    /// A reconcile of `kind` failed.
    pub fn reconcile_error(&self, kind: &'static str, class: Class, reason: Reason) {
        let labels = KindError { kind, class: class.as_str(), reason: reason.as_str() };
        self.0.errors.get_or_create(&labels).inc();
    }

    /// A reconcile of `kind` panicked.
    pub fn reconcile_panic(&self, kind: &'static str) {
        self.0.panics.get_or_create(&Kind { kind }).inc();
    }

    /// So many organizations are refreshed so: `by_page` or `by_secret`.
    pub fn set_organizations(&self, refresh: &'static str, count: usize) {
        self.0.organizations.get_or_create(&Refresh { refresh }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// An object of `kind` was skipped because it cannot be read.
    pub fn unparsable(&self, kind: &'static str) {
        self.0.unparsable.get_or_create(&Kind { kind }).inc();
    }

    /// A watch of `kind` broke.
    pub fn watch_error(&self, kind: &'static str) {
        self.0.watch_errors.get_or_create(&Kind { kind }).inc();
    }

    /// A request to the remote ended: which call, how, and after how long.
    pub fn remote_request(&self, op: &'static str, outcome: &'static str, elapsed: Duration) {
        self.0.remote_requests.get_or_create(&OpOutcome { op, outcome }).inc();
        self.0.remote_duration.get_or_create(&Op { op }).observe(elapsed.as_secs_f64());
    }

    /// Something was changed at the remote.
    pub fn remote_effect(&self, effect: &'static str) {
        self.0.remote_effects.get_or_create(&Effect { effect }).inc();
    }

    /// The layer that counts requests to the apiserver, for `ClientBuilder::with_layer`.
    pub fn kube_layer(&self) -> KubeRequestsLayer {
        self.0.kube_requests.layer()
    }

    /// Whether this process leads.
    pub fn set_leader(&self, leads: bool) {
        self.0.leader.set(leads.into());
    }

    /// Which shard this process stands for.
    pub fn set_shard(&self, index: u16, of: u16) {
        self.0.shard.get_or_create(&ShardLabels { index, of }).set(1);
    }

    /// All of them as [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail; a collector that did would leave its part out.
        if encode(&mut text, &self.0.registry).is_err() {
            tracing::error!("metrics could not be written completely");
        }
        text
    }
}

impl crate::remote::Observe for Metrics {
    fn request(&self, op: &'static str, outcome: &'static str, elapsed: Duration) {
        self.remote_request(op, outcome, elapsed);
    }
}

fn register<M>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M
where
    M: prometheus_client::registry::Metric + Clone,
{
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_as_documented() {
        let metrics = Metrics::new();
        let in_flight = metrics.reconcile_begins("SecretVersion");
        metrics.reconciled("SecretVersion", "unchanged", Duration::from_millis(7));
        metrics.reconcile_error("SecretVersion", Class::Transient, Reason::RemoteUnavailable);
        metrics.reconcile_panic("SecretVersion");
        metrics.set_queue_depth("SecretVersion", 2);
        metrics.event_left_out();
        metrics.unparsable("SecretVersion");
        metrics.watch_error("Secret");
        metrics.remote_request("list_versions", "ok", Duration::from_millis(30));
        metrics.remote_effect("create_version");
        metrics.set_organizations("by_page", 1);
        metrics.set_leader(true);
        metrics.set_shard(1, 3);
        let text = metrics.encode();
        for line in [
            "secret_version_operator_reconcile_total{kind=\"SecretVersion\",outcome=\"unchanged\"} 1",
            "secret_version_operator_reconcile_duration_seconds_count{kind=\"SecretVersion\"} 1",
            "secret_version_operator_reconcile_duration_seconds_bucket{le=\"0.005\",kind=\"SecretVersion\"} 0",
            "secret_version_operator_reconcile_duration_seconds_bucket{le=\"0.01\",kind=\"SecretVersion\"} 1",
            "secret_version_operator_reconciles_in_flight{kind=\"SecretVersion\"} 1",
            "secret_version_operator_queue_depth{kind=\"SecretVersion\"} 2",
            "secret_version_operator_events_left_out_total 1",
            "secret_version_operator_reconcile_errors_total{kind=\"SecretVersion\",class=\"transient\",reason=\"RemoteUnavailable\"} 1",
            "secret_version_operator_reconcile_panics_total{kind=\"SecretVersion\"} 1",
            "secret_version_operator_unparsable_objects_total{kind=\"SecretVersion\"} 1",
            "secret_version_operator_watch_errors_total{kind=\"Secret\"} 1",
            "secret_version_operator_remote_requests_total{op=\"list_versions\",outcome=\"ok\"} 1",
            "secret_version_operator_remote_request_duration_seconds_count{op=\"list_versions\"} 1",
            "secret_version_operator_remote_effects_total{effect=\"create_version\"} 1",
            "secret_version_operator_organizations{refresh=\"by_page\"} 1",
            "secret_version_operator_leader 1",
            "secret_version_operator_shard{index=\"1\",of=\"3\"} 1",
            concat!("secret_version_operator_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|l| l == line), "missing: {line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
        drop(in_flight);
        assert!(metrics.encode().contains("reconciles_in_flight{kind=\"SecretVersion\"} 0\n"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_is_measured() {
        let text = Metrics::new().encode();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} missing:\n{text}")).parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
