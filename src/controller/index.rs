//! From an object that moved to the resources that care: kept by hand from the watch of our resources, because scanning
//! every resource for every event of every Secret would cost the square of the cluster. Ordered, so that the same world
//! takes the same course.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::api::v1alpha1::{ConnectionKind, DeletionPolicy, SecretVersion};
use crate::domain::create::has_finalizer;
use crate::domain::decide::recorded_place;
use crate::domain::projection::TargetView;
use crate::domain::refresh;

/// Namespace and name of an object. Copies share their text: each object's key is kept in many places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace; empty for objects of the cluster.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of a namespace and a name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: kube::Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// A connection by kind and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionKey {
    /// The kind.
    pub kind: ConnectionKind,
    /// Namespace and name.
    pub key: Key,
}

impl ConnectionKey {
    /// The connection that a resource names.
    pub fn of(cr: &SecretVersion) -> Self {
        let named = &cr.spec.connection_ref;
        let namespace = match named.kind {
            ConnectionKind::AbejaConnection => cr.metadata.namespace.as_deref().unwrap_or_default(),
            ConnectionKind::ClusterAbejaConnection => "",
        };
        Self { kind: named.kind, key: Key::new(namespace, &named.name) }
    }
}

/// What a resource depends on, and what is asked of all who use a connection at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    secrets: Box<[Key]>,
    connection: Arc<ConnectionKey>,
    remote_secret: Option<Arc<str>>,
    user: User,
}

/// A resource as its connection sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Whether it creates versions.
    pub manages: bool,
    /// Whether the connection will be needed to clean up: an edit of the policy concerns it.
    pub cleans_up: bool,
    /// Whether it has our finalizer, and so something to clean up.
    pub has_duty: bool,
    /// How often it is to be refreshed, where it is.
    pub every: Option<Duration>,
    /// The URL and the organization that are recorded.
    pub recorded: Option<Arc<(String, String)>>,
}

impl User {
    fn of(cr: &SecretVersion, default_interval: Duration) -> Self {
        let manages = cr.spec.value_from.is_some();
        let keeps = cr.spec.deletion_policy.unwrap_or_default() != DeletionPolicy::Retain;
        Self {
            manages,
            cleans_up: manages && keeps,
            has_duty: has_finalizer(cr) && keeps,
            every: refresh::interval_unless_at_rest(cr, default_interval),
            recorded: recorded_place(cr).map(|place| Arc::new((place.url, place.organization_id))),
        }
    }
}

impl Links {
    /// The links of a resource, which has this key.
    pub fn of(key: &Key, cr: &SecretVersion, default_interval: Duration) -> Self {
        let status = cr.status.as_ref();
        let source = cr.spec.value_from.iter().flat_map(|v| &v.secret_key_ref).map(|s| s.name.as_str());
        let former = status.and_then(|s| s.target.as_ref()).map(|t| t.name.as_str());
        let pinned = status.and_then(|s| s.secret_id.as_deref());
        let mut names: Vec<&str> = source.chain([TargetView::of(cr).name()]).chain(former).collect();
        names.sort_unstable();
        names.dedup();
        let beside = |name: &str| {
            let name = if *name == *key.name { key.name.clone() } else { name.into() };
            Key { namespace: key.namespace.clone(), name }
        };
        Self {
            secrets: names.into_iter().map(beside).collect(),
            connection: ConnectionKey::of(cr).into(),
            remote_secret: cr.spec.remote_ref.secret_id.as_deref().or(pinned).map(Arc::from),
            user: User::of(cr, default_interval),
        }
    }
}

/// The reverse lookups.
#[derive(Debug, Default)]
pub struct Index(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    links: BTreeMap<Key, Links>,
    by_secret: Lookup<Key>,
    /// A set for each: a connection has many.
    by_connection: BTreeMap<Arc<ConnectionKey>, BTreeSet<Key>>,
    by_remote: Lookup<Arc<str>>,
    /// What is recorded, one for all who record it.
    recorded: BTreeSet<Arc<(String, String)>>,
    unseen: BTreeSet<Key>,
}

impl Index {
    /// A resource appeared or changed. Answers whether it did so in what concerns its connection.
    pub fn insert(&self, key: Key, mut links: Links) -> bool {
        self.with(|inner| {
            inner.unseen.remove(&key);
            let old = inner.links.get(&key);
            if old == Some(&links) {
                return false;
            }
            let same = |old: &Links| {
                (&old.connection, &old.remote_secret, old.user.cleans_up)
                    == (&links.connection, &links.remote_secret, links.user.cleans_up)
            };
            let concerns = !old.is_some_and(same);
            inner.remove(&key);
            if let Some(recorded) = &mut links.user.recorded {
                match inner.recorded.get(recorded) {
                    Some(known) => *recorded = known.clone(),
                    None => drop(inner.recorded.insert(recorded.clone())),
                }
            }
            // One for all who use it.
            if let Some((known, _)) = inner.by_connection.get_key_value(&links.connection) {
                links.connection = known.clone();
            }
            inner.by_secret.add_all(&links.secrets, &key);
            inner.by_connection.entry(links.connection.clone()).or_default().insert(key.clone());
            inner.by_remote.add_all(&links.remote_secret, &key);
            inner.links.insert(key, links);
            concerns
        })
    }

    /// A resource went. Answers what it was linked to.
    pub fn remove(&self, key: &Key) -> Option<Links> {
        self.with(|inner| inner.remove(key))
    }

    /// A new list of all resources begins.
    pub fn begin_list(&self) {
        self.with(|inner| inner.unseen = inner.links.keys().cloned().collect());
    }

    /// The list is complete: what it lacked is gone.
    pub fn end_list(&self) -> Vec<Links> {
        self.with(|inner| {
            let gone = std::mem::take(&mut inner.unseen);
            gone.iter().filter_map(|key| inner.remove(key)).collect()
        })
    }

    /// The resources that use a Secret as source or target.
    pub fn of_secret(&self, secret: &Key) -> Vec<Key> {
        self.with(|inner| inner.by_secret.get(secret))
    }

    /// The resources that use a connection.
    pub fn of_connection(&self, connection: &ConnectionKey) -> Vec<Key> {
        self.with(|inner| inner.by_connection.get(connection).into_iter().flatten().cloned().collect())
    }

    /// The resources that use a connection, each with the id of its remote secret, where that is known.
    pub fn users(&self, connection: &ConnectionKey) -> Vec<(Key, Option<Arc<str>>, User)> {
        self.with(|inner| {
            let keys = inner.by_connection.get(connection).into_iter().flatten();
            let users = keys.filter_map(|key| {
                let links = inner.links.get(key)?;
                Some((key.clone(), links.remote_secret.clone(), links.user.clone()))
            });
            users.collect()
        })
    }

    /// The resources of a namespace, or of all, that use a connection of the cluster.
    pub fn of_cluster(&self, namespace: Option<&str>) -> Vec<Key> {
        let concerned = |key: &Key| namespace.is_none_or(|namespace| *key.namespace == *namespace);
        let of_cluster = |links: &Links| links.connection.kind == ConnectionKind::ClusterAbejaConnection;
        self.with(|inner| {
            let found = inner.links.iter().filter(|(key, links)| concerned(key) && of_cluster(links));
            found.map(|(key, _)| key.clone()).collect()
        })
    }

    /// The resources of a remote secret, by its id alone: callers compare the whole place.
    pub fn of_remote(&self, secret_id: &str) -> Vec<Key> {
        self.with(|inner| inner.by_remote.get(&secret_id.into()))
    }

    /// Those to whom it may matter that a resource with these links is gone: who could own its place now, and the connection that it
    /// used. Who only follows shares a place with thousands, and is not concerned.
    pub fn neighbours(&self, links: &Links) -> (Vec<Key>, ConnectionKey) {
        let siblings: Vec<Key> = links.remote_secret.iter().flat_map(|id| self.of_remote(id)).collect();
        let manages = |inner: &Inner, key: &Key| inner.links.get(key).is_some_and(|links| links.user.manages);
        let siblings = self.with(|inner| siblings.into_iter().filter(|key| manages(inner, key)).collect());
        (siblings, (*links.connection).clone())
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn remove(&mut self, key: &Key) -> Option<Links> {
        let links = self.links.remove(key)?;
        self.by_secret.remove_all(&links.secrets, key);
        if let Entry::Occupied(mut users) = self.by_connection.entry(links.connection.clone()) {
            users.get_mut().remove(key);
            if users.get().is_empty() {
                users.remove();
            }
        }
        self.by_remote.remove_all(&links.remote_secret, key);
        Some(links)
    }
}

/// Who cares about what, as pairs: most of what is cared about has one who does, and a set for each would cost ten times as much.
#[derive(Debug)]
struct Lookup<K>(BTreeSet<(K, Key)>);

impl<K> Default for Lookup<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Clone + Ord> Lookup<K> {
    fn add_all<'a>(&mut self, at: impl IntoIterator<Item = &'a K>, key: &Key)
    where
        K: 'a,
    {
        self.0.extend(at.into_iter().map(|at| (at.clone(), key.clone())));
    }

    fn remove_all<'a>(&mut self, at: impl IntoIterator<Item = &'a K>, key: &Key)
    where
        K: 'a,
    {
        for at in at {
            self.0.remove(&(at.clone(), key.clone()));
        }
    }

    fn get(&self, at: &K) -> Vec<Key> {
        // No key comes before an empty one.
        let from = self.0.range((at.clone(), Key::default())..);
        from.take_while(|(here, _)| here == at).map(|(_, key)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cr(name: &str, source: &str, secret_id: &str) -> SecretVersion {
        let json = serde_json::json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion",
            "metadata": {"name": name, "namespace": "ns"},
            "spec": {
                "connectionRef": {"kind": "AbejaConnection", "name": "c"},
                "remoteRef": {"secretId": secret_id},
                "valueFrom": {"secretKeyRef": {"name": source, "key": "k"}},
            },
        });
        serde_json::from_value(json).unwrap()
    }

    fn add(index: &Index, cr: &SecretVersion) -> bool {
        let key = Key::of(cr);
        let links = Links::of(&key, cr, Duration::from_hours(1));
        index.insert(key, links)
    }

    #[test]
    fn finds_by_source_target_connection_and_remote_secret() {
        let index = Index::default();
        assert!(add(&index, &cr("a", "source", "1")));
        assert!(add(&index, &cr("b", "source", "1")));
        assert!(!add(&index, &cr("b", "source", "1")), "nothing changed");
        assert_eq!(index.of_secret(&Key::new("ns", "source")).len(), 2);
        assert_eq!(index.of_secret(&Key::new("ns", "a")), [Key::new("ns", "a")]);
        assert_eq!(index.of_secret(&Key::new("other", "source")), []);
        assert_eq!(index.of_remote("1").len(), 2);
        assert_eq!(index.of_remote("0"), []);
    }

    #[test]
    fn a_changed_or_removed_resource_leaves_nothing_behind() {
        let index = Index::default();
        add(&index, &cr("a", "old", "1"));
        add(&index, &cr("a", "new", "1"));
        assert_eq!(index.of_secret(&Key::new("ns", "old")), []);
        index.remove(&Key::new("ns", "a"));
        assert_eq!(index.of_remote("1"), []);
        assert_eq!(index.of_secret(&Key::new("ns", "new")), []);
    }

    #[test]
    fn a_new_list_removes_what_it_lacks() {
        let index = Index::default();
        add(&index, &cr("a", "s", "1"));
        add(&index, &cr("b", "s", "1"));
        index.begin_list();
        add(&index, &cr("b", "s", "1"));
        assert_eq!(index.end_list().len(), 1);
        assert_eq!(index.of_remote("1"), [Key::new("ns", "b")]);
    }
}
