//! A simulator of its own for each test, and a client that can look below HTTP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use abeja_simulator::Simulator;
use abeja_simulator::seed::Seed;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// The organization of [`SEED`].
pub(crate) const ORGANIZATION: &str = "1410000000000";
/// The secret of [`SEED`] that has no version.
pub(crate) const SECRET: &str = "3053595942757";
/// Path of that secret's versions.
pub(crate) const VERSIONS: &str = "/secret-manager/organizations/1410000000000/secrets/3053595942757/versions";
/// Path of the organization's secrets.
pub(crate) const SECRETS: &str = "/secret-manager/organizations/1410000000000/secrets";

/// Two organizations, an empty secret, and credentials of every kind and right.
pub(crate) const SEED: &str = r#"
organizations:
- id: "1410000000000"
  secrets:
  - {id: "3053595942757", name: db-password}
- {id: "1410000000001"}
credentials:
- {name: all, kind: bearer, token: t-all}
- {name: user, kind: user, id: "7", token: t-user}
- {name: datasource, kind: datasource, id: "8", token: t-datasource}
- {name: reader, kind: bearer, token: t-reader, rights: {read_only: true}}
- {name: elsewhere, kind: bearer, token: t-elsewhere, rights: {organizations: ["1410000000001"]}}
- {name: no-list, kind: bearer, token: t-no-list, rights: {refuse_list_secrets: 405}}
"#;

/// A running simulator; it stops when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    shutdown: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Starts a simulator with [`SEED`].
pub(crate) async fn start() -> Running {
    start_with(SEED).await
}

/// Starts a simulator with a seed.
pub(crate) async fn start_with(seed: &str) -> Running {
    let simulator = Simulator::new(&Seed::from_yaml(seed).unwrap(), false).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move { simulator.serve(listener, stop).await });
    Running { address, client: client(), shutdown }
}

/// A client that neither retries nor follows.
pub(crate) fn client() -> Client {
    // An error means that another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap()
}

impl Running {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request with the credential that may do everything.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path)).bearer_auth("t-all")
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.request(Method::PATCH, path).json(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::DELETE, path)).await
    }

    /// Creates a version with this value (base64), and gives its id.
    pub(crate) async fn create(&self, value: &str) -> String {
        let (status, version) = self.post(VERSIONS, json!({ "value": value })).await;
        assert_eq!(status, 200, "{version}");
        version["id"].as_str().unwrap().to_owned()
    }

    /// Adds a fault, and gives its id.
    pub(crate) async fn fault(&self, fault: Value) -> u64 {
        let (status, added) = self.post("/_control/faults", fault).await;
        assert_eq!(status, 201, "{added}");
        added["id"].as_u64().unwrap()
    }

    /// Values (base64) that the first secret really has, oldest first.
    pub(crate) async fn values(&self) -> Vec<String> {
        let (_, state) = self.get("/_control/state").await;
        state["organizations"][0]["secrets"][0]["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|version| version["value"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) async fn journal(&self) -> Vec<Value> {
        let (_, page) = self.get("/_control/journal").await;
        page["entries"].as_array().unwrap().clone()
    }

    /// Sends a request over a connection of its own, and gives what comes back until its end.
    pub(crate) async fn raw(&self, request: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

/// A `POST` that creates the version `YQ==`, as bytes.
pub(crate) fn raw_create() -> String {
    let body = r#"{"value":"YQ=="}"#;
    format!(
        "POST {VERSIONS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t-all\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Status and JSON of an answer; null where the body is no JSON.
pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response: Response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// Waits until a look shows what is wanted, at most five seconds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let start = Instant::now();
    while !look().await {
        assert!(start.elapsed() < Duration::from_secs(5), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
