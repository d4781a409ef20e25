//! Identities: each process of a simulated world has one, and can be cut off with it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Response;
use http_body_util::BodyExt as _;
use tokio::sync::watch;
use tower::Service;

use crate::fault::{Fate, Moment};
use crate::http::{self as wire, Body, Request};
use crate::server::{Answer, Shared};
use crate::watch as following;

/// A connection that broke.
#[derive(Debug, thiserror::Error)]
#[error("connection broken by a fault")]
pub struct Broken;

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What becomes of requests that are on their way when their client is severed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// They arrive and take effect.
    Arrive,
    /// They are lost.
    Lost,
}

/// One client of the server, such as one process.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    identity: Arc<Identity>,
}

#[derive(Debug)]
pub(crate) struct Identity {
    name: String,
    severed: watch::Sender<Option<Pending>>,
    pub(crate) watches: watch::Sender<Watches>,
}

/// How the watches of a client are meddled with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Watches {
    /// No event is delivered.
    pub(crate) held: bool,
    /// How often all watches were cut.
    pub(crate) cuts: u64,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>, name: &str) -> Self {
        let identity = Identity {
            name: name.to_owned(),
            severed: watch::Sender::new(None),
            watches: watch::Sender::new(Watches::default()),
        };
        Self { shared, identity: Arc::new(identity) }
    }

    /// The client that code under test uses. Must be called within a runtime of tokio.
    pub fn kube(&self, default_namespace: &str) -> kube::Client {
        kube::Client::new(self.clone(), default_namespace)
    }

    /// Cuts it off: no request of it is answered any more, and what it sends from now on never arrives.
    pub fn sever(&self, pending: Pending) {
        self.identity.severed.send_replace(Some(pending));
    }

    /// Ends a cut. What was cut is not answered.
    pub fn restore(&self) {
        self.identity.severed.send_replace(None);
    }

    /// Keeps back the events of all its watches: its caches fall behind.
    pub fn hold_watches(&self) {
        self.identity.watches.send_modify(|watches| watches.held = true);
    }

    /// Delivers what was kept back.
    pub fn release_watches(&self) {
        self.identity.watches.send_modify(|watches| watches.held = false);
    }

    /// Breaks the connections of all its watches.
    pub fn cut_watches(&self) {
        self.identity.watches.send_modify(|watches| watches.cuts += 1);
    }
}

impl Service<http::Request<kube::client::Body>> for Client {
    type Response = Response<Body>;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Broken>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<kube::client::Body>) -> Self::Future {
        let Self { shared, identity } = self.clone();
        Box::pin(async move {
            let mut severed = identity.severed.subscribe();
            let cut = async { drop(severed.wait_for(Option::is_some).await) };
            tokio::select! {
                biased;
                () = cut => std::future::pending().await,
                answer = serve(&shared, &identity, request) => answer,
            }
        })
    }
}

async fn serve(
    shared: &Arc<Shared>,
    identity: &Arc<Identity>,
    request: http::Request<kube::client::Body>,
) -> Result<Response<Body>, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let request = match Request::parse(&identity.name, &head, body) {
        Ok(request) => request,
        Err(refusal) => return Ok(wire::whole(refusal.code, &refusal.status(), None)),
    };
    let fault = shared.fault(&request);
    let fate = fault.fate.clone();
    let arrival = {
        let (shared, identity, fate) = (shared.clone(), identity.clone(), fate.clone());
        async move {
            if !fault.travel.is_zero() {
                tokio::time::sleep(fault.travel).await;
            }
            if *identity.severed.borrow() == Some(Pending::Lost) {
                return None;
            }
            Some(arrive(&shared, request, &fate))
        }
    };
    // What is on its way arrives, whoever stops waiting for it.
    let answer =
        if fault.travel.is_zero() { arrival.await } else { tokio::spawn(arrival).await.map_err(|_| Broken)? };
    if !fault.back.is_zero() {
        tokio::time::sleep(fault.back).await;
    }
    match (fate, answer) {
        (Fate::Break(_), _) => Err(Broken),
        (Fate::Hang(_), _) | (_, None) => std::future::pending().await,
        (Fate::Truncate, Some(Answer::Whole { code, body, .. })) => Ok(wire::truncated(code, &body)),
        (_, Some(Answer::Whole { code, body, retry_after })) => Ok(wire::whole(code, &body, retry_after)),
        (_, Some(Answer::NoSuchPath)) => Ok(wire::no_such_path()),
        (_, Some(Answer::Watch(watch))) => Ok(following::answer(shared.clone(), identity.clone(), *watch)),
    }
}

/// The request is there: it takes effect, unless its fate says otherwise.
fn arrive(shared: &Arc<Shared>, request: Request, fate: &Fate) -> Answer {
    match fate {
        Fate::Refuse { status, retry_after } => shared.refuse(request, *status, *retry_after),
        Fate::Break(Moment::Before) | Fate::Hang(Moment::Before) => Answer::NoSuchPath,
        Fate::ServeAndRefuse { status } => {
            let _ = shared.handle(request.clone());
            Answer::refusal(*status, None)
        }
        _ => shared.handle(request),
    }
}
