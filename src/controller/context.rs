//! What every pass shares: clients, caches, memories, and the way to wake others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::core::DeserializeGuard;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::v1alpha1::{ConnectionKind, SecretVersion};
use crate::domain::condition::{self, kind};
use crate::domain::lane::Lane;
use crate::domain::place::Place;
use crate::domain::reason::Reason;
use crate::domain::refresh::spread;
use crate::domain::shard::Shard;
use crate::domain::step::Event;
use crate::host::SharedHost;
use crate::lease;
use crate::ops::events::{EventKind, Events};
use crate::ops::metrics::Metrics;
use crate::secret::Keyring;

use super::cache::Cache;
use super::connections::Connections;
use super::gate::Gate;
use super::index::{ConnectionKey, Index, Key};
use super::memory::{Memories, lock};
use super::news::{News, Told};
use super::secrets::SecretCache;
use super::survey::place_of;
use super::sweep::Sweeps;

/// Shared by all passes.
pub struct Ctx {
    /// The apiserver.
    pub client: kube::Client,
    /// Whether this process may act.
    pub guard: lease::Guard,
    /// Whether this process is told to stop.
    pub shutdown: CancellationToken,
    /// The machine under this process.
    pub host: SharedHost,
    /// Counters.
    pub metrics: Metrics,
    /// Kubernetes Events.
    pub events: Events,
    /// Those that may wait.
    pub news: News,
    /// Keys of digests.
    pub keyring: Keyring,
    /// The resources.
    pub resources: Arc<Cache<SecretVersion>>,
    /// From what moved to who cares.
    pub index: Index,
    /// Secrets, without their payload.
    pub secrets: SecretCache,
    /// Connections.
    pub connections: Connections,
    /// What is remembered of each resource.
    pub memories: Memories,
    /// Which organizations are refreshed by page.
    pub sweeps: Sweeps,
    /// Locks and claims of places.
    pub places: Places,
    /// How many resources wait for their turn.
    pub backlog: AtomicUsize,
    /// Ways to wake.
    pub wakers: Wakers,
    /// Which caches are filled.
    pub listed: Listed,
    /// Where the Secrets of cluster connections live.
    pub cluster_namespace: String,
    /// Which part of the work is this process's.
    pub shard: Shard,
    /// The refresh interval where a resource has none.
    pub default_interval: Duration,
    /// The longest that the remote takes to show what it accepted.
    pub settle: Duration,
    /// Whether development's endpoints are allowed.
    pub allow_insecure: bool,
}

/// Gates that open when a cache has been filled once.
#[derive(Debug, Default)]
pub struct Listed {
    /// Our resources.
    pub resources: Gate,
    /// Connections of namespaces.
    pub namespaced: Gate,
    /// Connections of the cluster.
    pub cluster: Gate,
    /// Namespaces.
    pub namespaces: Gate,
}

/// Puts an object into its queue, with the lane that it may wait in at the latest.
pub type Waker = UnboundedSender<(Key, Lane)>;

/// Ways to put objects into the queues.
pub struct Wakers {
    /// Resources.
    pub resources: Waker,
    /// Connections of namespaces.
    pub namespaced: Waker,
    /// Connections of the cluster.
    pub cluster: Waker,
}

impl Ctx {
    /// Waits until every cache that a pass over a resource reads has been filled once.
    pub async fn caches_filled(&self) {
        self.listed.resources.opened().await;
        self.listed.namespaced.opened().await;
        self.listed.cluster.opened().await;
        self.listed.namespaces.opened().await;
        self.secrets.ready().await;
    }

    /// Whether a resource is this process's to look after: by the place that it recorded or names, else by its own name. Watch caches
    /// tell, and nothing that only one process knows, so that all shards answer alike.
    pub fn minds(&self, cr: &SecretVersion) -> bool {
        if self.shard.is_whole() {
            return true;
        }
        let by_name = || self.shard.speaks_for("SecretVersion", &Key::of(cr).to_string());
        place_of(self, cr).map_or_else(by_name, |place| self.shard.owns(&place))
    }

    /// A resource as the watch has it.
    pub fn resource(&self, key: &Key) -> Option<Arc<DeserializeGuard<SecretVersion>>> {
        self.resources.get(key)
    }

    /// Puts resources into the queue, each in its own lane. What the queue no longer takes is nobody's concern: the process
    /// is ending.
    pub fn wake_resources(&self, keys: impl IntoIterator<Item = Key>) {
        self.wake_resources_in(Lane::Refresh, keys);
    }

    fn wake_resources_in(&self, at_the_latest: Lane, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            let _ = self.wakers.resources.unbounded_send((key, at_the_latest));
        }
    }

    /// So many objects of a kind wait for their turn.
    pub fn note_depth(&self, kind: &'static str, depth: usize) {
        self.metrics.set_queue_depth(kind, depth);
        if kind == SecretVersion::kind(&()) {
            self.backlog.store(depth, Ordering::Relaxed);
        }
    }

    /// Puts a connection into its queue.
    pub fn wake_connection(&self, connection: &ConnectionKey) {
        let waker = match connection.kind {
            ConnectionKind::AbejaConnection => &self.wakers.namespaced,
            ConnectionKind::ClusterAbejaConnection => &self.wakers.cluster,
        };
        let _ = waker.unbounded_send((connection.key.clone(), Lane::Refresh));
    }

    /// A request was refused, or not sent, because there were too many: the connection says so.
    pub fn throttled(&self, connection: &ConnectionKey) {
        if self.connections.budget_moved(connection, self.host.now()) {
            self.wake_connection(connection);
        }
    }

    /// A Secret moved: wakes whoever uses it. It may be a source that changed, so they go before refreshes.
    pub fn secret_moved(&self, secret: &Key) {
        self.wake_resources_in(Lane::Changed, self.index.of_secret(secret));
        for connection in self.connections.of_secret(secret) {
            self.wake_connection(&connection);
        }
    }

    /// Tells people of something. A process that may not act any more keeps it to its log.
    pub async fn tell(&self, object: &ObjectReference, event: &Event) {
        let how = if event.warning { EventKind::Warning } else { EventKind::Normal };
        self.publish(object, how, event.reason.as_str(), &event.note).await;
    }

    /// Tells people when `Ready` changed its status or reason. Work under way is not news.
    pub fn tell_transition<K: Resource<DynamicType = ()>>(&self, object: &K, old: &[Condition], new: &[Condition]) {
        let Some(now) = condition::get(new, kind::READY) else { return };
        let same =
            condition::get(old, kind::READY).is_some_and(|c| (&c.status, &c.reason) == (&now.status, &now.reason));
        let waiting = [Reason::Progressing, Reason::ConnectionNotReady].iter().any(|r| r.as_str() == now.reason);
        if same || waiting {
            return;
        }
        let how = if now.status == "True" { EventKind::Normal } else { EventKind::Warning };
        // When the next try is belongs into the condition, which moves, and not into an event, which does not.
        let note = now.message.split("; next try at").next().unwrap_or_default();
        let reference = object.object_ref(&());
        let (namespace, name) = (reference.namespace.as_deref(), reference.name.as_deref());
        if now.status == "True" {
            info!(namespace, name, reason = now.reason, "{note}");
        } else {
            warn!(namespace, name, reason = now.reason, "{note}");
        }
        self.mention(reference, how, &now.reason, note);
    }

    /// Tells people of what a status says, too, once there is nothing better to do.
    pub fn mention(&self, object: ObjectReference, kind: EventKind, reason: &str, note: &str) {
        let told = Told { object, kind, reason: reason.to_owned(), note: note.to_owned() };
        if !self.news.add(told) {
            self.metrics.event_left_out();
        }
    }

    pub(super) async fn publish(&self, object: &ObjectReference, how: EventKind, reason: &str, note: &str) {
        if self.guard.may_act() {
            self.events.publish(object, how, reason, &action(note), note).await;
        }
    }
}

/// The action of an event. The recorder counts events of equal action and reason as one series under the first one's
/// note; with the note's mark in it, only events that say the same are one series.
fn action(note: &str) -> String {
    format!("Reconcile{:016x}", spread(note))
}

/// Locks per place, and which resource this process itself has written an intent for.
#[derive(Debug, Default)]
pub struct Places {
    locks: Mutex<HashMap<Place, Arc<tokio::sync::Mutex<()>>>>,
    claims: Mutex<HashMap<Place, String>>,
}

impl Places {
    /// Waits for the lock of a place.
    pub async fn lock(&self, place: &Place) -> tokio::sync::OwnedMutexGuard<()> {
        let mutex = {
            let mut locks = lock(&self.locks);
            // Those that nobody holds or waits for, so that only those are kept.
            locks.retain(|_, mutex| Arc::strong_count(mutex) > 1);
            locks.entry(place.clone()).or_default().clone()
        };
        mutex.lock_owned().await
    }

    /// Notes that this process writes an intent for a resource.
    pub fn claim(&self, place: &Place, uid: &str) {
        lock(&self.claims).insert(place.clone(), uid.to_owned());
    }

    /// Forgets a claim of a resource that went.
    pub fn release(&self, place: &Place, uid: &str) {
        let mut claims = lock(&self.claims);
        if claims.get(place).is_some_and(|claimant| claimant == uid) {
            claims.remove(place);
        }
    }

    /// The resource that this process wrote an intent for, whatever the cache shows.
    pub fn claimant(&self, place: &Place) -> Option<String> {
        lock(&self.claims).get(place).cloned()
    }
}
