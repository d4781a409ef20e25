//! What the operator runs with: raw arguments validated once, so that no other module doubts a setting.
//!
//! Reads no environment and no file by itself but in [`ClusterAccess::load`]; what comes from the surroundings is given.

mod bind;
mod cluster;
mod endpoint;
mod error;
mod names;

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;

pub use bind::{BindAddress, BindAddressError};
pub use cluster::{ClusterAccess, ClusterAccessError};
pub use endpoint::{AllowedEndpoints, Endpoint, EndpointError, EndpointRefused, PUBLIC_ENDPOINT};
pub use error::ConfigError;

use crate::cli::{ElectionArgs, LogFormat, RunArgs};
use crate::domain::refresh;
use crate::domain::shard::Shard;
use crate::lease::{Part, Timing};

/// Bounds of a watch's time. Shorter ones would cost more than they find; longer ones the apiserver ends by itself.
pub const WATCH_TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_hours(1);

/// Longest settle time that makes sense: a create with an unknown outcome waits it out.
const MAX_SETTLE_TIME: Duration = Duration::from_hours(1);

/// Longest Lease: nobody leads for as long after a leader was killed.
const MAX_LEASE_DURATION: Duration = Duration::from_hours(1);

/// Everything the operator was told, valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach the apiserver.
    pub cluster: ClusterAccess,
    /// The operator's own namespace, where it was told. Absent: [`Self::own_namespace`] takes the client's.
    pub namespace: Option<String>,
    /// Where resources are watched.
    pub watch: WatchScope,
    /// Where the Secrets of cluster connections and the digest key live. Absent: the own namespace.
    pub cluster_resource_namespace: Option<String>,
    /// Whether the metadata of Secrets is watched.
    pub watch_secrets: bool,
    /// How long a watch lasts, in whole seconds within [`WATCH_TIMEOUT`].
    pub watch_timeout: Duration,
    /// The remotes that connections may name.
    pub endpoints: AllowedEndpoints,
    /// The longest that the remote takes to show what it accepted.
    pub remote_settle_time: Duration,
    /// Leader election.
    pub election: Election,
    /// Resources of one kind that are worked on at once.
    pub max_concurrent_reconciles: NonZeroU16,
    /// Refresh interval of a resource without one, within [`refresh::INTERVAL`].
    pub default_refresh_interval: Duration,
    /// Which remote secrets this process looks after.
    pub shard: Shard,
    /// Where metrics are served.
    pub metrics_address: BindAddress,
    /// Where probes are served.
    pub health_address: BindAddress,
    /// Logs.
    pub log: LogConfig,
    /// This process, among those of the installation: `<pod or host>_<random>`.
    pub identity: String,
}

/// Namespaces that are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchScope {
    /// The whole cluster.
    All,
    /// These, at least one.
    Namespaces(BTreeSet<String>),
}

/// Which Lease, and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Namespace of the Lease. Absent: the own namespace.
    pub namespace: Option<String>,
    /// Name of the Lease.
    pub name: String,
    /// Lease duration, renew deadline and retry period.
    pub timing: Timing,
    /// The shard that is stood for. Absent: the work is not divided.
    pub part: Option<Part>,
}

/// What is logged, and how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// A level or tracing directives, checked when logging starts.
    pub level: String,
}

/// What the process finds around it, as far as configuration depends on it.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `POD_NAMESPACE`, from the downward API.
    pub pod_namespace: Option<String>,
    /// `POD_NAME`, from the downward API.
    pub pod_name: Option<String>,
    /// The name of the host, which in a pod is the pod's.
    pub host_name: String,
    /// Tells this process from an earlier one of the same name.
    pub random: u64,
}

impl Surroundings {
    /// Reads them.
    pub fn read() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self {
            pod_namespace: std::env::var("POD_NAMESPACE").ok(),
            pod_name: std::env::var("POD_NAME").ok(),
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            // The hasher's keys are the standard library's only random numbers. They need not be secret here.
            random: RandomState::new().hash_one(std::process::id()),
        }
    }
}

impl Config {
    /// Validates what the command line said.
    pub fn new(args: RunArgs, surroundings: Surroundings) -> Result<Self, ConfigError> {
        let RunArgs { cluster, remote, election, work, operations } = args;
        let own = match namespace("--namespace", cluster.namespace)? {
            None => namespace("POD_NAMESPACE", surroundings.pod_namespace)?,
            told => told,
        };
        if !refresh::INTERVAL.contains(&work.default_refresh_interval) {
            return Err(ConfigError::RefreshInterval(work.default_refresh_interval));
        }
        if cluster.watch_timeout.subsec_nanos() != 0 || !WATCH_TIMEOUT.contains(&cluster.watch_timeout) {
            return Err(ConfigError::WatchTimeout(cluster.watch_timeout));
        }
        if remote.remote_settle_time > MAX_SETTLE_TIME {
            return Err(ConfigError::SettleTime(remote.remote_settle_time));
        }
        let shard = match given(work.shard) {
            Some(text) => text.parse().map_err(|error| ConfigError::Shard(text, error))?,
            None => Shard::WHOLE,
        };
        Ok(Self {
            cluster: ClusterAccess {
                kubeconfig: cluster.kubeconfig.filter(|path| !path.as_os_str().is_empty()),
                context: given(cluster.context),
            },
            namespace: own,
            watch: watch_scope(cluster.watch_namespaces)?,
            cluster_resource_namespace: namespace("--cluster-resource-namespace", cluster.cluster_resource_namespace)?,
            watch_secrets: cluster.watch_secrets,
            watch_timeout: cluster.watch_timeout,
            endpoints: endpoints(&remote.allow_endpoints, remote.allow_insecure_endpoints)?,
            remote_settle_time: remote.remote_settle_time,
            election: self::election(election, shard)?,
            max_concurrent_reconciles: NonZeroU16::new(work.max_concurrent_reconciles)
                .ok_or(ConfigError::NoConcurrency)?,
            default_refresh_interval: work.default_refresh_interval,
            shard,
            metrics_address: address("--metrics-bind-address", operations.metrics_bind_address)?,
            health_address: address("--health-probe-bind-address", operations.health_probe_bind_address)?,
            log: LogConfig {
                format: operations.log_format,
                level: given(Some(operations.log_level)).unwrap_or_else(|| "info".to_owned()),
            },
            identity: format!(
                "{}_{:016x}",
                given(surroundings.pod_name).unwrap_or(surroundings.host_name),
                surroundings.random
            ),
        })
    }

    /// The operator's own namespace: what it was told, else the one that its client is in (the pod's, or that of the
    /// kubeconfig's context).
    pub fn own_namespace<'a>(&'a self, client: &'a kube::Client) -> &'a str {
        self.namespace.as_deref().unwrap_or_else(|| client.default_namespace())
    }

    /// Where the Secrets of cluster connections and the digest key live.
    pub fn cluster_resource_namespace<'a>(&'a self, client: &'a kube::Client) -> &'a str {
        self.cluster_resource_namespace.as_deref().unwrap_or_else(|| self.own_namespace(client))
    }

    /// Where the Lease lives.
    pub fn lease_namespace<'a>(&'a self, client: &'a kube::Client) -> &'a str {
        self.election.namespace.as_deref().unwrap_or_else(|| self.own_namespace(client))
    }
}

/// An empty value counts as none: manifests set variables to nothing where a setting is left out.
fn given(value: Option<String>) -> Option<String> {
    value.filter(|text| !text.is_empty())
}

fn namespace(flag: &'static str, value: Option<String>) -> Result<Option<String>, ConfigError> {
    match given(value) {
        Some(value) if !names::is_label(&value) => Err(ConfigError::Namespace { flag, value }),
        value => Ok(value),
    }
}

fn watch_scope(namespaces: Vec<String>) -> Result<WatchScope, ConfigError> {
    let mut watched = BTreeSet::new();
    for value in namespaces {
        watched.extend(namespace("--watch-namespace", Some(value))?);
    }
    Ok(if watched.is_empty() { WatchScope::All } else { WatchScope::Namespaces(watched) })
}

fn endpoints(urls: &[String], allow_insecure: bool) -> Result<AllowedEndpoints, ConfigError> {
    let mut allowed = Vec::new();
    for (index, url) in urls.iter().enumerate().filter(|(_, url)| !url.is_empty()) {
        let endpoint = Endpoint::parse(url, allow_insecure)
            .map_err(|error| ConfigError::Endpoint { position: index + 1, error })?;
        if !allowed.contains(&endpoint) {
            allowed.push(endpoint);
        }
    }
    if allowed.is_empty() { Err(ConfigError::NoEndpoint) } else { Ok(AllowedEndpoints::new(allowed, allow_insecure)) }
}

/// What this shard is to leader election. Nothing where the work is not divided.
fn part(shard: Shard) -> Option<Part> {
    (!shard.is_whole()).then_some(Part { index: shard.index(), of: shard.of() })
}

fn election(args: ElectionArgs, shard: Shard) -> Result<Election, ConfigError> {
    let timing = Timing {
        lease_duration: args.leader_elect_lease_duration,
        renew_deadline: args.leader_elect_renew_deadline,
        retry_period: args.leader_elect_retry_period,
    };
    let duration = timing.lease_duration;
    if duration.subsec_nanos() != 0 || duration > MAX_LEASE_DURATION {
        return Err(ConfigError::LeaseDuration(duration));
    }
    let ordered = duration > timing.renew_deadline && timing.renew_deadline > timing.retry_period;
    if !ordered || timing.retry_period.is_zero() {
        return Err(ConfigError::ElectionOrder(timing));
    }
    let longest = part(shard).map(|part| part.lease_name(&args.leader_elect_resource_name));
    if !names::is_subdomain(longest.as_ref().unwrap_or(&args.leader_elect_resource_name)) {
        return Err(ConfigError::LeaseName(args.leader_elect_resource_name));
    }
    Ok(Election {
        namespace: namespace("--leader-elect-resource-namespace", args.leader_elect_resource_namespace)?,
        name: args.leader_elect_resource_name,
        timing,
        part: part(shard),
    })
}

fn address(flag: &'static str, value: String) -> Result<BindAddress, ConfigError> {
    value.parse().map_err(|error| ConfigError::Address { flag, value, error })
}

#[cfg(test)]
mod tests;
