//! A fault proxy in front of the apiserver: what happens to one request of one client, at the very moment that a test
//! needs it, with no hook in the client.
//!
//! Plain HTTP on the loopback interface towards the client, TLS towards the apiserver, credentials passed through. Answers
//! are streamed, watches too; [`Watches`] says what becomes of their events. Which request is meant and what becomes of it is said by a [`Rule`]; with a rule that holds,
//! the test is told of the request and may kill the client before it takes effect, or after:
//!
//! ```no_run
//! # async fn example(plane: &kit::ControlPlane, account: &std::path::Path, operator: &kit::Operator) -> anyhow::Result<()> {
//! use kit::proxy::{Action, Moment, Proxy, Rule};
//!
//! let proxy = Proxy::start(plane).await?;
//! let kubeconfig = proxy.kubeconfig(account)?; // for the operator
//! let mut rule = proxy.add(Rule::on("patch", "secretversions/status").name("x"), Action::Hold(Moment::After));
//! let held = rule.hit().await?;
//! operator.process().kill()?; // the write is in etcd, and its writer never learned of it
//! held.cut();
//! # Ok(())
//! # }
//! ```

mod request;
mod rule;
mod serve;
mod streams;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use request::Request;
pub use rule::{Action, Armed, Held, Moment, Rule};
pub use streams::Watches;

use crate::cluster::Cluster;
use crate::http;
use crate::run_dir::RunDir;
use rule::Scripted;
use streams::Streams;

/// A running proxy. Dropped, it takes no more connections, and cuts those that it has.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    run: Arc<RunDir>,
    script: Arc<Script>,
    server: JoinHandle<()>,
}

/// What the proxy does, and what it has seen.
#[derive(Debug, Default)]
struct Script {
    rules: Mutex<Vec<Scripted>>,
    counts: Mutex<BTreeMap<(String, String), usize>>,
    streams: Streams,
}

impl Proxy {
    /// Starts one in front of the apiserver that the cluster's own kubeconfig names. It lives on the runtime of the
    /// caller, and ends with it.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let view = ["config", "view", "--raw", "--minify", "--flatten", "-o", "json"];
        let config: Value = serde_json::from_str(&cluster.kubectl(&view).await?.ok()?)?;
        let server = config.pointer("/clusters/0/cluster/server").and_then(Value::as_str);
        let server = server.context("the kubeconfig names no server")?.trim_end_matches('/').to_owned();
        let ca = config.pointer("/clusters/0/cluster/certificate-authority-data").and_then(Value::as_str);
        let ca = STANDARD.decode(ca.context("the kubeconfig has no certificate authority")?)?;
        // Port 0: the system's choice cannot be taken by others, and nobody restarts a proxy.
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let script = Arc::<Script>::default();
        let upstream = serve::Upstream { client: http::client_trusting(&ca)?, server };
        let server = tokio::spawn(serve::serve(listener, Arc::new(upstream), Arc::clone(&script)));
        Ok(Self { url, run: Arc::clone(cluster.run_dir()), script, server })
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Writes a kubeconfig that is the given one but for its server, which is the proxy. For clients other than kubectl,
    /// which sends no token over plain HTTP.
    pub fn kubeconfig(&self, of: &Path) -> Result<PathBuf> {
        let text = std::fs::read(of).with_context(|| format!("cannot read {}", of.display()))?;
        let mut config: Value = serde_json::from_slice(&text).context("the kit's kubeconfigs are JSON, this is not")?;
        let cluster = config.pointer_mut("/clusters/0/cluster").context("the kubeconfig names no cluster")?;
        *cluster = serde_json::json!({ "server": self.url });
        let name = of.file_name().context("a kubeconfig has a file name")?.to_string_lossy();
        let port = self.url.rsplit(':').next().unwrap_or_default();
        self.run.write(&format!("proxy-{port}-{name}"), config.to_string().as_bytes())
    }

    /// Arms a rule. Of several that match one request, the first that was added acts; all of them count it.
    pub fn add(&self, rule: Rule, action: Action) -> Armed {
        let (scripted, armed) = rule.arm(action);
        lock(&self.script.rules).push(scripted);
        armed
    }

    /// Disarms all rules. What is held stays held.
    pub fn clear(&self) {
        lock(&self.script.rules).clear();
    }

    /// The watches of a resource, to be held back, cut, delayed or sent to list again.
    pub fn watches(&self, resource: &str) -> Watches<'_> {
        self.script.streams.of(resource)
    }

    /// How many requests have arrived with this verb for this resource, written as for [`Rule::on`].
    pub fn count(&self, verb: &str, resource: &str) -> usize {
        lock(&self.script.counts).get(&(verb.to_owned(), resource.to_owned())).copied().unwrap_or_default()
    }

    /// How many requests have arrived that ask for a change, Leases apart: a leader renews its own for ever.
    pub fn writes(&self) -> usize {
        const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
        lock(&self.script.counts)
            .iter()
            .filter(|((verb, resource), _)| WRITES.contains(&verb.as_str()) && resource != "leases")
            .map(|(_, count)| count)
            .sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Script {
    /// Counts a request, and finds what is to become of it.
    fn judge(&self, request: &Request) -> Option<rule::Verdict> {
        *lock(&self.counts).entry((request.verb.clone(), request.resource.clone())).or_default() += 1;
        let mut verdict = None;
        for rule in lock(&self.rules).iter_mut() {
            let strikes = rule.strikes(request);
            if verdict.is_none() && strikes {
                verdict = Some(rule.verdict());
            }
        }
        verdict
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step under these locks leaves anything half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
