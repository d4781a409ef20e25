//! Clients and simulators of a test's own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use abeja_simulator::Simulator;
use abeja_simulator::seed::Seed;
use secret_version_operator::remote::{Allowance, Client, ClientConfig, Credential, Observe};
use secret_version_operator::secret::{SecretBytes, SecretText};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) const ORGANIZATION: &str = "1410000000000";
pub(crate) const SECRET: &str = "3053595942757";
pub(crate) const TOKEN: &str = "t-all-0123456789";

/// A value that is no text.
pub(crate) fn value() -> SecretBytes {
    SecretBytes::from(vec![0x00, 0xff, 0x0a])
}

/// What a client needs, for a server on loopback. Impatient, and without retries.
pub(crate) fn config(url: &str) -> ClientConfig {
    ClientConfig {
        allowance: Allowance::default(),
        url: url.to_owned(),
        credential: Credential::Token(SecretText::from(TOKEN.to_owned())),
        ca_bundle: None,
        timeout: Duration::from_secs(5),
        max_retries: 0,
        allow_insecure: true,
        user_agent: "wire-test/1".to_owned(),
        carrier: None,
        observer: None,
    }
}

pub(crate) fn client(url: &str) -> Client {
    Client::new(config(url)).unwrap()
}

/// A version as the API would give it.
pub(crate) fn version(id: &str) -> Value {
    json!({
        "id": id, "organization_id": ORGANIZATION, "secret_id": SECRET, "version": 1, "status": "active",
        "provider": "aws-secret-manager", "value": "AP8K",
        "created_at": "2025-04-30T19:01:19.216304Z", "updated_at": "2025-05-01T07:35:01.002633Z",
    })
}

/// Keeps what a client tells of its requests.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<(&'static str, &'static str)>>);

impl Told {
    pub(crate) fn all(&self) -> Vec<(&'static str, &'static str)> {
        self.0.lock().unwrap().clone()
    }
}

impl Observe for Told {
    fn request(&self, op: &'static str, outcome: &'static str, _: Duration) {
        self.0.lock().unwrap().push((op, outcome));
    }
}

/// A client whose requests are kept.
pub(crate) fn told(mut config: ClientConfig) -> (Client, Arc<Told>) {
    let told = Arc::new(Told::default());
    config.observer = Some(told.clone());
    (Client::new(config).unwrap(), told)
}

/// A running simulator; it stops when dropped.
pub(crate) struct Remote {
    pub(crate) url: String,
    shutdown: CancellationToken,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Remote {
    /// One that knows every kind of credential and two secrets, the first of them with this many versions, and that
    /// does what `faults` (YAML) say.
    pub(crate) async fn start(versions: usize, faults: &str) -> Self {
        let rows: Vec<_> = (0..versions).map(|number| format!("{{value: value-{number}}}")).collect();
        let seed = format!(
            r#"
organizations:
- id: "{ORGANIZATION}"
  secrets:
  - {{id: "{SECRET}", name: db-password, versions: [{rows}]}}
  - {{id: "other", name: smtp-relay}}
credentials:
- {{name: all, kind: bearer, token: {TOKEN}}}
- {{name: user, kind: user, id: "7", token: t-user}}
- {{name: datasource, kind: datasource, id: "8", token: t-datasource}}
- {{name: reader, kind: bearer, token: t-reader, rights: {{read_only: true}}}}
- {{name: no-list, kind: bearer, token: t-no-list, rights: {{refuse_list_secrets: 403}}}}
faults: {faults}
"#,
            rows = rows.join(", ")
        );
        Self::seeded(&seed).await
    }

    /// One that holds what a seed (YAML) says.
    pub(crate) async fn seeded(seed: &str) -> Self {
        let simulator = Simulator::new(&Seed::from_yaml(seed).unwrap(), false).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move { simulator.serve(listener, stop).await });
        Self { url, shutdown }
    }

    pub(crate) fn client(&self) -> Client {
        client(&self.url)
    }

    /// The requests that came, oldest first.
    pub(crate) async fn journal(&self) -> Vec<Value> {
        let url = format!("{}/_control/journal", self.url);
        // The bare HTTP library wants a provider for the process; an error means that another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let page: Value = serde_json::from_slice(&http.get(url).send().await.unwrap().bytes().await.unwrap()).unwrap();
        page["entries"].as_array().unwrap().clone()
    }
}
