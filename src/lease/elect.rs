//! The candidate: watches the record, takes it, keeps it, gives it up. Decides nothing by itself.
//!
//! A Lease is held by one process, or shared: then its holder is a group, every member renews it, and who leaves lets it be.

use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, error, info, warn};

use super::term::TermKeeper;
use super::{Candidate, Decision, Guard, LeaseConfig, Seen, decide, record};
use crate::host::SharedHost;

/// Where an election stands, for readiness and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The Lease could not be read yet.
    Unknown,
    /// Somebody else leads.
    Standby {
        /// Who.
        holder: String,
    },
    /// This process leads.
    Leading,
    /// This process led and never will again.
    Over,
}

/// A candidate for a Lease.
#[derive(Debug)]
pub struct Lease {
    api: Api<LeaseObject>,
    config: LeaseConfig,
    identity: String,
    /// The object as it was last read or written. Absent: there is none.
    current: Option<LeaseObject>,
    seen: Option<Seen>,
    host: SharedHost,
    status: watch::Sender<Status>,
    /// Whether the identity is that of a group, each member of which holds the Lease.
    shared: bool,
}

/// A Lease that is held. Renewed in the background until it is released, lost or dropped; a dropped one runs out.
#[derive(Debug)]
pub struct Held {
    guard: Guard,
    keeper: JoinHandle<Option<Lease>>,
    stop: DropGuard,
    /// The group's, without which this one gives no right to act.
    group: Option<Box<Held>>,
}

/// Why a call to the apiserver brought nothing.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("no answer in time")]
    Timeout,
    #[error("somebody else wrote it meanwhile")]
    Conflict,
    #[error("the Lease is gone")]
    Gone,
    #[error(transparent)]
    Kube(kube::Error),
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => Self::Conflict,
            kube::Error::Api(status) if status.is_not_found() => Self::Gone,
            error => Self::Kube(error),
        }
    }
}

/// What became of one try to take the Lease.
enum Attempt {
    Taken { deadline: Instant },
    Wait(std::time::Duration),
}

impl Lease {
    /// `client` should be one of [`super::client`], which tries each call once. `identity` must be unlike that of every
    /// other process, earlier ones of the same pod included.
    pub fn new(client: kube::Client, config: LeaseConfig, identity: String, host: SharedHost) -> Self {
        let api = Api::namespaced(client, &config.namespace);
        let status = watch::Sender::new(Status::Unknown);
        Self { api, config, identity, current: None, seen: None, host, status, shared: false }
    }

    /// The same, held by a group: `identity` is the group's. To hold it is not to lead yet, and is not told as that.
    pub(super) fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    /// The same, where several Leases make up one standing.
    pub(super) fn telling(self, status: watch::Sender<Status>) -> Self {
        Self { status, ..self }
    }

    /// Where the election stands, now and from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Waits until this process leads. `None` where `shutdown` came first; nothing is held then.
    ///
    /// Never fails: an apiserver that does not answer, or refuses, is logged and asked again.
    pub async fn acquire(mut self, shutdown: &CancellationToken) -> Option<Held> {
        let retry = self.config.timing.retry_period;
        let mut complaint = None;
        while !shutdown.is_cancelled() {
            let pause = match self.attempt().await {
                Ok(Attempt::Taken { deadline }) => {
                    let said = if self.shared { "the division holds its Lease" } else { "leading" };
                    info!(lease = self.config.name, identity = self.identity, "{said}");
                    let held = self.hold(deadline);
                    if !shutdown.is_cancelled() {
                        return Some(held);
                    }
                    held.release().await;
                    return None;
                }
                Ok(Attempt::Wait(pause)) => {
                    complaint = None;
                    pause.min(retry)
                }
                // Another member was faster, which says nothing against this one.
                Err(CallError::Conflict) if self.shared => std::time::Duration::ZERO,
                Err(error) => {
                    // Said once: it is tried every few seconds.
                    let text = error.to_string();
                    if complaint.as_ref() == Some(&text) {
                        debug!(lease = self.config.name, error = text, "the Lease cannot be taken yet");
                    } else {
                        warn!(lease = self.config.name, error = text, "the Lease cannot be taken yet");
                    }
                    complaint = Some(text);
                    retry
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
        None
    }

    async fn attempt(&mut self) -> Result<Attempt, CallError> {
        self.observe().await?;
        match self.decide(None) {
            Decision::Wait(pause) => {
                let holder = self.seen.as_ref().and_then(|seen| seen.record.holder_identity.clone());
                self.tell(Status::Standby { holder: holder.unwrap_or_default() });
                Ok(Attempt::Wait(pause))
            }
            Decision::Acquire | Decision::Renew => {
                let begun = Instant::now();
                self.write_held().await?;
                Ok(Attempt::Taken { deadline: begun + self.config.timing.renew_deadline })
            }
            // Only who leads can lose.
            Decision::Lost => Ok(Attempt::Wait(self.config.timing.retry_period)),
        }
    }

    fn hold(self, deadline: Instant) -> Held {
        if !self.shared {
            self.tell(Status::Leading);
        }
        let (term, guard) = TermKeeper::begin(deadline);
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(self.keep(term, stop.clone()));
        Held { guard, keeper, stop: stop.drop_guard(), group: None }
    }

    /// Renews until told to stop: then the Lease, still held, comes back. `None`: it was lost.
    async fn keep(mut self, term: TermKeeper, stop: CancellationToken) -> Option<Self> {
        let retry = self.config.timing.retry_period;
        // Whether the record must be read again: a write of ours had no clear answer, or others write it too.
        let mut doubt = self.shared;
        let mut pause = retry;
        let reason = loop {
            // A renewal under way is never cut off here: what it wrote would be unknown to the release.
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    term.end();
                    self.tell(Status::Over);
                    return Some(self);
                }
                () = sleep_until((Instant::now() + pause).min(term.deadline())) => {}
            }
            pause = retry;
            let begun = Instant::now();
            let renewed = tokio::select! {
                biased;
                renewed = self.renew(&mut doubt, term.deadline()) => renewed,
                () = sleep_until(term.deadline()) => break "no renewal succeeded before the deadline",
            };
            match renewed {
                Ok(true) if term.extend(begun + self.config.timing.renew_deadline) => {}
                Ok(true) => break "a renewal succeeded after the deadline",
                Ok(false) => break "somebody else holds it, or the deadline passed",
                Err(CallError::Gone) => break "the Lease was deleted",
                Err(CallError::Conflict) => pause = std::time::Duration::ZERO,
                Err(error) => warn!(lease = self.config.name, %error, "the Lease was not renewed"),
            }
        };
        term.end();
        let said = if self.shared { "no longer sure of the division's Lease" } else { "no longer leading" };
        error!(lease = self.config.name, identity = self.identity, reason, "{said}");
        self.tell(Status::Over);
        None
    }

    /// One renewal. `false`: decided that it is lost.
    async fn renew(&mut self, doubt: &mut bool, deadline: Instant) -> Result<bool, CallError> {
        if *doubt {
            self.observe().await?;
            if self.current.is_none() {
                return Err(CallError::Gone);
            }
        }
        if self.decide(Some(deadline)) != Decision::Renew {
            return Ok(false);
        }
        *doubt = true;
        self.write_held().await?;
        *doubt = self.shared;
        Ok(true)
    }

    fn decide(&self, leads_until: Option<Instant>) -> Decision {
        let me = Candidate { identity: &self.identity, leads_until, lease_duration: self.config.timing.lease_duration };
        decide(self.seen.as_ref(), Instant::now(), &me)
    }

    async fn observe(&mut self) -> Result<(), CallError> {
        let read = self.api.get_opt(&self.config.name);
        match timeout(self.config.timing.call_timeout(), read).await {
            Ok(Ok(Some(object))) => self.note(object),
            Ok(Ok(None)) => self.current = None,
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(CallError::Timeout),
        }
        Ok(())
    }

    async fn write_held(&mut self) -> Result<(), CallError> {
        let previous = self.current.as_ref().and_then(|object| object.spec.as_ref());
        let write = if self.shared { record::shared } else { record::held };
        let spec = write(previous, &self.identity, &self.config.timing, self.host.now());
        let object = match &self.current {
            Some(current) => LeaseObject { spec: Some(spec), ..current.clone() },
            None => LeaseObject {
                metadata: ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() },
                spec: Some(spec),
            },
        };
        self.write(object).await
    }

    /// Creates or replaces. A replacement carries the `resourceVersion` of what was seen.
    async fn write(&mut self, object: LeaseObject) -> Result<(), CallError> {
        let params = PostParams::default();
        let write = async {
            if self.current.is_some() {
                self.api.replace(&self.config.name, &params, &object).await
            } else {
                self.api.create(&params, &object).await
            }
        };
        match timeout(self.config.timing.call_timeout(), write).await {
            Ok(Ok(written)) => {
                self.note(written);
                Ok(())
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(CallError::Timeout),
        }
    }

    /// Remembers an object, and when its record was first seen so.
    fn note(&mut self, object: LeaseObject) {
        let record = object.spec.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|seen| seen.record != record) {
            self.seen = Some(Seen { record, since: Instant::now() });
        }
        self.current = Some(object);
    }

    fn tell(&self, status: Status) {
        self.status.send_if_modified(|told| {
            let changed = *told != status;
            *told = status;
            changed
        });
    }

    /// Says that nobody holds it. One try: where it fails, the Lease runs out by itself.
    async fn give_up(mut self) {
        match self.write_released().await {
            Ok(()) => info!(lease = self.config.name, identity = self.identity, "released"),
            Err(error) => {
                warn!(lease = self.config.name, %error, "not released: the next leader waits until it expires");
            }
        }
    }

    async fn write_released(&mut self) -> Result<(), CallError> {
        // The answer to the last renewal may have been lost.
        self.observe().await?;
        let current = self.current.clone().ok_or(CallError::Gone)?;
        let previous = current.spec.clone().unwrap_or_default();
        if previous.holder_identity.as_ref() != Some(&self.identity) {
            return Err(CallError::Conflict);
        }
        let spec = record::released(&previous, self.host.now());
        self.write(LeaseObject { spec: Some(spec), ..current }).await
    }
}

impl Held {
    /// A guard to hand to everything that acts.
    pub fn guard(&self) -> Guard {
        self.guard.clone()
    }

    /// The same, good for as long as the group holds its Lease, too.
    pub(super) fn within(self, group: Self) -> Self {
        let guard = self.guard.and(&group.guard);
        Self { guard, group: Some(Box::new(group)), ..self }
    }

    /// Stops acting and clears the holder, so that the next leader need not wait. Only to be called once nothing acts any
    /// more: after draining. Does nothing to a Lease that was lost, nor to a group's: the others hold it still, and the last one's runs
    /// out.
    pub async fn release(self) {
        drop(self.group);
        drop(self.stop);
        // A keeper that panicked has let the term run out; so does the Lease.
        if let Ok(Some(lease)) = self.keeper.await {
            lease.give_up().await;
        }
    }
}
