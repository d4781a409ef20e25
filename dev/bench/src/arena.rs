//! What is measured in: a control plane, a simulated remote with so many secrets, and a namespace that the operator works in.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kit::binaries::Profile;
use kit::cluster::Namespace;
use kit::controlplane::{ControlPlane, Options};
use kit::install::{self, Installed};
use kit::simulator;
use kit::{Operator, Simulator};
use kube::api::{Api, PostParams};
use secret_version_operator::api::v1alpha1::AbejaConnection;
use serde_json::json;

pub(crate) const ORGANIZATION: &str = "1410000000000";
const TOKEN: &str = "bench-token";
const CONNECTION: &str = "remote";

/// A control plane with a remote.
pub(crate) struct Arena {
    pub(crate) plane: ControlPlane,
    pub(crate) client: kube::Client,
    pub(crate) namespace: Namespace,
    pub(crate) simulator: Arc<Simulator>,
    installed: Installed,
}

impl Arena {
    /// A remote with so many secrets, each with one version of so many bytes, that takes so long for each answer.
    pub(crate) async fn start(secrets: usize, value_bytes: usize, latency_ms: u64) -> Result<Self> {
        let plane = ControlPlane::start(Options { audit: false, ..Options::default() }).await?;
        let namespace = plane.namespace("bench").await?;
        let value = STANDARD.encode(vec![b'v'; value_bytes]);
        let all: Vec<_> = (0..secrets)
            .map(|n| json!({ "id": secret_id(n), "name": format!("s-{n}"), "versions": [{ "value_base64": value }] }))
            .collect();
        let faults =
            if latency_ms > 0 { json!([{ "action": { "delay": format!("{latency_ms}ms") } }]) } else { json!([]) };
        let seed = json!({
            "organizations": [{ "id": ORGANIZATION, "secrets": all }],
            "credentials": [{ "name": "operator", "kind": "bearer", "token": TOKEN }],
            "faults": faults,
        });
        let options = simulator::Options { profile: Profile::Release, ..simulator::Options::default() };
        let simulator = Simulator::start(plane.run_dir(), &seed.to_string(), options).await?;
        let values = [
            format!("endpoints.allowed={{{}}}", simulator.url()),
            "endpoints.allowInsecure=true".to_owned(),
            format!("watchNamespaces={{{}}}", &*namespace),
        ];
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let installed = install::chart(&plane, &namespace, &values).await?;
        let client = client(&plane).await?;
        let arena = Self { plane, client, namespace, simulator: Arc::new(simulator), installed };
        arena.connect().await?;
        Ok(arena)
    }

    /// Starts the operator, as its chart would.
    pub(crate) async fn operator(&self) -> Result<Operator> {
        let mut options = self.installed.operator();
        options.profile = Profile::Release;
        Operator::launch(self.plane.run_dir(), &options).await
    }

    /// The API of a kind in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn connect(&self) -> Result<()> {
        let credential = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": CONNECTION }, "stringData": { "token": TOKEN },
        });
        let connection = json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "AbejaConnection", "metadata": { "name": CONNECTION },
            "spec": {
                "url": self.simulator.url(), "organizationId": ORGANIZATION,
                "auth": { "token": { "secretRef": { "name": CONNECTION } } },
            },
        });
        let how = PostParams::default();
        self.api::<Secret>().create(&how, &serde_json::from_value(credential)?).await?;
        self.api::<AbejaConnection>().create(&how, &serde_json::from_value(connection)?).await?;
        Ok(())
    }

    /// Requests that the remote had since a number, and the number that it has come to.
    pub(crate) async fn requests_since(&self, since: u64) -> Result<(usize, u64)> {
        let page = self.simulator.control(reqwest::Method::GET, &format!("/journal?since={since}"), None).await?;
        let last = page["last_seq"].as_u64().context("a journal without number")?;
        Ok((usize::try_from(last.saturating_sub(since))?, last))
    }
}

/// The id of the n-th remote secret.
pub(crate) fn secret_id(n: usize) -> String {
    format!("{}", 2_000_000_000_000_u64 + n as u64)
}

/// A resource that follows the newest version of the n-th remote secret.
pub(crate) fn observed(n: usize) -> serde_json::Value {
    json!({
        "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "metadata": { "name": format!("sv-{n}") },
        "spec": {
            "connectionRef": { "kind": "AbejaConnection", "name": CONNECTION },
            "remoteRef": { "secretId": secret_id(n) },
            "versionRef": { "latest": "Active" },
        },
    })
}

async fn client(plane: &ControlPlane) -> Result<kube::Client> {
    let text = std::fs::read_to_string(plane.kubeconfig_admin())?;
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&text)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}
