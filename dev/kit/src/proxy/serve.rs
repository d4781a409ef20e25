//! Connections: one HTTP/1.1 server a client connection, one client for all towards the apiserver.

use std::io;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::rule::{Action, Moment};
use super::{Request, Script};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Response = hyper::Response<Body>;

/// Where requests go.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) client: reqwest::Client,
    pub(super) server: String,
}

/// Serves until it is aborted, and with it all its connections.
pub(super) async fn serve(listener: TcpListener, upstream: Arc<Upstream>, script: Arc<Script>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Mostly too many open files, which only time heals.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        // Small answers are waited for, one after the other.
        let _ = socket.set_nodelay(true);
        while connections.try_join_next().is_some() {}
        let (upstream, script) = (Arc::clone(&upstream), Arc::clone(&script));
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&upstream), Arc::clone(&script)));
            // An error is a cut, ours or the client's: both are what a test asked for.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

/// An error closes the connection without an answer.
async fn answer(request: hyper::Request<Incoming>, upstream: Arc<Upstream>, script: Arc<Script>) -> Result<Response> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let seen = Request::read(&head.method, head.uri.path(), head.uri.query().unwrap_or_default(), body.to_vec());
    let verdict = script.judge(&seen);
    // A task of its own: once a request is on its way it takes effect, whatever becomes of its client.
    let watched = (seen.verb == "watch").then(|| seen.resource.clone());
    let page = match verdict.as_ref().map(|verdict| &verdict.action) {
        Some(Action::PageSize(size)) => Some(*size),
        _ => None,
    };
    let forward = || tokio::spawn(forward(upstream, script, Forwarded { head, body, watched, page }));
    let Some(verdict) = verdict else {
        return forward().await?;
    };
    match &verdict.action {
        Action::Hold(Moment::Before) => {
            if !verdict.tell(&seen).goes_on().await {
                bail!("cut before it was forwarded");
            }
            forward().await?
        }
        Action::Hold(Moment::After) => {
            let answer = forward().await??;
            if !verdict.tell(&seen).goes_on().await {
                bail!("cut after it took effect");
            }
            Ok(answer)
        }
        Action::Drop(moment) => {
            if *moment == Moment::After {
                forward().await??;
            }
            verdict.tell(&seen);
            bail!("dropped");
        }
        Action::Delay(time) => {
            verdict.tell(&seen);
            tokio::time::sleep(*time).await;
            forward().await?
        }
        Action::Answer { moment, status, retry_after } => {
            if *moment == Moment::After {
                forward().await??;
            }
            verdict.tell(&seen);
            made_up(*status, *retry_after)
        }
        Action::Replay(text) => {
            verdict.tell(&seen);
            json_answer(hyper::StatusCode::OK, None, text.clone())
        }
        Action::PageSize(_) => {
            verdict.tell(&seen);
            forward().await?
        }
    }
}

/// A request on its way to the apiserver.
struct Forwarded {
    head: http::request::Parts,
    body: Bytes,
    /// What is watched, where it is a watch.
    watched: Option<String>,
    /// The page size to ask for instead.
    page: Option<u32>,
}

async fn forward(upstream: Arc<Upstream>, script: Arc<Script>, request: Forwarded) -> Result<Response> {
    let Forwarded { mut head, body, watched, page } = request;
    for name in [HOST, CONNECTION, TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let path = page.map_or_else(|| path.to_owned(), |size| with_page_size(path, size));
    let url = format!("{}{path}", upstream.server);
    let sent = upstream.client.request(head.method, url).headers(head.headers).body(body).send().await;
    let mut answer = match sent {
        Ok(answer) => answer,
        // As without a proxy: the client loses its connection.
        Err(error) => return Err(error).context("the apiserver did not answer"),
    };
    let mut response = hyper::Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = std::mem::take(answer.headers_mut());
        for name in [CONNECTION, TRANSFER_ENCODING] {
            headers.remove(name);
        }
    }
    // A chunk at a time, as it comes: a watch never ends.
    let chunks = match watched.filter(|_| answer.status().is_success()) {
        Some(resource) => {
            let events = script.streams.begin(&resource, answer);
            stream::unfold(events, async |mut events| Some((events.recv().await?, events))).boxed()
        }
        None => stream::try_unfold(answer, async |mut answer| Ok(answer.chunk().await?.map(|chunk| (chunk, answer))))
            .map_err(|error: reqwest::Error| io::Error::other(error))
            .boxed(),
    };
    Ok(response.body(BodyExt::boxed_unsync(StreamBody::new(chunks.map_ok(Frame::data))))?)
}

/// The path with another page size in its query.
fn with_page_size(path: &str, size: u32) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let others = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("limit="));
    let pairs: Vec<String> = others.map(str::to_owned).chain([format!("limit={size}")]).collect();
    format!("{path}?{}", pairs.join("&"))
}

fn made_up(status: u16, retry_after: Option<u32>) -> Result<Response> {
    let status = hyper::StatusCode::from_u16(status)?;
    let reason = match status.as_u16() {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    };
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "a fault of the test", "reason": reason, "code": status.as_u16(),
    });
    json_answer(status, retry_after, body.to_string())
}

fn json_answer(status: hyper::StatusCode, retry_after: Option<u32>, text: String) -> Result<Response> {
    let mut response = hyper::Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    if let Some(seconds) = retry_after {
        response = response.header(RETRY_AFTER, seconds);
    }
    let body = Full::new(Bytes::from(text));
    Ok(response.body(body.map_err(|never| match never {}).boxed_unsync())?)
}
