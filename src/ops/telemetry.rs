//! Logs: to standard error, as text or JSON, at a level that can be changed while running.
//!
//! What may never be logged is kept out here as well, whatever level is asked for: see [`may_be_logged`].

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Metadata;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt};

use crate::cli::LogFormat;
use crate::config::LogConfig;

/// What libraries may say unless they are named: their debugging is rarely the user's.
const LIBRARIES: &str = "kube=info,kube_client=info,kube_runtime=info,hyper=warn,hyper_util=warn,h2=warn,reqwest=warn,\
    rustls=warn,tower=warn,axum=info";

/// Why logging could not start, or its level not be changed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Not a level, nor directives.
    #[error(
        "{0:?} is not a log level: write error, warn, info, debug, trace or off, or tracing directives such as \
         info,secret_version_operator=debug"
    )]
    Level(String),
    /// Logging was started before.
    #[error("logging was started before")]
    Started(#[from] TryInitError),
    /// The process is ending.
    #[error("logging has ended")]
    Ended(#[from] reload::Error),
}

/// Reads and changes the log level while running.
#[derive(Clone, Debug)]
pub struct LogLevelHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    current: Arc<Mutex<String>>,
}

/// Starts logging. To be called once, before anything is worth logging.
pub fn init(config: &LogConfig) -> Result<LogLevelHandle, TelemetryError> {
    let (filter, handle) = reload::Layer::new(parse(&config.level)?);
    let writer = std::io::stderr;
    let lines = match config.format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
        LogFormat::Text => fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(writer).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines.with_filter(filter_fn(may_be_logged))).try_init()?;
    Ok(LogLevelHandle { filter: handle, current: Arc::new(Mutex::new(config.level.trim().to_owned())) })
}

impl LogLevelHandle {
    /// The level or directives in force, as they were given.
    pub fn get(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another level, or other directives, in force.
    pub fn set(&self, level: &str) -> Result<(), TelemetryError> {
        let level = level.trim();
        let filter = parse(level)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(filter)?;
        level.clone_into(&mut current);
        Ok(())
    }
}

/// A bare level is for our own lines; libraries stay at theirs until they are named.
fn parse(level: &str) -> Result<EnvFilter, TelemetryError> {
    let refused = || TelemetryError::Level(level.chars().take(200).collect());
    let level = level.trim();
    if level.is_empty() {
        return Err(refused());
    }
    // A word that is no level would be taken for a target's name, and silence everything else.
    let known = |word: &str| word.contains(['=', '[']) || word.parse::<tracing::level_filters::LevelFilter>().is_ok();
    if !level.split(',').all(known) {
        return Err(refused());
    }
    EnvFilter::builder().parse(format!("{LIBRARIES},{level}")).map_err(|_| refused())
}

/// Whether a line may be written at any level at all.
///
/// The Kubernetes client logs the whole body of an answer that it cannot read, and that may be a Secret. Its lines about
/// requests come from another module and stay.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() || metadata.target() != "kube_client::client"
}
