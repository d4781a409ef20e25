//! What the chart installs, for tests and the demo: whoever runs the operator runs it with these rights, never as an
//! administrator. No pod runs, since the cluster has no nodes: the caller's process is the pod.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::{Cluster, ControlPlane, operator};

/// The folder of the chart.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/secret-version-operator");
/// The folder of the definitions alone.
const CRDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crds");
/// Release, Deployment and ServiceAccount of [`chart`].
const NAME: &str = "operator";

/// An installed chart.
#[derive(Debug)]
pub struct Installed {
    /// The release's namespace.
    pub namespace: String,
    /// The name of the operator's ServiceAccount there.
    pub service_account: String,
    /// The kubeconfig of that ServiceAccount.
    pub kubeconfig: PathBuf,
    /// The arguments that the chart gives the operator, without `run` and the addresses to bind.
    pub args: Vec<String>,
    /// The environment that the chart gives it, as far as that does not depend on the pod.
    pub env: Vec<(String, String)>,
}

impl Installed {
    /// What runs the operator as the chart would: its identity, its arguments, its own namespace.
    pub fn operator(&self) -> operator::Options {
        let mut env = self.env.clone();
        env.push(("POD_NAMESPACE".to_owned(), self.namespace.clone()));
        operator::Options {
            kubeconfig: self.kubeconfig.clone(),
            args: self.args.clone(),
            env,
            ..operator::Options::default()
        }
    }
}

/// Installs the definitions. Does nothing where they are the same already.
///
/// Where they are new, the controller manager is restarted, which would look for new kinds only now and then: from here
/// on garbage collection knows them.
pub async fn crds(plane: &ControlPlane) -> Result<()> {
    // Two tests at once would both find them new.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _guard = ONE_AT_A_TIME.lock().await;
    let were_there = plane.kubectl(&["get", "-f", CRDS, "-o", "name"]).await?.success();
    plane.kubectl(&["apply", "--server-side", "-f", CRDS]).await?.ok()?;
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "-f", CRDS];
    plane.kubectl(&wait).await?.ok()?;
    if !were_there && let Some(process) = plane.controller_manager() {
        process.restart().await?;
    }
    Ok(())
}

/// Installs the definitions, and the chart as a release of `namespace`, with values as for helm's `--set`.
///
/// Without `watchNamespaces` the operator works in all namespaces, those of other tests included: set it to namespaces
/// of the test's own, or use a control plane of its own.
pub async fn chart(plane: &ControlPlane, namespace: &str, values: &[&str]) -> Result<Installed> {
    crds(plane).await?;
    let mut args = vec!["install", NAME, CHART, "--namespace", namespace];
    // The definitions belong to no release: one cluster serves many tests.
    args.extend(["--set", "crds.install=false", "--set", "fullnameOverride=operator"]);
    args.extend(values.iter().flat_map(|value| ["--set", value]));
    plane.helm(&args).await?.ok()?;
    installed(plane, namespace, NAME).await
}

/// Installs the chart as so many shards, at least two, or divides anew what is installed so. Gives each shard.
pub async fn shards(plane: &ControlPlane, namespace: &str, of: usize, values: &[&str]) -> Result<Vec<Installed>> {
    crds(plane).await?;
    let shards = format!("shards={of}");
    let mut args = vec!["upgrade", "--install", NAME, CHART, "--namespace", namespace];
    args.extend(["--set", "crds.install=false", "--set", "fullnameOverride=operator", "--set", &shards]);
    args.extend(values.iter().flat_map(|value| ["--set", value]));
    plane.helm(&args).await?.ok()?;
    let mut all = Vec::new();
    for index in 0..of {
        all.push(installed(plane, namespace, &format!("{NAME}-{index}")).await?);
    }
    Ok(all)
}

/// What a release has installed, whose Deployment and ServiceAccount are called `name`.
pub async fn installed(cluster: &Cluster, namespace: &str, name: &str) -> Result<Installed> {
    let get = ["get", "deployment", name, "-n", namespace, "-o", "json"];
    let deployment: Value = serde_json::from_str(&cluster.kubectl(&get).await?.ok()?)?;
    let pod = &deployment["spec"]["template"]["spec"];
    let account = pod["serviceAccountName"].as_str().context("the operator's pod has no ServiceAccount")?;
    let args = pod["containers"][0]["args"].as_array().context("the operator's container has no arguments")?;
    let text = |entry: &Value, field: &str| entry[field].as_str().map(str::to_owned);
    let env = pod["containers"][0]["env"].as_array().into_iter().flatten();
    Ok(Installed {
        namespace: namespace.to_owned(),
        env: env.filter_map(|entry| Some((text(entry, "name")?, text(entry, "value")?))).collect(),
        service_account: account.to_owned(),
        kubeconfig: cluster.kubeconfig_for_service_account(namespace, account).await?,
        args: args
            .iter()
            .filter_map(Value::as_str)
            .filter(|arg| *arg != "run" && !arg.contains("-bind-address"))
            .map(Into::into)
            .collect(),
    })
}
