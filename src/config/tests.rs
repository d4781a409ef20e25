//! Tables of what is accepted and refused.

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn surroundings() -> Surroundings {
    Surroundings { host_name: "host".to_owned(), random: 0xabc, ..Surroundings::default() }
}

fn config_in(arguments: &[&str], surroundings: Surroundings) -> Result<Config, ConfigError> {
    let line = ["operator", "run"].iter().chain(arguments);
    match Cli::try_parse_from(line).unwrap().command {
        Command::Run(args) => Config::new(*args, surroundings),
        other => panic!("{other:?}"),
    }
}

fn config(arguments: &[&str]) -> Result<Config, ConfigError> {
    config_in(arguments, surroundings())
}

#[test]
fn defaults() {
    let config = config(&[]).unwrap();
    assert_eq!(config.watch, WatchScope::All);
    assert!(config.watch_secrets);
    assert_eq!(config.endpoints.iter().map(Endpoint::as_str).collect::<Vec<_>>(), [PUBLIC_ENDPOINT]);
    assert_eq!(config.remote_settle_time, Duration::from_secs(30));
    assert_eq!(config.max_concurrent_reconciles.get(), 32);
    assert_eq!(config.default_refresh_interval, Duration::from_hours(1));
    assert_eq!(config.metrics_address, BindAddress::AnyAddress(8080));
    assert_eq!(config.health_address, BindAddress::AnyAddress(8081));
    assert_eq!(config.log, LogConfig { format: LogFormat::Text, level: "info".to_owned() });
    assert_eq!(config.identity, "host_0000000000000abc");
    assert_eq!(config.namespace, None);
    assert_eq!(
        config.election,
        Election {
            namespace: None,
            name: "secret-version-operator".to_owned(),
            timing: Timing {
                lease_duration: Duration::from_secs(15),
                renew_deadline: Duration::from_secs(10),
                retry_period: Duration::from_secs(2),
            },
            part: None,
        }
    );
    assert_eq!(config.shard, Shard::WHOLE);
}

#[test]
fn refused_with_the_flag_and_what_to_write() {
    for (arguments, flag, advice) in [
        (&["--namespace=Team"] as &[&str], "--namespace", "a-z"),
        (&["--watch-namespace=a,b_c"], "--watch-namespace", "a-z"),
        (&["--cluster-resource-namespace=a.b"], "--cluster-resource-namespace", "a-z"),
        (&["--leader-elect-resource-namespace=-"], "--leader-elect-resource-namespace", "a-z"),
        (&["--leader-elect-resource-name=a..b"], "--leader-elect-resource-name", "a-z"),
        (&["--leader-elect-resource-name="], "--leader-elect-resource-name", "a-z"),
        (&["--allow-endpoint=http://api.abeja.io"], "--allow-endpoint: URL 1", "--allow-insecure-endpoints"),
        (&["--allow-endpoint=https://a.example,https://127.0.0.1"], "--allow-endpoint: URL 2", "the remote's host"),
        (&["--allow-endpoint=https://a.example/api"], "--allow-endpoint: URL 1", "scheme, host and port only"),
        (&["--allow-endpoint="], "--allow-endpoint", "leave the flag out"),
        (&["--leader-elect-lease-duration=10s"], "--leader-elect-renew-deadline", "must stop before others start"),
        (&["--leader-elect-renew-deadline=2s"], "--leader-elect-retry-period", "more than once"),
        (&["--leader-elect-retry-period=0s"], "--leader-elect-retry-period", "> 0s"),
        (&["--leader-elect-lease-duration=15500ms"], "--leader-elect-lease-duration", "whole number of seconds"),
        (&["--leader-elect-lease-duration=2h"], "--leader-elect-lease-duration", "up to 1h"),
        (&["--watch-timeout=4s"], "--watch-timeout", "5s and 1h"),
        (&["--watch-timeout=5500ms"], "--watch-timeout", "whole number of seconds"),
        (&["--remote-settle-time=61m"], "--remote-settle-time", "1h"),
        (&["--default-refresh-interval=4s"], "--default-refresh-interval", "5s and 720h"),
        (&["--default-refresh-interval=721h"], "--default-refresh-interval", "5s and 720h"),
        (&["--shard=2/2"], "--shard", "I from 0 to N-1"),
        (&["--shard=1"], "--shard", "write I/N"),
        (&["--max-concurrent-reconciles=0"], "--max-concurrent-reconciles", "32"),
        (&["--metrics-bind-address=8080"], "--metrics-bind-address", ":PORT"),
        (&["--health-probe-bind-address=localhost:1"], "--health-probe-bind-address", ":PORT"),
    ] {
        let message = config(arguments).unwrap_err().to_string();
        assert!(message.starts_with(flag) || message.contains(flag), "{arguments:?}: {message}");
        assert!(message.contains(advice), "{arguments:?}: {message}");
    }
}

#[test]
fn bounds_are_accepted() {
    for arguments in [
        &["--default-refresh-interval=5s"] as &[&str],
        &["--default-refresh-interval=720h"],
        &["--remote-settle-time=0s"],
        &["--watch-timeout=5s"],
        &["--leader-elect-lease-duration=3s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=500ms"],
        &["--metrics-bind-address=0", "--health-probe-bind-address=127.0.0.1:0"],
        &["--max-concurrent-reconciles=1"],
    ] {
        config(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    }
}

#[test]
fn a_password_in_an_endpoint_is_not_repeated() {
    let error = config(&["--allow-endpoint=https://user:hunter2@api.abeja.io"]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn endpoints_given_replace_the_default_and_fold_together() {
    let config = config(&["--allow-endpoint=https://a.example,https://A.example:443/,https://b.example:1"]).unwrap();
    assert_eq!(
        config.endpoints.iter().map(Endpoint::as_str).collect::<Vec<_>>(),
        ["https://a.example", "https://b.example:1"]
    );
    assert_eq!(config.endpoints.resolve(None), Err(EndpointRefused::NotAllowed));
}

#[test]
fn empty_settings_count_as_left_out() {
    let empty = Surroundings { pod_namespace: Some(String::new()), pod_name: Some(String::new()), ..surroundings() };
    let config =
        config_in(&["--namespace=", "--watch-namespace=", "--kubeconfig=", "--context=", "--log-level="], empty)
            .unwrap();
    assert_eq!(config.namespace, None);
    assert_eq!(config.watch, WatchScope::All);
    assert_eq!(config.cluster, ClusterAccess::default());
    assert_eq!(config.log.level, "info");
    assert!(config.identity.starts_with("host_"), "{}", config.identity);
}

#[test]
fn a_pod_knows_its_name_and_namespace_and_a_flag_wins() {
    let pod = Surroundings {
        pod_namespace: Some("pods".to_owned()),
        pod_name: Some("operator-1".to_owned()),
        ..surroundings()
    };
    let config = config_in(&[], pod.clone()).unwrap();
    assert_eq!(config.namespace.as_deref(), Some("pods"));
    assert!(config.identity.starts_with("operator-1_"), "{}", config.identity);
    assert_eq!(config_in(&["--namespace=told"], pod).unwrap().namespace.as_deref(), Some("told"));
}

#[test]
fn namespaces_fold_together() {
    let config = config(&["--watch-namespace=b,a", "--watch-namespace=b"]).unwrap();
    assert_eq!(config.watch, WatchScope::Namespaces(["a".to_owned(), "b".to_owned()].into()));
}

#[test]
fn two_processes_differ() {
    assert_ne!(Surroundings::read().random, Surroundings::read().random);
}
