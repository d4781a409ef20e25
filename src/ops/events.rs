//! Kubernetes Events. They tell; nothing depends on them, so publishing never fails anything.
//!
//! Events of one object, type, action and reason are counted up within minutes of each other, and keep the note of the
//! first. A note must therefore be the same text for the same reason: what changes belongs in a condition's message.
//! Call on transitions only.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::time::timeout;
use tracing::{debug, warn};

/// Who reports, in every event.
const CONTROLLER: &str = "secret-version-operator";

/// Longest note that the apiserver takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Longest that a caller waits. An event is not worth more of a reconcile's time.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether an event is news or a worry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Something was done.
    Normal,
    /// Something needs a person's eyes.
    Warning,
}

/// Events that are remembered, to count up those like them. A recorder keeps each for minutes, of however many objects: a start
/// over thousands would take more memory for what was said than for what is.
const REMEMBERED: usize = 1000;

/// Publishes events.
pub struct Events {
    client: kube::Client,
    reporter: Reporter,
    recorder: Mutex<Remembering>,
}

/// A recorder, and how many events it may remember.
struct Remembering {
    recorder: Recorder,
    events: usize,
}

impl Events {
    /// `instance`: this process's identity, such as its pod's name.
    pub fn new(client: kube::Client, instance: &str) -> Self {
        let reporter =
            Reporter { controller: CONTROLLER.to_owned(), instance: Some(truncated(instance, 128).into_owned()) };
        let recorder = Mutex::new(Remembering { recorder: Recorder::new(client.clone(), reporter.clone()), events: 0 });
        Self { client, reporter, recorder }
    }

    /// A recorder to publish one more event. What it remembers at the most is forgotten at once: events like those begin anew.
    fn recorder(&self) -> Recorder {
        let mut remembering = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if remembering.events == REMEMBERED {
            let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
            *remembering = Remembering { recorder, events: 0 };
        }
        remembering.events += 1;
        remembering.recorder.clone()
    }

    /// Publishes one event about `object`; about one without a namespace in the namespace `default`.
    ///
    /// `reason` and `action` are `CamelCase` words, `note` a sentence for people, cut at 1 KiB. A failure is logged.
    pub async fn publish(&self, object: &ObjectReference, kind: EventKind, reason: &str, action: &str, note: &str) {
        let event = Event {
            type_: match kind {
                EventKind::Normal => EventType::Normal,
                EventKind::Warning => EventType::Warning,
            },
            reason: reason.to_owned(),
            note: Some(truncated(note, MAX_NOTE).into_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        let name = object.name.as_deref().unwrap_or_default();
        let namespace = object.namespace.as_deref().unwrap_or_default();
        match timeout(PATIENCE, self.recorder().publish(&event, object)).await {
            Ok(Ok(())) => {}
            // A namespace that is being deleted takes no events, nor does one that is gone.
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() || status.is_not_found() => {
                debug!(namespace, name, reason, code = status.code, "event refused");
            }
            Ok(Err(kube::Error::Api(status))) => {
                warn!(namespace, name, reason, code = status.code, status = status.reason, "event not published");
            }
            Ok(Err(error)) => warn!(namespace, name, reason, %error, "event not published"),
            Err(_) => warn!(namespace, name, reason, "event not published in time"),
        }
    }
}

/// The longest beginning of `text` within `limit` bytes that ends between characters; an ellipsis marks a cut.
fn truncated(text: &str, limit: usize) -> std::borrow::Cow<'_, str> {
    const MARK: &str = "…";
    if text.len() <= limit {
        return text.into();
    }
    let end = text.floor_char_boundary(limit - MARK.len());
    format!("{}{MARK}", &text[..end]).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    /// A client whose apiserver answers every create with `status` and keeps what it was sent.
    fn client(status: u16) -> (kube::Client, Arc<Mutex<Vec<serde_json::Value>>>) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&sent);
        let service = tower::service_fn(move |request: Request<Body>| {
            let log = Arc::clone(&log);
            async move {
                let bytes = request.into_body().collect_bytes().await?;
                let event: serde_json::Value = serde_json::from_slice(&bytes)?;
                log.lock().unwrap().push(event.clone());
                let answer = if status < 300 {
                    event
                } else {
                    serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
                        "reason": "Broken", "message": "no"})
                };
                let body = Body::from(serde_json::to_vec(&answer)?);
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::builder().status(status).body(body)?)
            }
        });
        (kube::Client::new(service, "default"), sent)
    }

    fn object() -> ObjectReference {
        ObjectReference {
            api_version: Some("secrets.abeja.io/v1alpha1".to_owned()),
            kind: Some("SecretVersion".to_owned()),
            namespace: Some("billing".to_owned()),
            name: Some("db".to_owned()),
            uid: Some("u-1".to_owned()),
            ..ObjectReference::default()
        }
    }

    #[tokio::test]
    async fn what_is_published() {
        let (client, sent) = client(201);
        let events = Events::new(client, "pod-1");
        events.publish(&object(), EventKind::Warning, "SourceNotFound", "Sync", &"ä".repeat(2000)).await;
        let sent = sent.lock().unwrap();
        let event = &sent[0];
        assert_eq!(event["type"], "Warning");
        assert_eq!(event["reason"], "SourceNotFound");
        assert_eq!(event["action"], "Sync");
        assert_eq!(event["reportingController"], CONTROLLER);
        assert_eq!(event["reportingInstance"], "pod-1");
        assert_eq!(event["regarding"]["uid"], "u-1");
        assert!(event["note"].as_str().unwrap().len() <= MAX_NOTE);
    }

    #[tokio::test]
    async fn a_refusal_harms_nobody() {
        for status in [403, 404, 409, 500] {
            let (client, sent) = client(status);
            Events::new(client, "pod-1").publish(&object(), EventKind::Normal, "Synced", "Sync", "done").await;
            assert_eq!(sent.lock().unwrap().len(), 1, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_apiserver_that_hangs_is_not_waited_for() {
        let service = tower::service_fn(|_: Request<Body>| async {
            std::future::pending::<()>().await;
            Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
        });
        let events = Events::new(kube::Client::new(service, "default"), "pod-1");
        let begun = tokio::time::Instant::now();
        events.publish(&object(), EventKind::Normal, "Synced", "Sync", "done").await;
        assert!(begun.elapsed() <= PATIENCE + Duration::from_millis(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn cuts_fall_between_characters() {
        assert_eq!(truncated("short", 10), "short");
        assert_eq!(truncated("exactly ten", 11), "exactly ten");
        assert_eq!(truncated("one too long", 11), "one too …");
        assert_eq!(truncated("ääää", 7), "ää…");
        for limit in 3..40 {
            let cut = truncated("日本語のとても長い文章です", limit);
            assert!(cut.len() <= limit, "{limit}: {cut}");
        }
    }
}
