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
    let (subscriber, handle) = subscriber(config, std::io::stderr, std::io::stderr().is_terminal())?;
    subscriber.try_init()?;
    Ok(handle)
}

/// What logs, to any writer, and the handle of its level.
pub fn subscriber<W>(
    config: &LogConfig,
    writer: W,
    colours: bool,
) -> Result<(impl tracing::Subscriber + Send + Sync + use<W>, LogLevelHandle), TelemetryError>
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(&config.level)?);
    let lines = match config.format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
        LogFormat::Text => fmt::layer().with_ansi(colours).with_writer(writer).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines.with_filter(filter_fn(may_be_logged)));
    let current = Arc::new(Mutex::new(config.level.trim().to_owned()));
    Ok((subscriber, LogLevelHandle { filter: handle, current }))
}

impl LogLevelHandle {
    /// One that changes no logging, for tests of what hands it around.
    #[cfg(test)]
    pub(crate) fn detached() -> (Self, reload::Layer<EnvFilter, Registry>) {
        let (layer, filter) = reload::Layer::new(EnvFilter::new("info"));
        (Self { filter, current: Arc::new(Mutex::new("info".to_owned())) }, layer)
    }

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
    // A word that is no level would be taken for a target's name, and silence everything else; nothing, for `error`.
    let known = |word: &str| {
        word.contains(['=', '[']) || (!word.is_empty() && word.parse::<tracing::level_filters::LevelFilter>().is_ok())
    };
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[test]
    fn levels_and_directives() {
        for level in ["info", "DEBUG", "trace", "off", " warn\n", "info,secret_version_operator=debug", "hyper=trace"] {
            assert!(parse(level).is_ok(), "{level}");
        }
        for level in ["", "  ", "loud", "info,", "infos", "info,loud", "a=loud"] {
            let error = parse(level).err().unwrap_or_else(|| panic!("{level:?} accepted"));
            assert!(error.to_string().contains("write error, warn"), "{error}");
        }
    }

    #[test]
    fn a_refused_level_is_repeated_in_part_only() {
        let error = parse(&"x".repeat(10_000)).err().unwrap().to_string();
        assert!(error.len() < 500, "{}", error.len());
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    impl Lines {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
        }
    }

    fn logging(format: LogFormat, level: &str) -> (impl tracing::Subscriber + Send + Sync, LogLevelHandle, Lines) {
        let lines = Lines::default();
        let config = LogConfig { format, level: level.to_owned() };
        let (subscriber, handle) = subscriber(&config, lines.clone(), false).unwrap();
        (subscriber, handle, lines)
    }

    #[test]
    fn json_lines_are_flat_objects() {
        let (subscriber, _, lines) = logging(LogFormat::Json, "info");
        tracing::subscriber::with_default(subscriber, || tracing::info!(name = "db", "synced"));
        let line: serde_json::Value = serde_json::from_str(&lines.take()).unwrap();
        assert_eq!(line["message"], "synced");
        assert_eq!(line["name"], "db");
        assert_eq!(line["level"], "INFO");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }

    #[test]
    fn the_level_changes_while_running() {
        let (subscriber, level, lines) = logging(LogFormat::Text, "warn");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("before");
            level.set("info\n").unwrap();
            tracing::info!("after");
            assert!(level.set("loud").is_err());
            tracing::info!("still");
        });
        let text = lines.take();
        assert!(!text.contains("before") && text.contains("after") && text.contains("still"), "{text}");
        assert_eq!(level.get(), "info");
    }

    #[test]
    fn libraries_are_heard_when_they_are_named() {
        let (subscriber, level, lines) = logging(LogFormat::Text, "trace");
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "hyper::proto", "library");
            tracing::trace!("ours");
            level.set("info,hyper=debug").unwrap();
            tracing::debug!(target: "hyper::proto", "asked for");
        });
        let text = lines.take();
        assert!(!text.contains("library") && text.contains("ours") && text.contains("asked for"), "{text}");
    }

    /// The client logs a body that it cannot read, at a level that is always on.
    #[tokio::test]
    async fn a_secret_that_cannot_be_read_is_not_logged() {
        use k8s_openapi::api::core::v1::Secret;

        let (subscriber, _, lines) = logging(LogFormat::Text, "trace,kube_client=trace,hyper=trace,tower=trace");
        let guard = tracing::subscriber::set_default(subscriber);
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            let secret = r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":7},"data":{"key":"Y2FuYXJ5"}}"#;
            Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(secret.as_bytes().to_vec())))
        });
        let secrets = kube::Api::<Secret>::namespaced(kube::Client::new(service, "default"), "default");
        assert!(matches!(secrets.get("x").await, Err(kube::Error::SerdeError(_))));
        tracing::warn!("something else");
        drop(guard);
        let text = lines.take();
        assert!(text.contains("something else"), "{text}");
        assert!(!text.contains("Y2FuYXJ5"), "{text}");
    }
}
