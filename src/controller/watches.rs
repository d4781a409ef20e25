//! The watches, the queues, and what wakes what.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures::channel::mpsc::unbounded;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta, Resource};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, store::Writer};
use kube::runtime::watcher::{self, Event};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span, warn};

use crate::api::v1alpha1::{AbejaConnection, ClusterAbejaConnection, ConnectionKind, SecretVersion};
use crate::config::{Config, WatchScope};
use crate::domain::lane::Lane;
use crate::host::SharedHost;
use crate::lease;
use crate::ops::events::Events;
use crate::ops::health::Health;
use crate::ops::metrics::Metrics;
use crate::secret::Keyring;

use super::cache::{self, Cache, Kept};
use super::connection::{self, Connection};
use super::connections::Connections;
use super::context::{Ctx, Listed, Places, Waker, Wakers};
use super::error::Error;
use super::guard::{after_error, guarded};
use super::index::{ConnectionKey, Index, Key, Links};
use super::memory::Memories;
use super::news::{self, News};
use super::pass;
use super::patch;
use super::queue::{self, Requeue, Woken};
use super::secrets::{Listing, SecretCache};
use super::sweep::{self, Sweeps};

/// What the controllers are given.
pub struct Setup {
    /// The apiserver.
    pub client: kube::Client,
    /// What the operator was told.
    pub config: Config,
    /// Whether this process may act.
    pub guard: lease::Guard,
    /// The machine under this process.
    pub host: SharedHost,
    /// Counters.
    pub metrics: Metrics,
    /// Probes.
    pub health: Health,
    /// Keys of digests.
    pub keyring: Keyring,
}

/// Runs every watch and every queue until `shutdown`; passes under way are then drained.
pub async fn run(setup: Setup, shutdown: CancellationToken) {
    let Setup { client, config, guard, host, metrics, health, keyring } = setup;
    let scope = Scope::of(&config);
    let (resources, namespaced, cluster) = (Arc::default(), Arc::default(), Arc::default());
    let (all_namespaces, namespaces_writer) = reflector::store();
    let (wake_resources, woken_resources) = unbounded();
    let (wake_namespaced, woken_namespaced) = unbounded();
    let (wake_cluster, woken_cluster) = unbounded();
    let (sweeps, begun) = Sweeps::new();
    let (news, to_tell) = News::new();
    let ctx = Arc::new(Ctx {
        events: Events::new(client.clone(), &config.identity),
        news,
        secrets: SecretCache::new(scope.secret_streams.len()),
        connections: Connections::new(
            Arc::clone(&namespaced),
            Arc::clone(&cluster),
            all_namespaces,
            config.endpoints.clone(),
        ),
        cluster_namespace: config.cluster_resource_namespace(&client).to_owned(),
        default_interval: config.default_refresh_interval,
        settle: config.remote_settle_time,
        shard: config.shard,
        allow_insecure: config.endpoints.allow_insecure(),
        index: Index::default(),
        memories: Memories::default(),
        sweeps,
        backlog: AtomicUsize::new(0),
        places: Places::default(),
        listed: Listed::default(),
        wakers: Wakers { resources: wake_resources, namespaced: wake_namespaced, cluster: wake_cluster },
        resources: Arc::clone(&resources),
        client: client.clone(),
        guard,
        shutdown: shutdown.clone(),
        host,
        metrics,
        keyring,
    });

    let mut tasks = JoinSet::new();
    for namespace in &scope.secret_streams {
        let watched = watching(config.watch_timeout);
        tasks.spawn(watch_secrets(ctx.clone(), namespace.clone(), watched, shutdown.clone()));
    }
    let watched = watching(config.watch_timeout);
    tasks.spawn(watch_namespaces(ctx.clone(), namespaces_writer, watched, shutdown.clone()));

    let queue = Queue { ctx: &ctx, scope: &scope, config: &config, health: &health, shutdown: &shutdown };
    let indexed = {
        let ctx = ctx.clone();
        move |event: &Noted<SecretVersion>, key: Option<Key>| note_resource(&ctx, event, key)
    };
    tasks.spawn(queue.run(
        "SecretVersion",
        Api::all(client.clone()),
        resources,
        (&ctx.wakers.resources, woken_resources),
        indexed,
        |ctx| async move { ctx.caches_filled().await },
        |object, ctx| async move {
            let cr = object.0.as_ref().map_err(|_| Error::Unreadable)?;
            Box::pin(pass::reconcile(&ctx, cr)).await
        },
    ));
    tasks.spawn(queue.run(
        AbejaConnection::NAME,
        Api::all(client.clone()),
        namespaced,
        (&ctx.wakers.namespaced, woken_namespaced),
        note_connection(&ctx, ConnectionKind::AbejaConnection),
        users_known,
        connection::reconcile::<AbejaConnection>,
    ));
    tasks.spawn(queue.run(
        ClusterAbejaConnection::NAME,
        Api::all(client),
        cluster,
        (&ctx.wakers.cluster, woken_cluster),
        note_connection(&ctx, ConnectionKind::ClusterAbejaConnection),
        users_known,
        connection::reconcile::<ClusterAbejaConnection>,
    ));
    tasks.spawn(sweep::run(ctx.clone(), begun));
    tasks.spawn(news::run(ctx.clone(), to_tell));
    tasks.spawn(announce_readiness(ctx.clone(), health.clone()));
    while tasks.join_next().await.is_some() {}
}

/// Who uses a connection is known once the resources are listed.
async fn users_known(ctx: Arc<Ctx>) {
    ctx.listed.resources.opened().await;
}

/// Which namespaces are watched.
#[derive(Clone)]
struct Scope {
    namespaces: Option<BTreeSet<String>>,
    /// One watch of Secrets each; `None` is the whole cluster. Empty where Secrets are not watched.
    secret_streams: Vec<Option<String>>,
}

impl Scope {
    fn of(config: &Config) -> Self {
        let namespaces = match &config.watch {
            WatchScope::All => None,
            WatchScope::Namespaces(names) => Some(names.clone()),
        };
        let secret_streams = match (&namespaces, config.watch_secrets) {
            (_, false) => Vec::new(),
            (None, true) => vec![None],
            (Some(names), true) => names.iter().cloned().map(Some).collect(),
        };
        Self { namespaces, secret_streams }
    }

    fn covers<K: Resource>(&self, object: &K) -> bool {
        match (&self.namespaces, object.meta().namespace.as_deref()) {
            (Some(names), Some(namespace)) => names.contains(namespace),
            _ => true,
        }
    }
}

struct Queue<'a> {
    ctx: &'a Arc<Ctx>,
    scope: &'a Scope,
    config: &'a Config,
    health: &'a Health,
    shutdown: &'a CancellationToken,
}

impl Queue<'_> {
    /// One kind's watch and queue, as a future that ends when both are drained.
    #[allow(clippy::too_many_arguments, reason = "all that differs between kinds, named once each")]
    fn run<K, R, P, W, F>(
        &self,
        kind: &'static str,
        api: Api<DeserializeGuard<K>>,
        cache: Arc<Cache<K>>,
        (waker, woken): (&Waker, Woken),
        note: impl Fn(&Noted<K>, Option<Key>) + Send + 'static,
        ready: R,
        reconcile: P,
    ) -> BoxFuture<'static, ()>
    where
        K: Kept,
        R: FnOnce(Arc<Ctx>) -> W,
        W: Future<Output = ()> + Send + 'static,
        P: Fn(Arc<DeserializeGuard<K>>, Arc<Ctx>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Requeue, Error>> + Send + 'static,
    {
        let scope = self.scope.clone();
        let (metrics, waker) = (self.ctx.metrics.clone(), waker.clone());
        let events = watcher::watcher(api, watching(self.config.watch_timeout)).default_backoff();
        let events = events.try_filter_map(move |event| {
            let covered = match &event {
                Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => scope.covers(object),
                Event::Init | Event::InitDone => true,
            };
            std::future::ready(Ok(covered.then_some(event)))
        });
        let events =
            events.modify(|object| patch::prune(object.meta_mut())).take_until(self.shutdown.clone().cancelled_owned());
        let kept = cache.clone();
        let watch = async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        let event = cache::shared(event);
                        let key = kept.note(&event);
                        note(&event, key.clone());
                        if let (Event::Apply(_) | Event::InitApply(_), Some(key)) = (&event, key) {
                            let _ = waker.unbounded_send((key, Lane::Refresh));
                        }
                    }
                    Err(error) => {
                        metrics.watch_error(kind);
                        warn!(kind, "the watch broke and is begun again: {error}");
                    }
                }
            }
        };
        let lane_of = {
            let cache = cache.clone();
            move |key: &Key| cache.lane(key)
        };
        let (ctx, health) = (self.ctx.clone(), self.health.clone());
        let pass = move |key: Key| {
            let (ctx, health, cache, reconcile) = (ctx.clone(), health.clone(), cache.clone(), reconcile.clone());
            let span = info_span!("reconcile", kind, namespace = &*key.namespace, name = &*key.name);
            let pass = async move {
                let Some(object) = cache.get(&key) else { return Requeue::OnChange };
                let outcome = guarded(object.clone(), ctx.clone(), kind, reconcile(object.clone(), ctx.clone())).await;
                health.beat();
                outcome.unwrap_or_else(|error| {
                    let uid = object.meta().uid.as_deref().unwrap_or_default();
                    after_error(&error, uid, ctx.memories.failures(uid))
                })
            };
            pass.instrument(span)
        };
        let places = usize::from(self.config.max_concurrent_reconciles.get());
        let depth = {
            let ctx = self.ctx.clone();
            move |depth| ctx.note_depth(kind, depth)
        };
        let work = queue::work(woken, places, depth, ready(self.ctx.clone()), lane_of, pass, self.shutdown.clone());
        async move {
            tokio::join!(watch, work);
        }
        .boxed()
    }
}

/// Objects in one page of a list. While it is read, a page takes several times the memory of what is kept of it.
const PAGE: u32 = 250;

/// How every watch is asked for.
fn watching(timeout: Duration) -> watcher::Config {
    let timeout = u32::try_from(timeout.as_secs()).ok();
    watcher::Config { timeout, page_size: Some(PAGE), ..watcher::Config::default() }
}

/// What nobody reads is not kept. Of namespaces the labels are read.
fn prune_namespace(namespace: &mut PartialObjectMeta<Namespace>) {
    let meta = &mut namespace.metadata;
    (meta.managed_fields, meta.annotations) = (None, None);
}

/// What a watch told, and its cache took in.
type Noted<K> = Event<Arc<DeserializeGuard<K>>>;

/// Keeps the index, and wakes those that a change of one resource concerns.
fn note_resource(ctx: &Ctx, event: &Noted<SecretVersion>, key: Option<Key>) {
    match event {
        Event::Init => ctx.index.begin_list(),
        Event::InitApply(object) | Event::Apply(object) => {
            if let (Ok(cr), Some(key)) = (&object.0, key) {
                ctx.memories.shown(cr);
                let links = Links::of(&key, cr, ctx.default_interval);
                if ctx.index.insert(key, links) {
                    ctx.wake_connection(&ConnectionKey::of(cr));
                }
            }
        }
        Event::Delete(object) => {
            if let Some(uid) = &object.meta().uid {
                ctx.memories.forget(uid);
            }
            if let Some(links) = key.and_then(|key| ctx.index.remove(&key)) {
                wake_neighbours(ctx, &links);
            }
        }
        Event::InitDone => {
            ctx.listed.resources.open();
            ctx.memories.keep(|| ctx.resources.all().iter().filter_map(|object| object.meta().uid.clone()).collect());
            for links in ctx.index.end_list() {
                wake_neighbours(ctx, &links);
            }
        }
    }
}

fn wake_neighbours(ctx: &Ctx, gone: &Links) {
    let (siblings, connection) = ctx.index.neighbours(gone);
    ctx.wake_resources(siblings);
    ctx.wake_connection(&connection);
}

/// Opens the gate of a kind of connection, and forgets connections that went.
fn note_connection<K: Resource>(
    ctx: &Arc<Ctx>,
    kind: ConnectionKind,
) -> impl Fn(&Noted<K>, Option<Key>) + Send + 'static + use<K> {
    let ctx = ctx.clone();
    let gone = |ctx: &Ctx, connection: &ConnectionKey| {
        ctx.connections.remove(connection);
        ctx.wake_resources(ctx.index.of_connection(connection));
    };
    move |event, key| match event {
        Event::InitDone => {
            match kind {
                ConnectionKind::AbejaConnection => ctx.listed.namespaced.open(),
                ConnectionKind::ClusterAbejaConnection => ctx.listed.cluster.open(),
            }
            // What was deleted while nobody watched is told of by no other event.
            ctx.connections.absent(kind).iter().for_each(|connection| gone(&ctx, connection));
        }
        Event::Delete(_) => key.into_iter().for_each(|key| gone(&ctx, &ConnectionKey { kind, key })),
        _ => {}
    }
}

async fn watch_secrets(
    ctx: Arc<Ctx>,
    namespace: Option<String>,
    watched: watcher::Config,
    shutdown: CancellationToken,
) {
    let api: Api<PartialObjectMeta<Secret>> = match &namespace {
        Some(namespace) => Api::namespaced(ctx.client.clone(), namespace),
        None => Api::all(ctx.client.clone()),
    };
    let mut listing = Listing::new(namespace);
    let stream = watcher::watcher(api, watched).default_backoff();
    let mut stream = std::pin::pin!(stream.take_until(shutdown.cancelled_owned()));
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => ctx.secrets.note(&mut listing, event).iter().for_each(|secret| ctx.secret_moved(secret)),
            Err(error) => {
                ctx.metrics.watch_error("Secret");
                warn!(kind = "Secret", "the watch broke and is begun again: {error}");
            }
        }
    }
}

async fn watch_namespaces(
    ctx: Arc<Ctx>,
    writer: Writer<PartialObjectMeta<Namespace>>,
    watched: watcher::Config,
    shutdown: CancellationToken,
) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(ctx.client.clone());
    let stream = watcher::watcher(api, watched).default_backoff().modify(prune_namespace).reflect(writer);
    let mut stream = std::pin::pin!(stream.take_until(shutdown.cancelled_owned()));
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::InitDone) => {
                ctx.listed.namespaces.open();
                wake_users_of_cluster_connections(&ctx, None);
            }
            Ok(Event::Apply(namespace)) => {
                wake_users_of_cluster_connections(&ctx, namespace.metadata.name.as_deref());
            }
            Ok(_) => {}
            Err(error) => {
                ctx.metrics.watch_error("Namespace");
                warn!(kind = "Namespace", "the watch broke and is begun again: {error}");
            }
        }
    }
}

/// A namespace's labels may have moved, and with them what its resources may use: given or taken, it counts at once.
fn wake_users_of_cluster_connections(ctx: &Ctx, namespace: Option<&str>) {
    ctx.wake_resources(ctx.index.of_cluster(namespace));
}

/// Tells the probes when the caches are filled, and beats while nothing happens.
async fn announce_readiness(ctx: Arc<Ctx>, health: Health) {
    let synced = async {
        ctx.listed.resources.opened().await;
        ctx.listed.namespaced.opened().await;
        ctx.listed.cluster.opened().await;
        health.set_crds(true);
        ctx.caches_filled().await;
        health.set_caches(true);
        loop {
            health.beat();
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
    };
    ctx.shutdown.run_until_cancelled(synced).await;
}
