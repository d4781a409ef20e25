//! The operator as those who run it see it: the real binary under the chart's ServiceAccount, with probes, log level, metrics and
//! a second replica.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kit::install::{Installed, chart};
use kit::operator::Options;
use kit::proxy::{Action, Moment, Rule};
use kit::{ControlPlane, Operator, Proxy, eventually};
use serde_json::{Value, json};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(30);

/// The record of the Lease.
async fn record(control_plane: &ControlPlane, namespace: &str) -> Value {
    let get = ["get", "lease", "operator", "-n", namespace, "-o", "json"];
    let object: Value = serde_json::from_str(&control_plane.kubectl(&get).await.unwrap().ok().unwrap()).unwrap();
    object["spec"].clone()
}

async fn installed(control_plane: &ControlPlane, namespace: &str) -> Installed {
    chart(control_plane, namespace, &[&format!("watchNamespaces={{{namespace}}}")]).await.unwrap()
}

fn options(installation: &Installed, pod: &str) -> Options {
    Options {
        kubeconfig: installation.kubeconfig.clone(),
        args: installation.args.clone(),
        env: vec![("POD_NAME".to_owned(), pod.to_owned())],
        ..Options::default()
    }
}

async fn leads(operator: &Operator) -> Result<()> {
    ensure!(operator.metrics().await?.contains("secret_version_operator_leader 1\n"), "it does not lead");
    Ok(())
}

fn http() -> reqwest::Client {
    // As main does; another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn a_standby_is_ready_and_takes_over_when_the_leader_is_stopped() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("standby").await.unwrap();
    let installation = installed(control_plane, &namespace).await;
    let run = control_plane.run_dir();
    let first = Operator::start(run, &options(&installation, "first")).await.unwrap();
    eventually(SOON, "the first leads", || leads(&first)).await.unwrap();
    let second = Operator::start(run, &options(&installation, "second")).await.unwrap();
    assert!(leads(&second).await.is_err());
    let ready = http().get(format!("{}/readyz?verbose", second.health_url())).send().await.unwrap();
    assert!(ready.text().await.unwrap().contains("[+]lease ok: standby"));

    assert_eq!(first.process().stop().await.unwrap(), 0);
    let stopped = Instant::now();
    eventually(SOON, "the second leads", || leads(&second)).await.unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(10), "not after the Lease ran out: {:?}", stopped.elapsed());
    eventually(SOON, "the second is ready as a leader", async || second.wait_ready().await).await.unwrap();
    let record = record(control_plane, &namespace).await;
    assert!(record["holderIdentity"].as_str().unwrap().starts_with("second_"), "{record}");
}

/// What the queue waits for may never come once the watches have ended.
#[tokio::test]
async fn who_is_stopped_before_its_caches_are_filled_gives_the_lease_back() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("unfilled").await.unwrap();
    let installation = installed(control_plane, &namespace).await;
    let resource = json!({
        "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion",
        "metadata": { "name": "waits", "namespace": &*namespace },
        "spec": { "connectionRef": { "kind": "AbejaConnection", "name": "none" }, "remoteRef": { "secretId": "1" }, "versionRef": { "latest": "Active" } },
    });
    control_plane.kubectl_apply(&resource.to_string()).await.unwrap();
    let proxy = Proxy::start(control_plane).await.unwrap();
    let mut list = proxy.add(Rule::on("list", "secrets"), Action::Hold(Moment::Before));
    let mut options = options(&installation, "unfilled");
    options.kubeconfig = proxy.kubeconfig(&installation.kubeconfig).unwrap();
    let operator = Operator::launch(control_plane.run_dir(), &options).await.unwrap();
    let _held = timeout(SOON, list.hit()).await.unwrap().unwrap();
    eventually(SOON, "the resource waits", async || {
        let waits = "secret_version_operator_queue_depth{kind=\"SecretVersion\"} 1";
        ensure!(operator.metrics().await?.contains(waits), "none does");
        Ok(())
    })
    .await
    .unwrap();

    assert_eq!(operator.process().stop().await.unwrap(), 0, "{}", operator.process().log_tail());
    let record = record(control_plane, &namespace).await;
    assert!(record["holderIdentity"].as_str().unwrap_or_default().is_empty(), "{record}");
}

#[tokio::test]
async fn who_loses_the_lease_ends_with_a_failure() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("lost").await.unwrap();
    let installation = installed(control_plane, &namespace).await;
    let operator = Operator::start(control_plane.run_dir(), &options(&installation, "loser")).await.unwrap();
    eventually(SOON, "it leads", || leads(&operator)).await.unwrap();
    let thief = r#"{"spec": {"holderIdentity": "thief"}}"#;
    let patch = ["patch", "lease", "operator", "-n", &namespace, "--type=merge", "-p", thief];
    control_plane.kubectl(&patch).await.unwrap().ok().unwrap();
    let code = tokio::time::timeout(SOON, operator.process().wait()).await.unwrap().unwrap();
    assert_eq!(code, 1, "{}", operator.process().log_tail());
    assert_eq!(record(control_plane, &namespace).await["holderIdentity"], "thief");
}

#[tokio::test]
async fn probes_metrics_and_the_log_level_are_served() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("operations").await.unwrap();
    let installation = installed(control_plane, &namespace).await;
    let operator = Operator::start(control_plane.run_dir(), &options(&installation, "operations")).await.unwrap();
    let http = http();
    let url = |path: &str| format!("{}{path}", operator.health_url());
    assert_eq!(http.get(url("/livez")).send().await.unwrap().status(), 200);
    let level = async || http.get(url("/log-level")).send().await.unwrap().text().await.unwrap();
    assert_eq!(level().await, "info\n");
    let changed = http.put(url("/log-level")).body("debug").send().await.unwrap();
    assert_eq!(changed.status(), 200);
    assert_eq!(level().await, "debug\n");

    let metrics = operator.metrics().await.unwrap();
    for name in [
        "secret_version_operator_build_info",
        "secret_version_operator_leader 1",
        "secret_version_operator_kube_requests_total{verb=\"WATCH\",code=\"200\"}",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
}
