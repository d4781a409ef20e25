//! What is measured in: a control plane, a simulated remote with so many secrets, and a namespace that the operator works in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kit::binaries::Profile;
use kit::cluster::Namespace;
use kit::controlplane::{ControlPlane, Options};
use kit::install::{self, Installed};
use kit::{Operator, Simulator, metrics, simulator};
use kube::api::{Api, PostParams};
use reqwest::Method;
use secret_version_operator::api::v1alpha1::AbejaConnection;
use serde_json::{Value, json};

use crate::sample::taken;

pub(crate) const ORGANIZATION: &str = "1410000000000";
pub(crate) const TOKEN: &str = "bench-token";
/// The name of the connection, and of the Secret with its credential.
pub(crate) const CONNECTION: &str = "remote";
/// The Secret with the operator's keys.
pub(crate) const KEYS: &str = "secret-version-operator-digest-keys";

/// How many secrets the remote has, and what is in each.
#[derive(Clone, Copy)]
pub(crate) struct Remote {
    pub(crate) secrets: usize,
    /// Versions that each has already.
    pub(crate) versions: usize,
    pub(crate) value_bytes: usize,
    /// What it takes for each answer, in milliseconds.
    pub(crate) latency_ms: u64,
}

/// A control plane with a remote.
pub(crate) struct Arena {
    pub(crate) plane: ControlPlane,
    pub(crate) client: kube::Client,
    pub(crate) namespace: Namespace,
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) remote: Remote,
    installed: Installed,
}

impl Arena {
    pub(crate) async fn start(remote: Remote) -> Result<Self> {
        let plane = ControlPlane::start(Options { audit: false, ..Options::default() }).await?;
        let namespace = plane.namespace("bench").await?;
        let options = simulator::Options { profile: Profile::Release, ..simulator::Options::default() };
        let simulator = Simulator::start(plane.run_dir(), &seed(remote).to_string(), options).await?;
        let values = [
            format!("endpoints.allowed={{{}}}", simulator.url()),
            "endpoints.allowInsecure=true".to_owned(),
            format!("watchNamespaces={{{}}}", &*namespace),
        ];
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let installed = install::chart(&plane, &namespace, &values).await?;
        let client = client(&plane.kubeconfig_admin()).await?;
        let arena = Self { plane, client, namespace, simulator: Arc::new(simulator), remote, installed };
        arena.connect().await?;
        // What it does once for an installation is not measured.
        let operator = arena.operator().await?;
        operator.wait_ready().await?;
        operator.process().stop().await?;
        Ok(arena)
    }

    /// Starts the operator as its chart would, compiled for release.
    pub(crate) async fn operator(&self) -> Result<Operator> {
        let mut options = self.installed.operator();
        options.profile = Profile::Release;
        Operator::launch(self.plane.run_dir(), &options).await
    }

    /// A client that is to the apiserver who the operator is: what it may do is looked up at each request.
    pub(crate) async fn as_operator(&self) -> Result<kube::Client> {
        client(&self.installed.operator().kubeconfig).await
    }

    /// Makes the remote what it was at first.
    pub(crate) async fn reset_remote(&self) -> Result<()> {
        self.simulator.seed(&seed(self.remote).to_string()).await
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

    /// Requests that the remote had since a number, oldest first, and the number that it has come to.
    pub(crate) async fn requests_since(&self, since: u64) -> Result<(Vec<Value>, u64)> {
        let mut page = self.simulator.control(Method::GET, &format!("/journal?since={since}"), None).await?;
        let last = page["last_seq"].as_u64().context("a journal without number")?;
        let Value::Array(entries) = page["entries"].take() else { anyhow::bail!("a journal without entries") };
        Ok((entries, last))
    }

    /// The number of the last request that the remote had.
    pub(crate) async fn last_request(&self) -> Result<u64> {
        let page = self.simulator.control(Method::GET, &format!("/journal?since={}", u64::MAX), None).await?;
        page["last_seq"].as_u64().context("a journal without number")
    }

    /// The processor time that each process beside the operator has taken so far.
    pub(crate) fn processor(&self) -> Result<Processor> {
        let (etcd, apiserver) = (self.plane.etcd(), self.plane.apiserver());
        let all = [etcd, apiserver, self.simulator.process()].into_iter().chain(self.plane.controller_manager());
        all.map(|process| Ok((process.name().to_owned(), taken(process)?.cpu))).collect()
    }

    /// What the apiserver has counted since its start.
    pub(crate) async fn counts(&self) -> Result<Counts> {
        let page = self.plane.metrics().await?;
        let sum = |resource: &str, subresource: &str, verb: &str| {
            let labels = [("resource", resource), ("subresource", subresource), ("verb", verb)];
            metrics::sum(&page, "apiserver_request_total", &labels)
        };
        let reads = sum("secretversions", "", "GET") + sum("secrets", "", "GET");
        let writes = [
            ("secretversions", "", "PATCH"),
            ("secretversions", "status", "PATCH"),
            ("secrets", "", "POST"),
            ("secrets", "", "PATCH"),
        ];
        Ok(Counts { reads, writes: writes.iter().map(|(what, part, verb)| sum(what, part, verb)).sum() })
    }
}

/// Processor time by name of the process.
pub(crate) type Processor = BTreeMap<String, Duration>;

/// Requests for resources and Secrets: one object at a time, without watches, lists, and what the loader itself sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) reads: f64,
    pub(crate) writes: f64,
}

impl Counts {
    pub(crate) fn since(self, before: Self) -> Self {
        Self { reads: self.reads - before.reads, writes: self.writes - before.writes }
    }
}

fn seed(remote: Remote) -> Value {
    let value = STANDARD.encode(vec![b'v'; remote.value_bytes]);
    let versions: Vec<Value> = vec![json!({ "value_base64": value }); remote.versions];
    let all: Vec<Value> = (0..remote.secrets)
        .map(|n| json!({ "id": secret_id(n), "name": format!("s-{n}"), "versions": versions }))
        .collect();
    let delay = json!({ "at": "before_commit", "duration": format!("{}ms", remote.latency_ms) });
    let slow = json!([{ "action": { "delay": delay } }]);
    json!({
        "organizations": [{ "id": ORGANIZATION, "secrets": all }],
        "credentials": [{ "name": "operator", "kind": "bearer", "token": TOKEN }],
        "faults": if remote.latency_ms > 0 { slow } else { json!([]) },
    })
}

/// The id of the n-th remote secret.
pub(crate) fn secret_id(n: usize) -> String {
    format!("{}", 2_000_000_000_000_u64 + n as u64)
}

async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&std::fs::read_to_string(kubeconfig)?)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}
