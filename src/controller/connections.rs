//! Connections as resources see them: whether one may be used, and the one client that everybody shares.
//!
//! `connection` keeps the entries; this module answers from them and from the watch caches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::time::Instant;

use crate::api::v1alpha1::{
    AbejaConnection, AbejaConnectionSpec, ClusterAbejaConnection, ConnectionKind, Permission, RateLimit, RefreshMode,
    RequestBudget, SecretVersion,
};
use crate::config::AllowedEndpoints;
use crate::domain::observed::{Access, Link};
use crate::domain::reason::Reason;
use crate::domain::shard::Shard;
use crate::domain::{access, budget};
use crate::remote;

use super::cache::Cache;
use super::index::{ConnectionKey, Key};
use super::memory::lock;

/// A request's time where the connection sets none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests that may come at once where the connection limits only those of a minute.
const DEFAULT_BURST: u32 = 10;

/// Everything known of connections.
pub struct Connections {
    /// Connections of namespaces.
    pub namespaced: Arc<Cache<AbejaConnection>>,
    /// Connections of the cluster.
    pub cluster: Arc<Cache<ClusterAbejaConnection>>,
    /// Namespaces, for their labels and whether they are being deleted.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// What connections may name.
    pub endpoints: AllowedEndpoints,
    entries: Mutex<BTreeMap<ConnectionKey, Entry>>,
    /// Those that the cache shows as they were: somebody else wrote before the last pass could.
    outdated: Mutex<BTreeSet<ConnectionKey>>,
    budgets: Mutex<Budgets>,
}

/// Budgets of requests.
#[derive(Debug, Default)]
struct Budgets {
    /// What each connection allows itself.
    own: BTreeMap<ConnectionKey, Arc<remote::Limiter>>,
    /// What was found out of each organization at an endpoint.
    shared: BTreeMap<(String, String), Arc<remote::Limiter>>,
}

/// A connection that was looked into.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What the client was made from. Another text means another client.
    pub fingerprint: String,
    /// The last client that could be made. Kept when the credential goes, for clean-up.
    pub client: Option<remote::Client>,
    /// What keeps it from being used.
    pub problem: Option<(Reason, String)>,
    /// What the remote said against the credential when it was last asked.
    pub refused: Option<(Reason, String)>,
    /// After how long it can be asked, where the budget did not allow it.
    pub untried: Option<Duration>,
    /// Whether it has our finalizer and is not being deleted.
    pub protected: bool,
    /// Since when it has our finalizer and nobody needs it.
    pub idle_since: Option<Instant>,
    /// What this process last told people of what it learns by itself.
    pub told: Told,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The Secrets that it reads.
    pub secrets: Vec<Key>,
}

/// What a process learns by itself of an organization, and tells in the connection's status.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// How its resources are refreshed.
    pub refresh: Option<RefreshMode>,
    /// What is left to it of requests.
    pub budget: Option<RequestBudget>,
}

/// A connection as one resource sees it.
pub struct View {
    /// For the rules.
    pub link: Link,
    /// The client, where the connection can be used.
    pub client: Option<remote::Client>,
    /// Changes whenever the connection or its credential does.
    pub fingerprint: Option<String>,
    /// Whether the connection exists and was not looked into yet: nothing can be said of it.
    pub pending: bool,
    /// Whether the credential is gone and the client is the last good one.
    pub credential_gone: bool,
}

impl Connections {
    /// Connections over watch caches, with nothing looked into yet.
    pub fn new(
        own: Arc<Cache<AbejaConnection>>,
        cluster: Arc<Cache<ClusterAbejaConnection>>,
        namespaces: Store<PartialObjectMeta<Namespace>>,
        endpoints: AllowedEndpoints,
    ) -> Self {
        Self {
            namespaced: own,
            cluster,
            namespaces,
            endpoints,
            entries: Mutex::default(),
            outdated: Mutex::default(),
            budgets: Mutex::default(),
        }
    }

    /// The entry of a connection.
    pub fn entry(&self, key: &ConnectionKey) -> Option<Entry> {
        lock(&self.entries).get(key).cloned()
    }

    /// The client of a connection that can be used.
    pub fn client(&self, key: &ConnectionKey) -> Option<remote::Client> {
        self.entry(key).filter(|entry| entry.problem.is_none() && !entry.deleting)?.client
    }

    /// Whether a connection is there.
    pub fn exists(&self, key: &ConnectionKey) -> bool {
        self.settings(key).is_some()
    }

    /// Connections of a kind that were looked into and are not there any more.
    pub fn absent(&self, kind: ConnectionKind) -> Vec<ConnectionKey> {
        lock(&self.entries).keys().filter(|key| key.kind == kind && !self.exists(key)).cloned().collect()
    }

    /// Replaces an entry. Answers whether resources could notice.
    pub fn put(&self, key: ConnectionKey, entry: Entry) -> bool {
        let mut entries = lock(&self.entries);
        let same = entries.get(&key).is_some_and(|old| {
            (&old.fingerprint, &old.problem, old.protected, old.deleting)
                == (&entry.fingerprint, &entry.problem, entry.protected, entry.deleting)
        });
        entries.insert(key, entry);
        !same
    }

    /// Notes what was told of a connection.
    pub fn note_told(&self, key: &ConnectionKey, told: Told) {
        if let Some(entry) = lock(&self.entries).get_mut(key) {
            entry.told = told;
        }
    }

    /// Whether what was told last of a connection's budget is not so any more.
    pub fn budget_moved(&self, key: &ConnectionKey, now: Timestamp) -> bool {
        let Some(Entry { client: Some(client), told, .. }) = self.entry(key) else { return false };
        budget::shown(told.budget.as_ref(), client.standing(), now) != told.budget
    }

    /// Notes that the cache shows a connection as it was.
    pub fn note_outdated(&self, key: ConnectionKey) {
        lock(&self.outdated).insert(key);
    }

    /// Whether the last pass found the cache outdated. Answered once.
    pub fn take_outdated(&self, key: &ConnectionKey) -> bool {
        lock(&self.outdated).remove(key)
    }

    /// What a connection may send: this shard's share of what it sets, within what was found out of its organization.
    pub fn allowance(
        &self,
        key: &ConnectionKey,
        url: &str,
        spec: &AbejaConnectionSpec,
        shard: Shard,
    ) -> remote::Allowance {
        let mut budgets = lock(&self.budgets);
        // Where nobody names an organization any more, what is known of it is not needed.
        budgets.shared.retain(|_, shared| Arc::strong_count(shared) > 1);
        let found = budgets.shared.entry((url.to_owned(), spec.organization_id.clone())).or_default().clone();
        let own = budgets.own.entry(key.clone()).or_default().clone();
        own.set(shares(spec.rate_limit.as_ref(), shard));
        remote::Allowance { own, shared: found }
    }

    /// Forgets a connection.
    pub fn remove(&self, key: &ConnectionKey) {
        lock(&self.entries).remove(key);
        lock(&self.outdated).remove(key);
        lock(&self.budgets).own.remove(key);
    }

    /// The connections that read a Secret.
    pub fn of_secret(&self, secret: &Key) -> Vec<ConnectionKey> {
        lock(&self.entries).iter().filter(|(_, e)| e.secrets.contains(secret)).map(|(k, _)| k.clone()).collect()
    }

    /// Whether a namespace is being deleted.
    pub fn terminating(&self, namespace: &str) -> bool {
        self.namespaces.get(&ObjectRef::new(namespace)).is_some_and(|n| n.metadata.deletion_timestamp.is_some())
    }

    /// The normalized base URL that a resource's connection names, where it names an allowed one.
    pub fn url(&self, key: &ConnectionKey) -> Option<String> {
        let url = self.settings(key)?.url;
        self.endpoints.resolve(url.as_deref()).ok().map(|endpoint| endpoint.as_str().to_owned())
    }

    /// The organization of a connection.
    pub fn organization(&self, key: &ConnectionKey) -> Option<String> {
        self.settings(key).map(|spec| spec.organization_id)
    }

    fn settings(&self, key: &ConnectionKey) -> Option<AbejaConnectionSpec> {
        match key.kind {
            ConnectionKind::AbejaConnection => {
                let found = self.namespaced.get(&key.key)?;
                found.0.as_ref().ok().map(|c| c.spec.clone())
            }
            ConnectionKind::ClusterAbejaConnection => {
                let found = self.cluster.get(&key.key)?;
                found.0.as_ref().ok().map(|c| c.spec.connection.clone())
            }
        }
    }

    /// What a resource may do through a connection of the cluster. `None`: it may not even know of it.
    fn permission(&self, key: &ConnectionKey, namespace: &str, secret_id: Option<&str>) -> Option<Permission> {
        match key.kind {
            ConnectionKind::AbejaConnection => Some(Permission::ReadWrite),
            ConnectionKind::ClusterAbejaConnection => {
                let found = self.cluster.get(&key.key)?;
                let rules = &found.0.as_ref().ok()?.spec.access;
                let labels: BTreeMap<String, String> = self
                    .namespaces
                    .get(&ObjectRef::new(namespace))
                    .and_then(|n| n.metadata.labels.clone())
                    .unwrap_or_default();
                access::permission(rules, namespace, &labels, secret_id)
            }
        }
    }

    /// Whether a namespace may use a connection for a remote secret at all. What it may not is to it as if absent.
    pub fn permits(&self, key: &ConnectionKey, namespace: &str, secret_id: &str) -> bool {
        self.permission(key, namespace, Some(secret_id)).is_some()
    }

    /// A resource's view of its connection. A resource that is being deleted may use the last good credential.
    pub fn view(&self, cr: &SecretVersion) -> View {
        self.view_of(cr, cr.status.as_ref().and_then(|s| s.secret_id.as_deref()))
    }

    /// The same, where the remote secret's name was found to mean this id.
    pub fn view_of(&self, cr: &SecretVersion, found: Option<&str>) -> View {
        let key = ConnectionKey::of(cr);
        let none = |link, pending| View { link, client: None, fingerprint: None, pending, credential_gone: !pending };
        let Some(settings) = self.settings(&key) else { return none(Link::NotFound { revoked: false }, false) };
        let secret_id = cr.spec.remote_ref.secret_id.as_deref().or(found);
        let namespace = cr.metadata.namespace.as_deref().unwrap_or_default();
        let Some(permission) = self.permission(&key, namespace, secret_id) else {
            return none(Link::NotFound { revoked: true }, false);
        };
        let Some(entry) = self.entry(&key) else {
            let message = "the connection is being looked into".to_owned();
            return none(Link::NotReady { reason: Reason::ConnectionNotReady, message }, true);
        };
        let deleting = cr.metadata.deletion_timestamp.is_some();
        let fingerprint = Some(format!("{}/{}/{permission:?}", entry.fingerprint, entry.protected));
        let credential_gone = entry.problem.is_some();
        match (entry.problem, entry.client) {
            (Some((reason, message)), client) if client.is_none() || !deleting => View {
                link: Link::NotReady { reason, message },
                client: None,
                fingerprint,
                pending: false,
                credential_gone,
            },
            (_, Some(client)) => {
                let timeout = settings.timeout_seconds.and_then(|s| u64::try_from(s).ok());
                let access = Access {
                    url: client.url().to_owned(),
                    organization_id: settings.organization_id,
                    cluster: key.kind == ConnectionKind::ClusterAbejaConnection,
                    permission,
                    protected: entry.protected,
                    deleting: entry.deleting,
                    timeout: timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs),
                };
                View { link: Link::Ready(access), client: Some(client), fingerprint, pending: false, credential_gone }
            }
            (_, None) => {
                let message = "the connection is being looked into".to_owned();
                none(Link::NotReady { reason: Reason::ConnectionNotReady, message }, true)
            }
        }
    }
}

/// A shard's requests of a minute, and those that may come at once, where the connection limits them.
fn shares(limit: Option<&RateLimit>, shard: Shard) -> Option<(u32, u32)> {
    let number = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok());
    let per_minute = limit.and_then(|l| number(l.requests_per_minute))?;
    let burst = limit.and_then(|l| number(l.burst)).unwrap_or(DEFAULT_BURST);
    Some((shard.share(per_minute), shard.share(burst)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_takes_its_part_of_the_budget() {
        let limit = |requests_per_minute, burst| RateLimit { requests_per_minute, burst };
        for (limit, shard, expected) in [
            (limit(Some(600), Some(30)), "0/1", Some((600, 30))),
            (limit(Some(600), Some(30)), "1/3", Some((200, 10))),
            (limit(Some(600), None), "1/2", Some((300, 5))),
            (limit(Some(1), Some(1)), "1/3", Some((1, 1))),
            (limit(None, Some(30)), "1/3", None),
        ] {
            assert_eq!(shares(Some(&limit), shard.parse().unwrap()), expected, "{limit:?} of {shard}");
        }
        assert_eq!(shares(None, Shard::WHOLE), None);
    }
}
