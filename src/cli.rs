//! The command line: words to raw values, nothing more. What the values must fulfil is [`crate::config`]'s.
//!
//! Names are those of Kubernetes components and cert-manager. Each flag has an environment name, `SVO_` and the flag in
//! capitals; the flag wins. Lists are separated by commas in the environment. The doc comments are the help text.

#![allow(clippy::doc_markdown)] // In a terminal backticks are noise.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// Kubernetes operator for secret versions in the ABEJA Platform Secret Manager.
#[derive(Debug, Parser)]
#[command(name = "secret-version-operator", version, propagate_version = false, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions as YAML
    Crds,
    /// Print the version
    Version,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Raw arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote: RemoteArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub election: ElectionArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub work: WorkArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub operations: OperationsArgs,
}

/// Which cluster, and what of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// Path of a kubeconfig file [default: $KUBECONFIG, ~/.kube/config, then the pod's ServiceAccount]
    #[arg(long, env = "SVO_KUBECONFIG", value_name = "FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, env = "SVO_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,

    /// The operator's own namespace [default: $POD_NAMESPACE, then the pod's or the context's]
    #[arg(long, env = "SVO_NAMESPACE", value_name = "NS")]
    pub namespace: Option<String>,

    /// Watch this namespace only; may be repeated [default: all]
    #[arg(long = "watch-namespace", env = "SVO_WATCH_NAMESPACE", value_name = "NS", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// Where the Secrets of cluster connections and the digest key live [default: the own namespace]
    #[arg(long, env = "SVO_CLUSTER_RESOURCE_NAMESPACE", value_name = "NS")]
    pub cluster_resource_namespace: Option<String>,

    /// Watch the metadata of Secrets, so that changes are seen within seconds
    ///
    /// Without it Secrets are read by name at each refresh, and the operator needs no right to list them.
    #[arg(long, env = "SVO_WATCH_SECRETS", value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub watch_secrets: bool,

    /// How long a watch lasts before it is begun again
    ///
    /// One through which nothing has come for that long is taken for dead, and so is a request that is not answered.
    #[arg(long, env = "SVO_WATCH_TIMEOUT", value_name = "DURATION", default_value = "290s", value_parser = duration)]
    pub watch_timeout: Duration,
}

/// Which remotes, and how they behave.
#[derive(Debug, Args)]
#[command(next_help_heading = "Remote")]
pub struct RemoteArgs {
    /// Base URL that connections may name; may be repeated. Giving one replaces the default
    #[arg(
        long = "allow-endpoint",
        env = "SVO_ALLOW_ENDPOINT",
        value_name = "URL",
        value_delimiter = ',',
        default_value = crate::config::PUBLIC_ENDPOINT
    )]
    pub allow_endpoints: Vec<String>,

    /// For development only: permit http:// and the operator's own machine as endpoints
    #[arg(
        long,
        env = "SVO_ALLOW_INSECURE_ENDPOINTS",
        value_name = "BOOL",
        default_value_t = false,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        action = ArgAction::Set
    )]
    pub allow_insecure_endpoints: bool,

    /// The longest that the remote takes to show what it accepted
    ///
    /// Part of the wait after a create whose answer was lost. Too short a time can make a version twice.
    #[arg(long, env = "SVO_REMOTE_SETTLE_TIME", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub remote_settle_time: Duration,
}

/// Leader election. It is always on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Leader election (always on)")]
pub struct ElectionArgs {
    /// Namespace of the Lease [default: the own namespace]
    #[arg(long, env = "SVO_LEADER_ELECT_RESOURCE_NAMESPACE", value_name = "NS")]
    pub leader_elect_resource_namespace: Option<String>,

    /// Name of the Lease
    #[arg(
        long,
        env = "SVO_LEADER_ELECT_RESOURCE_NAME",
        value_name = "NAME",
        default_value = "secret-version-operator"
    )]
    pub leader_elect_resource_name: String,

    /// How long others wait after they last saw a leader renew
    #[arg(
        long,
        env = "SVO_LEADER_ELECT_LEASE_DURATION",
        value_name = "DURATION",
        default_value = "15s",
        value_parser = duration
    )]
    pub leader_elect_lease_duration: Duration,

    /// How long a leader acts after its last renewal; then it exits
    #[arg(
        long,
        env = "SVO_LEADER_ELECT_RENEW_DEADLINE",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration
    )]
    pub leader_elect_renew_deadline: Duration,

    /// Time between two tries to take or renew the Lease
    #[arg(
        long,
        env = "SVO_LEADER_ELECT_RETRY_PERIOD",
        value_name = "DURATION",
        default_value = "2s",
        value_parser = duration
    )]
    pub leader_elect_retry_period: Duration,
}

/// How much work at once, and how often.
#[derive(Debug, Args)]
#[command(next_help_heading = "Work")]
pub struct WorkArgs {
    /// How many resources of one kind are worked on at the same time
    #[arg(long, env = "SVO_MAX_CONCURRENT_RECONCILES", value_name = "N", default_value_t = 32)]
    pub max_concurrent_reconciles: u16,

    /// Refresh interval of a SecretVersion that has none of its own
    #[arg(
        long,
        env = "SVO_DEFAULT_REFRESH_INTERVAL",
        value_name = "DURATION",
        default_value = "1h",
        value_parser = duration
    )]
    pub default_refresh_interval: Duration,

    /// Which part of the remote secrets this process looks after: I of N, counted from 0 [default: 0/1, all of them]
    ///
    /// For when one process is not enough; a remote's limit usually comes first. Each of 0/N to N-1/N must run, with a
    /// Lease of its own. Those of another N wait until none of these runs.
    #[arg(long, env = "SVO_SHARD", value_name = "I/N")]
    pub shard: Option<String>,
}

/// What the people who run it see.
#[derive(Debug, Args)]
#[command(next_help_heading = "Operations")]
pub struct OperationsArgs {
    /// Where /metrics is served; 0 for nowhere
    #[arg(long, env = "SVO_METRICS_BIND_ADDRESS", value_name = "ADDRESS", default_value = ":8080")]
    pub metrics_bind_address: String,

    /// Where /livez and /readyz are served; 0 for nowhere
    ///
    /// To callers on the same machine /log-level is served too: GET shows the level, PUT changes it.
    #[arg(long, env = "SVO_HEALTH_PROBE_BIND_ADDRESS", value_name = "ADDRESS", default_value = ":8081")]
    pub health_probe_bind_address: String,

    /// How log lines on standard error look
    #[arg(long, env = "SVO_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// error, warn, info, debug, trace or off; changeable while running
    ///
    /// Or tracing directives, such as info,secret_version_operator::lease=debug. Libraries keep to warnings until they are named.
    #[arg(long, env = "SVO_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
}

/// Reads a duration as Kubernetes components write it: `30s`, `1h30m`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|d| Duration::try_from(d).ok())
        .ok_or_else(|| "write a duration such as 500ms, 30s, 15m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_environment_name() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let flags = run.get_arguments().filter_map(|a| Some((a.get_long()?, a.get_env())));
        let mut seen = 0;
        for (long, env) in flags.filter(|(long, _)| *long != "help") {
            let expected = format!("SVO_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(env.and_then(|e| e.to_str()), Some(expected.as_str()), "--{long}");
            seen += 1;
        }
        assert!(seen >= 20, "{seen}");
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("30s", Duration::from_secs(30)),
            ("1h", Duration::from_hours(1)),
            ("1h0m30s", Duration::from_secs(3630)),
            ("500ms", Duration::from_millis(500)),
            ("0s", Duration::ZERO),
        ] {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
        for text in ["", "30", "-5s", "5s-3s", "1e9h", "99999999999999999999h", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn switches_take_values_as_in_go() {
        let run = |arguments: &[&str]| {
            let line = ["operator", "run"].iter().chain(arguments);
            match Cli::try_parse_from(line).unwrap().command {
                Command::Run(args) => args,
                other => panic!("{other:?}"),
            }
        };
        assert!(run(&["--allow-insecure-endpoints"]).remote.allow_insecure_endpoints);
        assert!(!run(&["--allow-insecure-endpoints=false"]).remote.allow_insecure_endpoints);
        assert!(!run(&["--watch-secrets=false"]).cluster.watch_secrets);
        assert!(!run(&["--watch-secrets", "false"]).cluster.watch_secrets);
        assert_eq!(
            run(&["--watch-namespace", "a", "--watch-namespace", "b,c"]).cluster.watch_namespaces,
            ["a", "b", "c"]
        );
    }
}
