//! The way to the remote: each request takes its turn, meets its fate, and is carried out even where its sender left.

use std::sync::Arc;

use abeja_simulator::fault::Strike;
use axum::body::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use secret_version_operator::host::{Carry, NoAnswer};

use crate::flaw::{Flaw, changed};
use crate::process::Life;
use crate::weather::Remote;

/// More than any answer of the simulator.
const LARGEST: usize = 1 << 20;

/// Carries the requests of one life.
pub(crate) struct Carrier(pub(crate) Arc<Life>);

impl Carry for Carrier {
    fn carry(&self, request: reqwest::Request) -> BoxFuture<'static, Result<reqwest::Response, NoAnswer>> {
        let life = self.0.clone();
        async move {
            let what = format!("{} remote {} {}", life.name, request.method(), request.url().path());
            let mut rng = life.world.network.turn(what.clone()).await;
            if life.is_dead() {
                return Err(NoAnswer::Cut);
            }
            life.world.oracle().sends(&life.name, life.world.network.now());
            let fate = life.world.weather.remote(life.world.network.now(), &mut rng);
            life.world.network.note(&format!("{what} {fate:?}"));
            // A task of the world: who sent it may be gone before it is carried out.
            let way = (rng.u64(1..30), rng.u64(1..30));
            let again =
                request.try_clone().filter(|_| life.world.flaw == Flaw::BlindRetry && request.method() == "POST");
            let answer = tokio::spawn(go(life.clone(), request, fate, way)).await.unwrap_or(Err(NoAnswer::Cut));
            match (again, &answer) {
                (Some(again), Err(NoAnswer::Cut)) => {
                    tokio::spawn(go(life, again, Remote::Serve, way)).await.unwrap_or(Err(NoAnswer::Cut))
                }
                _ => answer,
            }
        }
        .boxed()
    }
}

async fn go(
    life: Arc<Life>,
    request: reqwest::Request,
    fate: Remote,
    (there, back): (u64, u64),
) -> Result<reqwest::Response, NoAnswer> {
    let world = life.world.clone();
    world.oracle().remote_request(&life, &request);
    world.network.pause(there).await;
    let mut strike = Strike { lag: world.lag(), ..Strike::default() };
    match &fate {
        Remote::Serve | Remote::CrashAfter => {}
        Remote::NotConnected => return Err(NoAnswer::NotConnected),
        Remote::CrashBefore => {
            life.kill();
            return Err(NoAnswer::Cut);
        }
        Remote::Strike(action) => strike.action = Some((**action).clone()),
    }
    let mut request = plain(&request);
    let state = world.flaw.state(&mut request);
    let answer = match world.simulator.answer(request, strike).await {
        None => None,
        Some(response) => {
            let (head, body) = response.into_parts();
            let body = axum::body::to_bytes(body, LARGEST).await.unwrap_or_default();
            let body = world.flaw.list(body);
            let body = state.map_or(body.clone(), |state| changed(&body, |version| version["status"] = state));
            Some(http::Response::from_parts(head, body))
        }
    };
    if matches!(fate, Remote::CrashAfter) {
        life.kill();
    }
    world.network.pause(back).await;
    match answer {
        Some(answer) if !life.is_dead() => Ok(answer.into()),
        _ => Err(NoAnswer::Cut),
    }
}

fn plain(request: &reqwest::Request) -> http::Request<Bytes> {
    let body = request.body().and_then(reqwest::Body::as_bytes).map(Bytes::copy_from_slice).unwrap_or_default();
    let uri = &request.url()[url::Position::BeforePath..];
    let mut plain = http::Request::new(body);
    *plain.method_mut() = request.method().clone();
    *plain.uri_mut() = uri.parse().unwrap_or_default();
    *plain.headers_mut() = request.headers().clone();
    plain
}
