//! The chart: what it renders, what it refuses, and that a real cluster takes it. The cluster has no nodes, so nothing waits
//! for pods.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod lifecycle;
mod pod;
mod rbac;
mod values;

use anyhow::{Context, Result};
use kit::{ControlPlane, Output};
use serde_json::Value;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/secret-version-operator");

/// Runs `helm template` for the release `svo` in the namespace `svo-system`, with values as for `--set-json`.
async fn template(values: &[&str]) -> Result<Output> {
    let mut args = vec!["template", "svo", CHART, "--namespace", "svo-system"];
    args.extend(values.iter().flat_map(|value| ["--set-json", value]));
    ControlPlane::shared().await?.helm(&args).await
}

/// The objects that the chart renders.
async fn render(values: &[&str]) -> Result<Vec<Value>> {
    let text = template(values).await?.ok()?;
    serde_saphyr::from_multiple(&text).context("the chart renders no YAML")
}

/// The only rendered object of a kind.
async fn rendered(kind: &str, values: &[&str]) -> Result<Value> {
    let mut objects = render(values).await?;
    objects.retain(|object| object["kind"] == kind);
    let [object] = objects.try_into().map_err(|found| anyhow::anyhow!("not one {kind}: {found:?}"))?;
    Ok(object)
}
