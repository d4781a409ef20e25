//! Events that say no more than a status does: told one after the other, behind everything else, and left out where there are
//! too many. What only an Event says is not for here: `Ctx::tell` tells it before the pass goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::debug;

use crate::ops::events::EventKind;

use super::context::Ctx;

/// Events that may wait. More of them, as when thousands of resources are new, would say nothing to anybody.
const MOST: usize = 1000;

/// The pause between two of them while resources wait for their turn.
const PACE: Duration = Duration::from_millis(100);

/// One event.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) object: ObjectReference,
    pub(super) kind: EventKind,
    pub(super) reason: String,
    pub(super) note: String,
}

/// Where events wait.
#[derive(Debug)]
pub struct News(Sender<Told>);

impl News {
    /// Nothing waits yet. What is to be told comes out of the other end.
    pub(super) fn new() -> (Self, Receiver<Told>) {
        let (told, waiting) = channel(MOST);
        (Self(told), waiting)
    }

    /// Has an event told, unless too many wait. Answers whether it will be.
    pub(super) fn add(&self, told: Told) -> bool {
        self.0.try_send(told).is_ok()
    }
}

/// Tells what waits, until the process is to stop.
pub(super) async fn run(ctx: Arc<Ctx>, mut waiting: Receiver<Told>) {
    while let Some(Some(told)) = ctx.shutdown.run_until_cancelled(waiting.recv()).await {
        if ctx.backlog.load(Ordering::Relaxed) > 0 {
            debug!(waiting = waiting.len(), "others go first");
            tokio::time::sleep(PACE).await;
        }
        ctx.publish(&told.object, told.kind, &told.reason, &told.note).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_left_out() {
        let (news, mut waiting) = News::new();
        let told = || Told {
            object: ObjectReference::default(),
            kind: EventKind::Normal,
            reason: "Synced".into(),
            note: "in sync".into(),
        };
        assert!((0..MOST).all(|_| news.add(told())));
        assert!(!news.add(told()));
        assert!(waiting.try_recv().is_ok());
        assert!(news.add(told()), "there is room again");
    }
}
