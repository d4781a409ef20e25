//! One request and its answer: the two HTTP clients, timeouts, caps, and what it is that failed. Whatever is asked of
//! this module goes over the wire once at the most; sending again is `retry`'s.

use std::error::Error as _;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method};
use reqwest::redirect;
use rustls::CertificateError;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tracing::Instrument as _;
use url::Url;
use zeroize::Zeroizing;

use super::client::{ClientConfig, Observe};
use super::error::Error;
use super::retry::retry_after;
use super::wire::{self, ErrorBody};
use super::{tls, words};
use crate::host::{Carry, NoAnswer};
use crate::secret::SecretBytes;

/// The longest that a connection may take to be made.
const LONGEST_CONNECT: Duration = Duration::from_secs(10);
/// How long a connection may wait for the next request: less than servers and what stands before them wait.
const IDLE: Duration = Duration::from_secs(20);
/// How many connections may wait.
const MOST_IDLE: usize = 4;
/// A larger error answer is not read for what it says.
const ERROR_LIMIT: usize = 64 * 1024;

/// A larger body takes one of the places for large ones, in bytes.
const LARGE: usize = 1024 * 1024;
/// How many large bodies are held at a time, in the whole process: what a remote sends must not decide how much memory it takes.
static LARGE_PLACES: Semaphore = Semaphore::const_new(2);

/// What is sent.
pub(super) struct Request<'a> {
    pub(super) op: &'static str,
    pub(super) method: Method,
    pub(super) url: Url,
    /// JSON.
    pub(super) body: Option<Bytes>,
    /// The largest answer that is read, in bytes.
    pub(super) limit: usize,
    /// The value within the body: the remote is not to be quoted with it.
    pub(super) value: Option<&'a SecretBytes>,
}

/// Which connection a request takes.
#[derive(Clone, Copy)]
pub(super) enum Line {
    /// One that may have carried others before. The library may send again what a stale connection did not take.
    Shared,
    /// A new one, for this request alone: nothing stale, so nothing that any layer might send again.
    Fresh,
}

/// The HTTP side of a client.
#[derive(Clone)]
pub(super) struct Http {
    way: Way,
    authorization: HeaderValue,
    unspeakable: Arc<[SecretBytes]>,
    observer: Option<Arc<dyn Observe>>,
}

/// What requests go over.
#[derive(Clone)]
enum Way {
    Sockets { shared: reqwest::Client, fresh: reqwest::Client },
    Carrier(Arc<dyn Carry>),
}

impl Way {
    fn sockets(config: &ClientConfig) -> Result<Self, Error> {
        let tls = tls::config(config.ca_bundle.as_deref())?;
        let builder = || {
            let builder = reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .https_only(!config.allow_insecure)
                .http1_only()
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never())
                .no_proxy()
                .no_gzip()
                .no_brotli()
                .no_zstd()
                .no_deflate()
                .referer(false)
                .user_agent(config.user_agent.as_str())
                .connect_timeout((config.timeout / 2).min(LONGEST_CONNECT))
                .timeout(config.timeout);
            // Without it the kernel could go on delivering a request long after it was given up.
            #[cfg(target_os = "linux")]
            let builder = builder.tcp_user_timeout(config.timeout);
            builder
        };
        let built = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|_| Error::Client { what: "its settings were not accepted" })
        };
        Ok(Self::Sockets {
            shared: built(builder().pool_idle_timeout(IDLE).pool_max_idle_per_host(MOST_IDLE))?,
            fresh: built(builder().pool_max_idle_per_host(0))?,
        })
    }

    /// Sends a request once, and waits for its answer for as long as the request says.
    async fn send(&self, op: &'static str, request: reqwest::Request, line: Line) -> Result<reqwest::Response, Error> {
        let client = match (self, line) {
            (Self::Carrier(carrier), _) => return carried(&**carrier, op, request).await,
            (Self::Sockets { shared, .. }, Line::Shared) => shared,
            (Self::Sockets { fresh, .. }, Line::Fresh) => fresh,
        };
        client.execute(request).await.map_err(|error| failure(op, &error))
    }
}

async fn carried(carrier: &dyn Carry, op: &'static str, request: reqwest::Request) -> Result<reqwest::Response, Error> {
    let timeout = request.timeout().copied().unwrap_or(Duration::MAX);
    match tokio::time::timeout(timeout, carrier.carry(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(NoAnswer::NotConnected)) => Err(Error::Connect { op, cause: "refused or unreachable" }),
        Ok(Err(NoAnswer::Cut)) => Err(Error::Cut { op }),
        Err(_) => Err(Error::Timeout { op }),
    }
}

impl Http {
    pub(super) fn new(config: ClientConfig) -> Result<Self, Error> {
        let authorization = config.credential.header()?;
        let way = match &config.carrier {
            Some(carrier) => Way::Carrier(carrier.clone()),
            None => Way::sockets(&config)?,
        };
        Ok(Self {
            way,
            unspeakable: config.credential.unspeakable(&authorization).into(),
            authorization,
            observer: config.observer,
        })
    }

    /// Sends a request, and gives the body of a 2xx answer.
    pub(super) async fn send(&self, request: &Request<'_>, line: Line, timeout: Duration) -> Result<Body, Error> {
        let span = tracing::debug_span!("remote", op = request.op);
        async {
            let begin = Instant::now();
            let result = self.exchange(request, line, timeout).await;
            let (elapsed, outcome) = (begin.elapsed(), result.as_ref().map_or_else(Error::outcome, |_| "ok"));
            let status = result.as_ref().err().and_then(Error::status);
            tracing::debug!(outcome, status, elapsed_ms = elapsed.as_millis(), "request");
            if let Some(observer) = &self.observer {
                observer.request(request.op, outcome, elapsed);
            }
            result
        }
        .instrument(span)
        .await
    }

    async fn exchange(&self, request: &Request<'_>, line: Line, timeout: Duration) -> Result<Body, Error> {
        let mut sent = reqwest::Request::new(request.method.clone(), request.url.clone());
        *sent.timeout_mut() = Some(timeout);
        sent.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        if let Some(body) = &request.body {
            sent.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *sent.body_mut() = Some(body.clone().into());
        }
        let response = self.way.send(request.op, sent, line).await?;
        let status = response.status();
        if status.is_success() {
            return read(request.op, response, request.limit, timeout).await;
        }
        let (op, status) = (request.op, status.as_u16());
        let retry_after = retry_after(response.headers().get(RETRY_AFTER), SystemTime::now());
        // A body that cannot be read takes nothing from the status.
        let body = read(op, response, ERROR_LIMIT, timeout).await;
        let Ok(body) = wire::parse::<ErrorBody>(body.as_deref().unwrap_or_default()) else {
            return Err(Error::Status { op, status, retry_after });
        };
        let unspeakable = self.unspeakable(request.value);
        let description = words::description(&body.error_description.unwrap_or_default(), &unspeakable);
        Err(Error::Api { op, status, code: words::code(&body.error, &unspeakable), description, retry_after })
    }

    /// Everything that was sent and must not be quoted, in each form that it was sent in.
    fn unspeakable(&self, value: Option<&SecretBytes>) -> Vec<SecretBytes> {
        let mut secrets = self.unspeakable.to_vec();
        if let Some(value) = value {
            secrets.push(value.clone());
            secrets.push(SecretBytes::from(value.encode().as_bytes().to_vec()));
        }
        secrets
    }
}

/// A body, in memory that is wiped.
pub(super) struct Body {
    bytes: Zeroizing<Vec<u8>>,
    /// Kept for as long as the memory is.
    _place: Option<SemaphorePermit<'static>>,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a body up to its end. One that turns out large waits for one of the few places that there are for such.
async fn read(
    op: &'static str,
    mut response: reqwest::Response,
    limit: usize,
    timeout: Duration,
) -> Result<Body, Error> {
    let announced = usize::try_from(response.content_length().unwrap_or_default()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Error::TooLarge { op });
    }
    let mut place = None;
    let mut bytes = Zeroizing::new(Vec::with_capacity(announced.min(LARGE)));
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(op, &error))? {
        let length = bytes.len() + chunk.len();
        if length > limit {
            return Err(Error::TooLarge { op });
        }
        if length > LARGE && place.is_none() {
            let found = tokio::time::timeout(timeout, LARGE_PLACES.acquire()).await;
            place = found.map_err(|_| Error::Timeout { op })?.ok();
        }
        // A vector that grows by itself leaves what it held in freed memory.
        if length > bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * bytes.capacity()).min(limit)));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Body { bytes, _place: place })
}

/// What a failure of the HTTP library is to us. Only what it failed to connect with is certain not to have been sent:
/// its "connect" kind covers names, TCP and the TLS handshake, and ends before the request is handed over.
fn failure(op: &'static str, error: &reqwest::Error) -> Error {
    if error.is_connect() {
        if let Some(cause) = tls_cause(error) {
            return Error::Tls { op, cause };
        }
        let cause = if error.is_dns() {
            "the host's name was not resolved"
        } else if error.is_timeout() {
            "it took too long"
        } else {
            "refused or unreachable"
        };
        return Error::Connect { op, cause };
    }
    if error.is_timeout() {
        return Error::Timeout { op };
    }
    if error.is_builder() {
        return Error::Client { what: "a request was not accepted" };
    }
    Error::Cut { op }
}

/// What TLS found wrong, where it was TLS.
fn tls_cause(error: &reqwest::Error) -> Option<&'static str> {
    let mut source = error.source();
    while let Some(error) = source {
        // An I/O error hides the error that it was made from from the chain.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref::<rustls::Error>());
        if let Some(error) = found {
            return Some(match error {
                rustls::Error::InvalidCertificate(error) => certificate_cause(error),
                _ => "the TLS handshake failed",
            });
        }
        source = inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}

fn certificate_cause(error: &CertificateError) -> &'static str {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        UnknownIssuer,
    };
    match error {
        UnknownIssuer => "its certificate is from an unknown issuer",
        NotValidForName | NotValidForNameContext { .. } => "its certificate is for another host",
        Expired | ExpiredContext { .. } => "its certificate is expired",
        NotValidYet | NotValidYetContext { .. } => "its certificate is not valid yet",
        _ => "its certificate is not valid",
    }
}
