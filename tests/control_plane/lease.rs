//! The Lease on a real apiserver, with the rights that the chart gives: what the fake of the unit tests promises.

use std::time::{Duration, Instant};

use anyhow::ensure;
use jiff::{SignedDuration, Timestamp};
use kit::{ControlPlane, eventually, install};
use secret_version_operator::config::ClusterAccess;
use secret_version_operator::host::Machine;
use secret_version_operator::lease::{self, Lease, LeaseConfig, Timing};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const TIMING: Timing = Timing {
    lease_duration: Duration::from_secs(3),
    renew_deadline: Duration::from_secs(2),
    retry_period: Duration::from_millis(500),
};

#[tokio::test]
async fn the_lease_passes_from_one_to_the_next() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("lease").await.unwrap();
    let watch = format!("watchNamespaces={{{}}}", &namespace);
    let kubeconfig = install::chart(control_plane, &namespace, &[&watch]).await.unwrap().kubeconfig;
    // As main does; another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let access = ClusterAccess { kubeconfig: Some(kubeconfig), context: None };
    let config = access.load().await.unwrap();
    let candidate = |identity: &str| {
        let client = lease::client(config.clone()).unwrap();
        let namespace = namespace.to_string();
        Lease::new(
            client,
            LeaseConfig { namespace, name: "operator".to_owned(), timing: TIMING },
            identity.to_owned(),
            Machine::shared(),
        )
    };
    let record = async || -> Value {
        let get = ["get", "lease", "operator", "-n", &namespace, "-o", "json"];
        let object: Value = serde_json::from_str(&control_plane.kubectl(&get).await.unwrap().ok().unwrap()).unwrap();
        object["spec"].clone()
    };
    let shutdown = CancellationToken::new();

    let first = candidate("first").acquire(&shutdown).await.unwrap();
    let (guard, second) = (first.guard(), candidate("second"));
    let stop = shutdown.clone();
    let waiting = tokio::spawn(async move { second.acquire(&stop).await });
    let created = record().await;
    assert_eq!((&created["holderIdentity"], &created["leaseTransitions"]), (&"first".into(), &0.into()));
    assert_eq!(created["leaseDurationSeconds"], 3);

    let renewed = eventually(TIMING.lease_duration * 4, "it was renewed for longer than it lasts", async || {
        let record = record().await;
        let time = |field: &str| record[field].as_str().unwrap_or_default().parse::<Timestamp>();
        let led = time("renewTime")?.duration_since(time("acquireTime")?);
        ensure!(led > SignedDuration::try_from(TIMING.lease_duration * 2)?, "led for {led} yet");
        Ok(record)
    });
    assert_eq!(renewed.await.unwrap()["acquireTime"], created["acquireTime"]);
    assert!(guard.may_act() && !waiting.is_finished());

    first.release().await;
    assert!(!guard.may_act());
    let released = Instant::now();
    let second = waiting.await.unwrap().unwrap();
    assert!(released.elapsed() < TIMING.lease_duration, "a released Lease is taken without waiting it out");
    let taken = record().await;
    assert_eq!((&taken["holderIdentity"], &taken["leaseTransitions"]), (&"second".into(), &1.into()));

    second.release().await;
    assert_eq!(record().await["holderIdentity"], Value::Null);
}
