//! The HTTP servers: one for metrics, one for probes, or one for both where their addresses are equal.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Health, Verdict};
use crate::config::BindAddress;
use crate::ops::metrics::{CONTENT_TYPE, Metrics};
use crate::ops::telemetry::LogLevelHandle;

/// How long requests under way may take after shutdown: a scrape is quick, and the Lease waits for nobody.
const DRAIN: Duration = Duration::from_secs(2);

/// Longest body of a change of the log level.
const MAX_BODY: usize = 4096;

/// Why the servers could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({flag}): is another process there? Choose another address, or 0 for none")]
    Bind {
        /// The flag to change.
        flag: &'static str,
        /// What it says.
        address: BindAddress,
        /// Why.
        source: std::io::Error,
    },
}

/// Servers that listen, and answer once they are run.
#[derive(Debug)]
pub struct Servers {
    listening: Vec<(TcpListener, Router)>,
    metrics_address: Option<SocketAddr>,
    health_address: Option<SocketAddr>,
}

impl Servers {
    /// Listens. A taken address is an error here, before anything else is begun.
    pub async fn bind(
        metrics_address: BindAddress,
        health_address: BindAddress,
        metrics: Metrics,
        health: Health,
        log_level: LogLevelHandle,
    ) -> Result<Self, ServeError> {
        let metrics = metrics_routes(metrics);
        let health = health_routes(health, log_level);
        let mut servers = Self { listening: Vec::new(), metrics_address: None, health_address: None };
        // Port 0 is another port each time, so equal addresses with it are not one.
        if metrics_address == health_address && port(metrics_address) != Some(0) {
            servers.metrics_address =
                servers.add("--metrics-bind-address", metrics_address, metrics.merge(health)).await?;
            servers.health_address = servers.metrics_address;
        } else {
            servers.metrics_address = servers.add("--metrics-bind-address", metrics_address, metrics).await?;
            servers.health_address = servers.add("--health-probe-bind-address", health_address, health).await?;
        }
        Ok(servers)
    }

    async fn add(
        &mut self,
        flag: &'static str,
        address: BindAddress,
        routes: Router,
    ) -> Result<Option<SocketAddr>, ServeError> {
        let fail = |source| ServeError::Bind { flag, address, source };
        let Some(listener) = listen(address).await.map_err(fail)? else { return Ok(None) };
        let local = listener.local_addr().map_err(fail)?;
        info!(flag, address = %local, "listening");
        self.listening.push((listener, routes));
        Ok(Some(local))
    }

    /// Where metrics are served. Absent: nowhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Where probes are served. Absent: nowhere.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health_address
    }

    /// Answers until `shutdown`; requests under way then get a moment to end.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut running = JoinSet::new();
        for (listener, routes) in self.listening {
            let ends = shutdown.clone().cancelled_owned();
            let service = routes.into_make_service_with_connect_info::<SocketAddr>();
            let server = axum::serve(listener, service).with_graceful_shutdown(ends);
            running.spawn(server.into_future());
        }
        shutdown.cancelled().await;
        let drained = async { while running.join_next().await.is_some() {} };
        if timeout(DRAIN, drained).await.is_err() {
            warn!("connections to probes or metrics were cut at shutdown");
        }
    }
}

async fn listen(address: BindAddress) -> std::io::Result<Option<TcpListener>> {
    match address {
        BindAddress::Disabled => Ok(None),
        BindAddress::Address(address) => TcpListener::bind(address).await.map(Some),
        BindAddress::AnyAddress(port) => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
                // A machine without IPv6.
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.map(Some)
            }
            listener => listener.map(Some),
        },
    }
}

fn port(address: BindAddress) -> Option<u16> {
    match address {
        BindAddress::Disabled => None,
        BindAddress::AnyAddress(port) => Some(port),
        BindAddress::Address(address) => Some(address.port()),
    }
}

fn metrics_routes(metrics: Metrics) -> Router {
    let scrape = async |State(metrics): State<Metrics>| ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.encode());
    Router::new().route("/metrics", get(scrape)).with_state(metrics)
}

fn health_routes(health: Health, log_level: LogLevelHandle) -> Router {
    let probes = Router::new()
        .route("/livez", get(async |State(h): State<Health>, query| answer(&h.live(), "livez", &query)))
        .route("/readyz", get(async |State(h): State<Health>, query| answer(&h.ready(), "readyz", &query)))
        .with_state(health);
    let level = Router::new()
        .route("/log-level", get(show_level).put(change_level))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(log_level);
    probes.merge(level)
}

#[derive(Debug, Deserialize)]
struct ProbeQuery {
    verbose: Option<String>,
}

fn answer(verdict: &Verdict, probe: &str, query: &Query<ProbeQuery>) -> (StatusCode, String) {
    let status = if verdict.passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // A failed probe always says why: the kubelet puts the body into an event.
    let text = if verdict.passed && query.verbose.is_none() { "ok".to_owned() } else { verdict.describe(probe) };
    (status, text)
}

/// Whether the caller is on this machine. An IPv4 caller looks like an IPv6 one on a socket of both families.
fn is_local(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

fn only_local() -> Response {
    let text = "the log level is for callers on the same machine: try kubectl port-forward\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

async fn show_level(ConnectInfo(peer): ConnectInfo<SocketAddr>, State(level): State<LogLevelHandle>) -> Response {
    if is_local(peer) { format!("{}\n", level.get()).into_response() } else { only_local() }
}

async fn change_level(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    State(level): State<LogLevelHandle>,
    body: String,
) -> Response {
    if !is_local(peer) {
        return only_local();
    }
    match level.set(&body) {
        Ok(()) => {
            let level = level.get();
            info!(level, "log level changed");
            format!("{level}\n").into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests;
