//! The way to the apiserver: each request takes its turn and meets its fate. Refusals that kube's own client tries again
//! are tried again here, for that client is not part of this world.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use tower::Service;

use crate::flaw::Flaw;
use crate::process::Life;
use crate::weather::Kube;
use crate::world::NAMESPACE;

type AnyError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, AnyError>>;

/// How often a refusal that may pass is tried again.
const RETRIES: usize = 4;

/// One client of one life.
#[derive(Clone)]
pub(crate) struct Wire {
    life: Arc<Life>,
    server: fake_apiserver::Client,
    /// The client of the Lease tries each call once.
    lease: bool,
}

/// Nothing came back.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost")]
struct Lost;

impl Wire {
    pub(crate) fn client(life: Arc<Life>, lease: bool) -> kube::Client {
        let server = life.world.apiserver.client(&life.name);
        kube::Client::new(Self { life, server, lease }, NAMESPACE)
    }

    async fn send(self, request: http::Request<Body>) -> Result<Answer, AnyError> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        for tried in 0.. {
            let answer = self.once(&head, body.clone()).await?;
            let passing = matches!(answer.status().as_u16(), 429 | 503 | 504);
            if self.lease || !passing || tried == RETRIES {
                return Ok(answer);
            }
            self.life.world.network.pause(50 << tried).await;
        }
        Err(Lost.into())
    }

    async fn once(&self, head: &http::request::Parts, body: Bytes) -> Result<Answer, AnyError> {
        let world = &self.life.world;
        let what = format!("{} kube {} {}", self.life.name, head.method, path(head));
        let mut rng = world.network.turn(what.clone()).await;
        if self.life.is_dead() {
            return Err(Lost.into());
        }
        world.oracle().sends(&self.life.name, world.network.now());
        let write = head.method != Method::GET;
        let stalled = self.life.lease_stalled.load(Ordering::Relaxed);
        if self.lease && world.network.now() < stalled {
            world.network.pause(stalled - world.network.now()).await;
        }
        if self.lease && write && world.flaw == Flaw::LeaseNotHeeded {
            return Ok(self.pretended(head, body));
        }
        let fate = world.weather.kube(world.network.now(), &mut rng, self.lease, write);
        let (there, back) = match fate {
            Kube::Slow(there, back) => (there, back),
            _ => (rng.u64(1..10), rng.u64(1..10)),
        };
        world.network.pause(there).await;
        match fate {
            Kube::CrashBefore => self.life.kill(),
            Kube::Refuse(code) => {
                world.network.note(&format!("{what} {fate:?}"));
                return Ok(refusal(code));
            }
            _ => {}
        }
        if self.life.is_dead() || fate == Kube::CutBefore {
            world.network.note(&format!("{what} {fate:?}"));
            return Err(Lost.into());
        }
        let told = told(head, &body);
        let sent = if write { world.flaw.write(head, body.clone()) } else { body.clone() };
        let mut request = http::Request::new(Body::from(sent));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        let answer = self.server.clone().call(request).await?;
        let watch = is_watch(head);
        world.network.note(&format!("{what} {} {fate:?}{}", answer.status().as_u16(), told));
        if fate == Kube::CrashAfter {
            self.life.kill();
        }
        let (parts, answer) = answer.into_parts();
        let answer = if watch {
            answer.map_err(AnyError::from).boxed_unsync()
        } else {
            let bytes = answer.collect().await?.to_bytes();
            if write && parts.status.is_success() {
                world.oracle().written(world, &self.life.name, head.uri.path(), &bytes);
            }
            whole(world.flaw.written(&body, bytes))
        };
        world.network.pause(back).await;
        match fate {
            _ if self.life.is_dead() => Err(Lost.into()),
            Kube::CutAfter => Err(Lost.into()),
            Kube::ServeAndRefuse(code) => Ok(refusal(code)),
            _ => Ok(Response::from_parts(parts, answer)),
        }
    }
}

impl Wire {
    /// The answer that a renewal would have.
    fn pretended(&self, head: &http::request::Parts, body: Bytes) -> Answer {
        let path = head.uri.path();
        self.life.world.network.note(&format!("{} only believes that it wrote {path}", self.life.name));
        let mut answer = Response::new(whole(body));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }
}

impl Service<http::Request<Body>> for Wire {
    type Response = Answer;
    type Error = AnyError;
    type Future = BoxFuture<'static, Result<Answer, AnyError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Pin::from(Box::new(self.clone().send(request)))
    }
}

fn is_watch(head: &http::request::Parts) -> bool {
    head.uri.query().is_some_and(|query| query.contains("watch=true"))
}

/// The path as a trace shows it. The name of an event is made of the machine's time.
fn path(head: &http::request::Parts) -> String {
    let path = head.uri.path();
    let path = match path.split_once("/events/") {
        Some((before, _)) => format!("{before}/events/…"),
        None => path.to_owned(),
    };
    if is_watch(head) { format!("{path} watch") } else { path }
}

/// What an Event says.
fn told(head: &http::request::Parts, body: &[u8]) -> String {
    if !head.uri.path().contains("/events") {
        return String::new();
    }
    let event: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    format!(" {}: {}", event["reason"], event["note"])
}

fn whole(bytes: Bytes) -> UnsyncBoxBody<Bytes, AnyError> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn refusal(code: u16) -> Answer {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "a fault", "reason": reason,
        "code": code,
    });
    let mut answer = Response::new(whole(status.to_string().into()));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
