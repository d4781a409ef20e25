//! What the chart installs, for tests that run the operator: it never runs as an administrator here.

use std::path::PathBuf;

use anyhow::{Context, Result};
use kit::Cluster;
use serde_json::Value;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/secret-version-operator");
const CRDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");

/// An installation of the chart. No pod runs, because the cluster has no nodes: the test is the pod.
#[derive(Debug)]
pub(crate) struct Installation {
    /// Kubeconfig of the chart's ServiceAccount.
    pub(crate) kubeconfig: PathBuf,
    /// The arguments that the chart gives the operator, without `run` and the addresses to bind.
    pub(crate) args: Vec<String>,
}

/// Installs the definitions. Does nothing where they are the same already.
pub(crate) async fn install_crds(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["apply", "--server-side", "-f", CRDS]).await?.ok()?;
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "-f", CRDS];
    cluster.kubectl(&wait).await?.ok()?;
    Ok(())
}

/// Installs the definitions, and the chart as the release `operator` of `namespace`, with values as for `--set`.
///
/// Without `watchNamespaces` the operator works in all namespaces, those of other tests included: set it to namespaces of
/// the test's own, or use a control plane of its own.
pub(crate) async fn install(cluster: &Cluster, namespace: &str, values: &[&str]) -> Result<Installation> {
    install_crds(cluster).await?;
    let mut args = vec!["install", "operator", CHART, "--namespace", namespace];
    // The definitions belong to no release: one cluster serves many tests.
    args.extend(["--set", "crds.install=false", "--set", "fullnameOverride=operator"]);
    args.extend(values.iter().flat_map(|value| ["--set", value]));
    cluster.helm(&args).await?.ok()?;
    Ok(Installation {
        kubeconfig: cluster.kubeconfig_for_service_account(namespace, "operator").await?,
        args: args_of_the_pod(cluster, namespace).await?,
    })
}

async fn args_of_the_pod(cluster: &Cluster, namespace: &str) -> Result<Vec<String>> {
    let get = ["get", "deployment", "operator", "-n", namespace, "-o", "json"];
    let deployment: Value = serde_json::from_str(&cluster.kubectl(&get).await?.ok()?)?;
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let args = args.as_array().context("the operator's container has no arguments")?;
    Ok(args
        .iter()
        .filter_map(Value::as_str)
        .filter(|arg| *arg != "run" && !arg.contains("-bind-address"))
        .map(Into::into)
        .collect())
}
