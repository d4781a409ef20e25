//! Guards around one pass: what is unreadable, panics or hangs harms only itself.

use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kube::Resource;
use kube::core::DeserializeGuard;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::domain::backoff;
use crate::domain::class::Class;
use crate::domain::reason::Reason;
use crate::domain::step::Event;

use super::context::Ctx;
use super::error::Error;
use super::index::Key;
use super::queue::Requeue;

/// The longest that a pass may take. A create and its retries, with the longest timeouts that a connection may set, end
/// well before.
const LONGEST: Duration = Duration::from_mins(10);

/// How soon an object is looked at again after somebody else wrote first.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);

/// How long a resource waits to be woken before it asks again: nobody is to wait for what went astray.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Runs one pass behind the guards, counts it, and turns its failure into a time to come back.
pub(super) async fn guarded<K, F>(
    object: Arc<DeserializeGuard<K>>,
    ctx: Arc<Ctx>,
    kind: &'static str,
    pass: F,
) -> Result<Requeue, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
    F: Future<Output = Result<Requeue, Error>>,
{
    let began = Instant::now();
    let in_flight = ctx.metrics.reconcile_begins(kind);
    let outcome = if object.0.is_err() && !ctx.shard.speaks_for(kind, &Key::of(&*object).to_string()) {
        Err(Error::Elsewhere)
    } else if object.0.is_err() {
        unreadable(&*object, &ctx, kind).await;
        Err(Error::Unreadable)
    } else {
        match tokio::time::timeout(LONGEST, AssertUnwindSafe(Box::pin(pass)).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::Panic),
            Err(_) => Err(Error::Timeout(LONGEST)),
        }
    };
    drop(in_flight);
    let word = match &outcome {
        Ok(_) => "success",
        Err(Error::Gone) => "gone",
        Err(Error::Conflict) => "conflict",
        Err(Error::Waiting) => "waiting",
        Err(Error::Elsewhere) => "elsewhere",
        Err(_) => "error",
    };
    ctx.metrics.reconciled(kind, word, began.elapsed());
    if let Err(error) = &outcome {
        report(error, &ctx, kind);
    }
    outcome
}

fn report(failure: &Error, ctx: &Ctx, kind: &'static str) {
    match failure {
        Error::Gone => debug!("the object is gone"),
        Error::Conflict => debug!("somebody else wrote first; looking again"),
        Error::Waiting => debug!("waiting for a page of the remote"),
        Error::Elsewhere => debug!("another shard looks after it"),
        Error::LeaseLost => info!("not acting any more: the Lease is lost"),
        Error::Panic => {
            ctx.metrics.reconcile_panic(kind);
            error!("the pass panicked");
        }
        Error::Unreadable => {}
        other => warn!(reason = other.reason().as_str(), "{other}"),
    }
    if !matches!(failure, Error::Gone | Error::Conflict | Error::Waiting | Error::Elsewhere) {
        ctx.metrics.reconcile_error(kind, failure.class(), failure.reason());
    }
}

/// An object that does not fit its schema: its event says so, and nothing else is done with it.
async fn unreadable<K: Resource<DynamicType = ()>>(object: &DeserializeGuard<K>, ctx: &Ctx, kind: &'static str) {
    ctx.metrics.unparsable(kind);
    let Err(invalid) = &object.0 else { return };
    let meta = &invalid.metadata;
    warn!(namespace = meta.namespace, name = meta.name, "the object does not fit its schema and is skipped");
    let mut reference = k8s_openapi::api::core::v1::ObjectReference {
        kind: Some(K::kind(&()).into_owned()),
        api_version: Some(K::api_version(&()).into_owned()),
        ..Default::default()
    };
    (reference.name, reference.namespace) = (meta.name.clone(), meta.namespace.clone());
    (reference.uid, reference.resource_version) = (meta.uid.clone(), meta.resource_version.clone());
    let note = "the resource does not fit the schema of this operator and is left alone; install the operator's definitions \
                (CRDs) and correct it; while it is being deleted, remove its finalizer by hand if nothing at the remote is to go";
    ctx.tell(&reference, &Event::warning(Reason::InvalidResource, note)).await;
}

/// When to come back after a pass that ended with an error, as one of so many in a row: later each time, lest everybody ask
/// an apiserver at once that is busy, but soon enough once it is well again.
pub(super) fn after_error(error: &Error, uid: &str, failures: u32) -> Requeue {
    match error {
        Error::Gone | Error::Elsewhere => Requeue::OnChange,
        Error::Conflict => Requeue::After(AFTER_CONFLICT),
        Error::Waiting => Requeue::After(LONGEST_WAIT),
        Error::Unreadable => Requeue::After(backoff::LONGEST),
        other => Requeue::After(match other.class() {
            Class::Throttled(after) => after.max(backoff::delay(doublings(failures), uid)),
            Class::Bug => backoff::delay(6, uid),
            _ => backoff::delay(doublings(failures), uid),
        }),
    }
}

/// From about four seconds to about half a minute.
fn doublings(failures: u32) -> u32 {
    failures.clamp(1, 4) + 1
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn who_is_refused_comes_back_later_each_time_but_not_too_late() {
        let refused = |code: u16| {
            let reason = if code == 409 { "Conflict" } else { "" }.to_owned();
            let status = Status { code, reason, ..Status::default() };
            Error::kube("writing the status", kube::Error::Api(Box::new(status)))
        };
        let wait = |error: &Error, failures| format!("{:?}", after_error(error, "uid", failures));
        let expected = |doublings| format!("{:?}", Requeue::After(backoff::delay(doublings, "uid")));
        for code in [429, 500, 503, 504] {
            for (failures, doublings) in [(0, 2), (1, 2), (2, 3), (3, 4), (4, 5), (5, 5), (100, 5)] {
                assert_eq!(wait(&refused(code), failures), expected(doublings), "{code}, {failures} failures");
            }
        }
        assert_eq!(wait(&refused(409), 100), format!("{:?}", Requeue::After(AFTER_CONFLICT)));
        let status = serde_json::json!({"code": 429, "details": {"retryAfterSeconds": 40}});
        let status: Status = serde_json::from_value(status).unwrap();
        let busy = Error::kube("writing the status", kube::Error::Api(Box::new(status)));
        assert_eq!(wait(&busy, 1), format!("{:?}", Requeue::After(Duration::from_secs(40))), "as long as it asked for");
    }
}
