//! A request's way through the simulator: journal, fault, execution, answer.
//! The only place that carries faults out; what each call does is the business of `execute`.

use std::convert::Infallible;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request as HttpRequest, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::call::{Call, Operation};
use crate::control;
use crate::execute::{Bend, Outcome, Request, execute};
use crate::fault::{
    Action, DelayPoint, DropFault, DropPoint, ErrorBody, LateCommitFault, Malformation, PageShift, StatusFault, Strike,
    Subject,
};
use crate::journal::{self, Entry, Raw};
use crate::server::{CloseIdle, Cut};
use crate::spoil::spoil;
use crate::store::SecretPath;
use crate::wire::{Answer, ApiError};
use crate::world::{Peer, Simulator, World};

/// A larger request body is answered 413.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// Everything that the simulator answers.
pub(crate) fn router(simulator: Simulator) -> Router {
    Router::new().nest("/_control", control::router()).fallback(handle).with_state(simulator)
}

async fn handle(
    State(simulator): State<Simulator>,
    Extension(peer): Extension<Peer>,
    request: HttpRequest,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        return Answer::from(error).into_response();
    };
    let visit = Visit::begin(simulator, peer, read(parts, &body), None);
    let reply = visit.proceed().await;
    visit.finish(&reply);
    reply.into_response()
}

/// The same for a request that came by no connection: under the faults that are given with it and no others.
pub(crate) async fn answer(simulator: Simulator, request: HttpRequest<Bytes>, strike: Strike) -> Option<Response> {
    let (parts, body) = request.into_parts();
    let visit = Visit::begin(simulator, Peer::HERE, read(parts, &body), Some(strike));
    let reply = visit.proceed().await;
    visit.finish(&reply);
    (!matches!(reply, Reply::Cut(_))).then(|| reply.into_response())
}

fn read(parts: Parts, body: &Bytes) -> Arc<Request> {
    Arc::new(Request {
        call: Call::parse(&parts.method, &parts.uri),
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        body: body.to_vec(),
    })
}

/// What the client gets.
enum Reply {
    Answer(Answer),
    /// The connection is closed, after these bytes where there are some.
    Cut(Cut),
    /// The body follows a byte at a time.
    Trickle(Answer, Duration),
    /// The body is followed by this many spaces.
    Oversize(Answer, u64),
    /// The connection is closed this long after the answer.
    CloseIdle(Answer, Duration),
}

/// One request on its way.
struct Visit {
    simulator: Simulator,
    request: Arc<Request>,
    seq: u64,
    generation: u64,
    strike: Strike,
}

impl Visit {
    /// Enters the request in the journal, and asks the faults what is to become of it.
    fn begin(simulator: Simulator, peer: Peer, request: Arc<Request>, given: Option<Strike>) -> Self {
        let mut entry = entry_for(&request, peer, simulator.now());
        let (seq, generation, strike) = {
            let mut world = simulator.lock();
            let subject =
                Subject { method: &request.method, path: request.uri.path(), call: request.call.as_ref().ok() };
            let strike = given.unwrap_or_else(|| world.faults.strike(subject, Instant::now()));
            entry.faults.clone_from(&strike.ids);
            entry.credential = world.credentials.identify(&request.headers).map(|known| known.name.clone());
            if simulator.keeps_raw() {
                entry.raw = Some(Raw::new(&request.headers, &request.body));
            }
            (world.journal.push(entry), world.generation, strike)
        };
        Self { simulator, request, seq, generation, strike }
    }

    async fn proceed(&self) -> Reply {
        if let Some(seconds) = self.strike.limited {
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too many requests");
            let mut answer = Answer::from(error);
            answer.headers.insert(header::RETRY_AFTER, seconds.into());
            return Reply::Answer(answer);
        }
        let Some(action) = &self.strike.action else {
            return Reply::Answer(self.execute());
        };
        match action {
            Action::Status(fault) => {
                if fault.committed {
                    self.execute();
                }
                Reply::Answer(made_up(fault))
            }
            Action::Delay(delay) => {
                if delay.at == DelayPoint::BeforeCommit {
                    sleep(delay.duration.0).await;
                    return Reply::Answer(self.execute());
                }
                let answer = self.execute();
                sleep(delay.duration.0).await;
                Reply::Answer(answer)
            }
            Action::Drop(fault) => Reply::Cut(self.drop(fault)),
            Action::Malformed(malformation) => {
                let mut answer = self.execute();
                if answer.status.is_success() {
                    answer.body = spoil(*malformation, &answer.body);
                }
                Reply::Answer(answer)
            }
            Action::Trickle(fault) => Reply::Trickle(self.execute(), fault.pause.0),
            Action::Oversize(fault) if fault.gzip => Reply::Answer(compressed(self.execute(), fault.bytes)),
            Action::Oversize(fault) => Reply::Oversize(self.execute(), fault.bytes),
            Action::LateCommit(fault) => self.commit_late(fault),
            Action::PageShift(shift) => {
                let answer = self.execute();
                self.shift(*shift, &answer);
                Reply::Answer(answer)
            }
            Action::CloseIdle(fault) => Reply::CloseIdle(self.execute(), fault.after.0),
            // Both were seen to before.
            Action::ListLag(_) | Action::RateLimit(_) => Reply::Answer(self.execute()),
        }
    }

    /// Carries the request out now, as far as the faults let it see.
    fn execute(&self) -> Answer {
        let now = self.simulator.now();
        let bend = Bend {
            until: (!self.strike.lag.is_zero()).then(|| now.checked_sub(self.strike.lag).unwrap_or(Timestamp::MIN)),
            from_start: matches!(self.strike.action, Some(Action::Malformed(Malformation::RepeatFirstPage))),
        };
        carry_out(&self.simulator, self.generation, self.seq, &self.request, bend)
            .unwrap_or_else(|| ApiError::not_found("the simulator was reset meanwhile").into())
    }

    fn drop(&self, fault: &DropFault) -> Cut {
        let bytes = match fault.at {
            DropPoint::BeforeCommit => Vec::new(),
            DropPoint::AfterCommit => {
                self.execute();
                Vec::new()
            }
            DropPoint::InsideHeaders => {
                let (head, _) = head_and_body(&self.execute());
                head[..head.len() / 2].to_vec()
            }
            DropPoint::InsideBody => {
                let answer = self.execute();
                let (head, body) = head_and_body(&answer);
                [&head, &body[..body.len() / 2]].concat()
            }
        };
        Cut { bytes: bytes.into(), reset: fault.reset }
    }

    fn commit_late(&self, fault: &LateCommitFault) -> Reply {
        let (simulator, request) = (self.simulator.clone(), self.request.clone());
        let (generation, seq, after) = (self.generation, self.seq, fault.after.0);
        tokio::spawn(async move {
            sleep(after).await;
            carry_out(&simulator, generation, seq, &request, Bend::default());
        });
        match fault.code.map(StatusCode::from_u16) {
            Some(Ok(status)) => Reply::Answer(ApiError::new(status, "a fault of the simulator").into()),
            _ => Reply::Cut(Cut { bytes: Bytes::new(), reset: false }),
        }
    }

    /// Moves the list under a client that is reading it page by page.
    fn shift(&self, shift: PageShift, answer: &Answer) {
        let Ok(call) = &self.request.call else {
            return;
        };
        let shown: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let first = |rows: &str| shown[rows][0]["id"].as_str().unwrap_or_default().to_owned();
        let organization = call.organization_id.as_str();
        let path = |secret| SecretPath { organization, secret };
        let now = self.simulator.now();
        let store = &mut self.simulator.lock().store;
        let shifted = match (call.operation, shift) {
            (Operation::ListVersions, PageShift::Insert) => {
                store.create_version(path(&call.secret_id), b"page shift".to_vec(), false, now).map(drop)
            }
            (Operation::ListVersions, PageShift::Delete) => {
                store.delete_version(path(&call.secret_id), &first("versions")).map(drop)
            }
            (Operation::ListSecrets, PageShift::Insert) => {
                store.create_secret(organization, "page-shift", now).map(drop)
            }
            (Operation::ListSecrets, PageShift::Delete) => store.delete_secret(path(&first("secrets"))),
            _ => Ok(()),
        };
        if let Err(error) = shifted {
            tracing::warn!(reason = error.description, "the page did not shift");
        }
    }

    fn finish(&self, reply: &Reply) {
        let status = match reply {
            Reply::Cut(_) => None,
            Reply::Answer(answer)
            | Reply::Trickle(answer, _)
            | Reply::Oversize(answer, _)
            | Reply::CloseIdle(answer, _) => Some(answer.status.as_u16()),
        };
        tracing::debug!(
            seq = self.seq,
            method = %self.request.method,
            path = self.request.uri.path(),
            status,
            faults = ?self.strike.ids,
            "request"
        );
        if let Some(entry) = self.simulator.lock().journal.get_mut(self.seq) {
            entry.status = status;
            entry.finished = true;
        }
    }
}

/// Executes a request and notes the outcome in its journal entry; `None`, and nothing done, where
/// the simulator was reset since the request came.
fn carry_out(simulator: &Simulator, generation: u64, seq: u64, request: &Request, bend: Bend) -> Option<Answer> {
    let now = simulator.now();
    let world: &mut World = &mut simulator.lock();
    if world.generation != generation {
        return None;
    }
    let Outcome { answer, committed, created } = execute(&mut world.store, &world.credentials, request, bend, now);
    if let Some(entry) = world.journal.get_mut(seq) {
        entry.committed |= committed;
        entry.version_id = created.or(entry.version_id.take());
    }
    Some(answer)
}

fn entry_for(request: &Request, peer: Peer, now: Timestamp) -> Entry {
    let call = request.call.as_ref().ok();
    let id = |of: fn(&Call) -> &String| call.map(of).filter(|id| !id.is_empty()).cloned();
    Entry {
        seq: 0,
        at: now,
        connection: peer.connection,
        method: request.method.to_string(),
        path: request.uri.path().to_owned(),
        query: request.uri.query().unwrap_or_default().to_owned(),
        operation: call.map(|call| call.operation),
        organization_id: id(|call| &call.organization_id),
        secret_id: id(|call| &call.secret_id),
        version_id: id(|call| &call.version_id),
        credential_presented: request.headers.contains_key(header::AUTHORIZATION),
        credential: None,
        headers: journal::telling_headers(&request.headers),
        body_length: request.body.len(),
        body_sha256: journal::digest(&request.body),
        faults: Vec::new(),
        finished: false,
        status: None,
        committed: false,
        raw: None,
    }
}

fn made_up(fault: &StatusFault) -> Answer {
    // The status was checked when the fault was added.
    let status = StatusCode::from_u16(fault.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = match fault.body {
        ErrorBody::Json => ApiError::new(status, "a fault of the simulator").into(),
        ErrorBody::Html => {
            let reason = status.canonical_reason().unwrap_or("Unknown");
            let page = format!("<html><body><h1>{} {reason}</h1></body></html>", status.as_u16());
            Answer::new(status, "text/html", page)
        }
        ErrorBody::Empty => Answer::new(status, "text/plain", ""),
    };
    if let Some(seconds) = fault.retry_after {
        answer.headers.insert(header::RETRY_AFTER, seconds.into());
    }
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            answer.headers.insert(name, value);
        }
    }
    answer
}

/// An answer with this many spaces behind it, as a gzip bomb.
fn compressed(mut answer: Answer, spaces: u64) -> Answer {
    let mut unpacked = answer.body.as_slice().chain(io::repeat(b' ').take(spaces));
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    // Neither end of it can fail: both are memory.
    let _ = io::copy(&mut unpacked, &mut packed);
    answer.body = packed.finish().unwrap_or_default();
    answer.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    answer
}

/// The bytes of an answer as they would go over the socket.
fn head_and_body(answer: &Answer) -> (Vec<u8>, &[u8]) {
    let mut head = format!("HTTP/1.1 {}\r\n", answer.status).into_bytes();
    for (name, value) in &answer.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(format!("content-length: {}\r\n\r\n", answer.body.len()).as_bytes());
    (head, &answer.body)
}

impl Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Answer(answer) => answer.into_response(),
            Self::Cut(cut) => {
                // Never sent: the server meets the extension first.
                let mut response = StatusCode::BAD_GATEWAY.into_response();
                response.extensions_mut().insert(cut);
                response
            }
            Self::Trickle(answer, pause) => {
                let length = answer.body.len();
                let bytes = stream::iter(answer.body).then(move |byte| async move {
                    sleep(pause).await;
                    Ok::<_, Infallible>(Bytes::from(vec![byte]))
                });
                let mut response = (answer.status, answer.headers, Body::from_stream(bytes)).into_response();
                response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
                response
            }
            Self::Oversize(answer, bytes) => {
                let first = Bytes::from(answer.body);
                let padding = stream::unfold(bytes, |left| async move {
                    let size = left.min(64 * 1024);
                    let chunk = Bytes::from(vec![b' '; usize::try_from(size).unwrap_or(0)]);
                    (size > 0).then_some((chunk, left - size))
                });
                let body = stream::once(async { first }).chain(padding).map(Ok::<_, Infallible>);
                (answer.status, answer.headers, Body::from_stream(body)).into_response()
            }
            Self::CloseIdle(answer, after) => {
                let mut response = answer.into_response();
                response.extensions_mut().insert(CloseIdle(after));
                response
            }
        }
    }
}
