//! Runs a case and notes what it was answered, in words that do not depend on which server answered.

use std::collections::BTreeMap;
use std::time::Duration;

use fake_apiserver::ApiServer;
use http::Request;
use http_body_util::BodyExt as _;
use kit::ControlPlane;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The definitions that the operator's users install.
pub(crate) const DEFINITIONS: [&str; 3] = [
    include_str!("../../../../crds/secretversions.yaml"),
    include_str!("../../../../crds/abejaconnections.yaml"),
    include_str!("../../../../crds/clusterabejaconnections.yaml"),
];

pub(crate) const SECRETS: &str = "/api/v1/namespaces/{ns}/secrets";
pub(crate) const CONNECTIONS: &str = "/apis/secrets.abeja.io/v1alpha1/namespaces/{ns}/abejaconnections";

/// Longest that a watch is followed for what must come.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a patch is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Merge,
    Json,
    Apply,
}

/// A server, as a case sees it: each answer is noted.
pub(crate) struct Server {
    client: kube::Client,
    /// Where there are no controllers, a case does their work.
    fake: Option<ApiServer>,
    namespace: String,
    notes: Vec<String>,
    seen: Seen,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn version(&self) -> String {
        self.body["metadata"]["resourceVersion"].as_str().expect("an object").to_owned()
    }

    pub(crate) fn uid(&self) -> String {
        self.body["metadata"]["uid"].as_str().expect("an object").to_owned()
    }

    #[track_caller]
    pub(crate) fn is(&self, code: u16, reason: &str) {
        let is = (self.code, self.body["reason"].as_str().unwrap_or_default());
        assert_eq!(is, (code, reason), "{}", self.body);
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(matches!(self.code, 200 | 201), "{} {}", self.code, self.body);
        self
    }
}

impl Server {
    pub(crate) fn fake() -> Self {
        let mut builder = ApiServer::builder().namespace("fake-namespace");
        for definition in DEFINITIONS {
            builder = builder.definitions(definition);
        }
        let fake = builder.start();
        let client = fake.client("anyone").kube("default");
        Self::new(client, Some(fake), "fake-namespace".to_owned())
    }

    pub(crate) async fn real() -> Self {
        static CLIENT: OnceCell<&'static ControlPlane> = OnceCell::const_new();
        let plane = CLIENT
            .get_or_init(|| async {
                let _ = rustls::crypto::ring::default_provider().install_default();
                let plane = ControlPlane::shared().await.expect("a control plane");
                kit::install::crds(plane).await.expect("definitions");
                plane
            })
            .await;
        let config = kube::Config::from_custom_kubeconfig(
            kube::config::Kubeconfig::read_from(plane.kubeconfig_admin()).expect("a kubeconfig"),
            &kube::config::KubeConfigOptions::default(),
        )
        .await
        .expect("a kubeconfig");
        let client = kube::Client::try_from(config).expect("a client");
        let namespace = plane.namespace("conformance").await.expect("a namespace").to_string();
        Self::new(client, None, namespace)
    }

    fn new(client: kube::Client, fake: Option<ApiServer>, namespace: String) -> Self {
        Self { client, fake, namespace, notes: Vec::new(), seen: Seen::default() }
    }

    /// Waits until the controllers have done their work, of which this is the last: the object at the path is gone.
    pub(crate) async fn settled(&mut self, path: &str) {
        self.controlled(path, "is gone", |answer| answer.code == 404).await;
        self.get(path).await.is(404, "NotFound");
    }

    /// The same, where the object is marked as being deleted.
    pub(crate) async fn marked(&mut self, path: &str) {
        let is_marked = |answer: &Answer| answer.body["metadata"]["deletionTimestamp"].is_string();
        self.controlled(path, "is marked", is_marked).await;
    }

    async fn controlled(&self, path: &str, what: &str, done: impl Fn(&Answer) -> bool) {
        let look = async || {
            let read = self.send(self.request("GET", path, None, "application/json", "application/json")).await;
            anyhow::ensure!(done(&read), "{}", read.body);
            Ok(())
        };
        match &self.fake {
            Some(fake) => {
                while fake.collect_garbage() + fake.finalize_namespaces() > 0 {}
                look().await.expect(what);
            }
            None => kit::eventually(PATIENCE, what, look).await.expect("the controllers run"),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What was answered, in order.
    pub(crate) fn notes(self) -> Vec<String> {
        self.notes
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, None, "application/json", "application/json").await
    }

    /// Reads metadata alone.
    pub(crate) async fn meta(&mut self, path: &str) -> Answer {
        self.ask("GET", path, None, "application/json", &partial("")).await
    }

    /// Lists metadata alone.
    pub(crate) async fn metas(&mut self, path: &str) -> Answer {
        self.ask("GET", path, None, "application/json", &partial("List")).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, Some(body), "application/json", "application/json").await
    }

    pub(crate) async fn put(&mut self, path: &str, body: Value) -> Answer {
        self.ask("PUT", path, Some(body), "application/json", "application/json").await
    }

    pub(crate) async fn patch(&mut self, how: Kind, path: &str, body: Value) -> Answer {
        let content_type = match how {
            Kind::Merge => "application/merge-patch+json",
            Kind::Json => "application/json-patch+json",
            Kind::Apply => "application/apply-patch+yaml",
        };
        self.ask("PATCH", path, Some(body), content_type, "application/json").await
    }

    /// Asks, and notes nothing: for what each server names by itself. A PATCH is a merge patch.
    pub(crate) async fn unnoted(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        self.send(self.request(method, path, Some(body.clone()), content_type, "application/json")).await
    }

    /// A further page of a list of metadata.
    pub(crate) async fn page(&mut self, path: &str, token: &str) -> Answer {
        let path = format!("{path}?limit=2&continue={token}");
        let answer = self.send(self.request("GET", &path, None, "application/json", &partial("List"))).await;
        self.note("a further page", answer.code, &answer.body);
        answer
    }

    pub(crate) async fn merge(&mut self, path: &str, body: Value) -> Answer {
        self.patch(Kind::Merge, path, body).await
    }

    pub(crate) async fn delete(&mut self, path: &str, options: Value) -> Answer {
        let options = (!options.is_null()).then_some(options);
        self.ask("DELETE", path, options, "application/json", "application/json").await
    }

    /// The types and objects of the first events of a watch; fewer where it ends before.
    pub(crate) async fn watch(&mut self, path: &str, events: usize) -> Vec<Answer> {
        self.follow(path, events, "application/json").await
    }

    /// The same, of metadata alone.
    pub(crate) async fn watch_metas(&mut self, path: &str, events: usize) -> Vec<Answer> {
        self.follow(path, events, &partial("")).await
    }

    async fn follow(&mut self, path: &str, events: usize, accept: &str) -> Vec<Answer> {
        let request = self.request("GET", path, None, "application/json", accept);
        let response = self.client.send(request.map(kube::client::Body::from)).await.expect("an answer");
        let mut body = response.into_body();
        let (mut text, mut found) = (Vec::new(), Vec::new());
        while found.len() < events {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("the watch tells more");
            let Some(frame) = frame else { break };
            text.extend_from_slice(&frame.expect("the watch goes on").into_data().expect("data"));
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).expect("an event");
                self.note(&format!("watch {path}: {}", event["type"]), 200, &event["object"]);
                found.push(Answer { code: 200, body: event });
            }
        }
        found
    }

    async fn ask(&mut self, method: &str, path: &str, body: Option<Value>, content: &str, accept: &str) -> Answer {
        let answer = self.send(self.request(method, path, body, content, accept)).await;
        self.note(&format!("{method} {path}"), answer.code, &answer.body);
        answer
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Answer {
        let response = self.client.send(request.map(kube::client::Body::from)).await.expect("an answer");
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { code, body }
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        content_type: &str,
        accept: &str,
    ) -> Request<Vec<u8>> {
        Request::builder()
            .method(method)
            .uri(path.replace("{ns}", &self.namespace))
            .header("accept", accept)
            .header("content-type", content_type)
            .header("user-agent", "conformance/1")
            .body(body.map(|body| body.to_string().into_bytes()).unwrap_or_default())
            .expect("a request")
    }

    fn note(&mut self, what: &str, code: u16, body: &Value) {
        let namespace = self.namespace.clone();
        let what = self.seen.plain(&what.replace(&namespace, "NS"));
        let mut body = body.clone();
        if body["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) {
            // Others write to a real server meanwhile.
            body["metadata"]["resourceVersion"] = "".into();
        }
        let body = self.seen.normal(&namespace, &body, "");
        self.notes.push(format!("{what} -> {code} {body}"));
    }
}

fn partial(list: &str) -> String {
    format!("application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1")
}

/// What is called differently by each server, by the order in which it was first seen.
#[derive(Default)]
struct Seen(BTreeMap<String, String>);

impl Seen {
    fn call(&mut self, class: &str, value: &str) -> String {
        let next = format!("<{class} {}>", self.0.len() + 1);
        self.0.entry(value.to_owned()).or_insert(next).clone()
    }

    /// A text without what is particular to one server.
    fn plain(&self, text: &str) -> String {
        // Longer ones first: a number may be within another.
        let mut all: Vec<_> = self.0.iter().filter(|(value, _)| value.len() > 2).collect();
        all.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        all.into_iter().fold(text.to_owned(), |text, (value, name)| text.replace(value.as_str(), name))
    }

    fn normal(&mut self, namespace: &str, value: &Value, field: &str) -> Value {
        match value {
            // The paths of fields are all keys, and no values.
            Value::Object(_) if field == "fieldsV1" => Value::from(value.to_string().replace(namespace, "NS")),
            Value::Object(map) => {
                let normal = map.iter().map(|(key, value)| (key.clone(), self.normal(namespace, value, key)));
                let kept = normal.filter(|(_, value)| !is_empty(value));
                Value::Object(kept.collect())
            }
            Value::Array(list) if field == "causes" => {
                let mut all: Vec<Value> = list.iter().map(|value| self.normal(namespace, value, field)).collect();
                // Some rules are judged twice, or not at all where another was broken; managers are asked in any order.
                all.sort_by_cached_key(Value::to_string);
                all.dedup();
                all.retain(|cause| cause["field"] != "<nil>");
                Value::Array(all)
            }
            Value::Array(list) if field == "managedFields" => {
                let mut all: Vec<Value> = list.iter().map(|value| self.normal(namespace, value, field)).collect();
                // They are in the order of their seconds.
                all.sort_by_cached_key(Value::to_string);
                Value::Array(all)
            }
            Value::Array(list) => list.iter().map(|value| self.normal(namespace, value, field)).collect(),
            Value::String(text) if text.is_empty() => Value::Null,
            Value::String(text) => match field {
                "uid" => self.call("uid", text),
                "resourceVersion" => self.call("version", text),
                "continue" => "<token>".to_owned(),
                _ if text.parse::<jiff::Timestamp>().is_ok() && text.len() > 15 => "<time>".to_owned(),
                "message" => self.plain(&complaint(text).replace(namespace, "NS")),
                _ => self.plain(&text.replace(namespace, "NS")),
            }
            .into(),
            other => other.clone(),
        }
    }
}

/// What is wrong, without the complaints, which stand in the causes and are told in any order.
fn complaint(text: &str) -> String {
    text.split_once("is invalid: ").map_or(text, |(what, _)| what).to_owned()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// Fails where the two servers differ, with the first difference.
pub(crate) fn compare(fake: &[String], real: &[String]) {
    for (fake, real) in fake.iter().zip(real) {
        assert!(fake == real, "they differ:\nfake: {fake}\nreal: {real}");
    }
    assert_eq!(fake.len(), real.len(), "one of them told more");
}

/// A connection, valid and small.
pub(crate) fn connection(name: &str) -> Value {
    json!({
        "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "AbejaConnection", "metadata": {"name": name},
        "spec": {"organizationId": "1", "auth": {"user": {"secretRef": {"name": "user"}}}},
    })
}

/// A Secret with one key.
pub(crate) fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"key": "dmFsdWU="}})
}

/// Makes two tests of a case: against the fake alone, which is quick, and against both.
macro_rules! cases {
    ($($(#[$doc:meta])* $case:ident),* $(,)?) => {
        mod fake {
            $(#[tokio::test(start_paused = true)]
            async fn $case() {
                super::$case(&mut crate::harness::Server::fake()).await;
            })*
        }
        mod real {
            $(#[tokio::test]
            async fn $case() {
                let mut fake = crate::harness::Server::fake();
                super::$case(&mut fake).await;
                let mut real = crate::harness::Server::real().await;
                super::$case(&mut real).await;
                crate::harness::compare(&fake.notes(), &real.notes());
            })*
        }
    };
}
pub(crate) use cases;
