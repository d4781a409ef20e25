//! Sockets: accepts connections, serves HTTP/1.1 on them, and cuts them where a fault says so.
//! Knows nothing of the API.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::response::Response;
use futures::future::poll_fn;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::Peer;

/// How long running requests may take to end once the server is told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// Put among a response's extensions: send these bytes as they are, close the connection, and
/// forget the response.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) bytes: Bytes,
    /// By RST instead of FIN.
    pub(crate) reset: bool,
}

/// Put among a response's extensions: close the connection this long after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CloseIdle(pub(crate) Duration);

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
enum NoResponse {
    #[error("a fault cut the connection")]
    Cut,
    #[error("the request was given up")]
    GivenUp,
}

/// Serves connections until told to stop, then lets running requests end within [`GRACE`].
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    let mut count = 0;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                count += 1;
                let peer = Peer { connection: count, address };
                connections.spawn(connection(stream, peer, router.clone(), shutdown.clone()));
            }
            Err(error) => {
                // Mostly "too many open files", which only time heals.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    connections.close();
    if timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections are left open");
    }
}

async fn connection(stream: TcpStream, peer: Peer, router: Router, shutdown: CancellationToken) {
    let cut: Arc<Mutex<Option<Cut>>> = Arc::default();
    let closing = CancellationToken::new();
    let service = service_fn({
        let (cut, closing) = (cut.clone(), closing.clone());
        move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            // A task of its own: a request is carried out even where its client leaves.
            let answer = tokio::spawn(TowerToHyperService::new(router.clone()).call(request));
            let (cut, closing) = (cut.clone(), closing.clone());
            Box::pin(async move {
                let Ok(Ok(mut response)) = answer.await else {
                    return Err(NoResponse::GivenUp);
                };
                if let Some(CloseIdle(after)) = response.extensions_mut().remove() {
                    tokio::spawn(async move {
                        sleep(after).await;
                        closing.cancel();
                    });
                }
                match response.extensions_mut().remove::<Cut>() {
                    None => Ok::<Response, NoResponse>(response),
                    found => {
                        *cut.lock().unwrap_or_else(PoisonError::into_inner) = found;
                        Err(NoResponse::Cut)
                    }
                }
            })
        }
    });
    let mut http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = poll_fn(|context| http.poll_without_shutdown(context)) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, connection = peer.connection, "connection ended");
                }
                break;
            }
            () = closing.cancelled() => break,
            () = shutdown.cancelled(), if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut http).graceful_shutdown();
            }
        }
    }
    let stream = http.into_parts().io.into_inner();
    let cut = cut.lock().unwrap_or_else(PoisonError::into_inner).take();
    close(stream, cut, peer.address).await;
}

async fn close(mut stream: TcpStream, cut: Option<Cut>, address: SocketAddr) {
    let closed = match cut {
        Some(cut) => {
            let written = stream.write_all(&cut.bytes).await;
            if cut.reset { written.and(stream.set_zero_linger()) } else { written.and(stream.shutdown().await) }
        }
        None => stream.shutdown().await,
    };
    if let Err(error) = closed {
        tracing::trace!(%error, %address, "the other end closed first");
    }
}
