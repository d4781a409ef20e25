//! From an object that moved to the resources that care: kept by hand from the watch of our resources, because scanning
//! every resource for every event of every Secret would cost the square of the cluster. Ordered, so that the same world
//! takes the same course.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use kube::runtime::reflector::{self, ObjectRef};

use crate::api::v1alpha1::{ConnectionKind, DeletionPolicy, SecretVersion};
use crate::domain::projection::TargetView;

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

    /// The object's reference in a watch's cache.
    pub fn object_ref<K: reflector::Lookup<DynamicType = ()>>(&self) -> ObjectRef<K> {
        let object = ObjectRef::new(&self.name);
        if self.namespace.is_empty() { object } else { object.within(&self.namespace) }
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

/// What a resource depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    secrets: Box<[Key]>,
    connection: Arc<ConnectionKey>,
    /// Whether the connection will be needed to clean up: an edit of the policy concerns it.
    cleans_up: bool,
    remote_secret: Option<Arc<str>>,
}

impl Links {
    /// The links of a resource, which has this key.
    pub fn of(key: &Key, cr: &SecretVersion) -> Self {
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
            cleans_up: cr.spec.value_from.is_some()
                && cr.spec.deletion_policy.unwrap_or_default() != DeletionPolicy::Retain,
            remote_secret: cr.spec.remote_ref.secret_id.as_deref().or(pinned).map(Arc::from),
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
    unseen: BTreeSet<Key>,
}

impl Index {
    /// A resource appeared or changed. Answers whether its links did.
    pub fn insert(&self, key: Key, mut links: Links) -> bool {
        self.with(|inner| {
            inner.unseen.remove(&key);
            if inner.links.get(&key) == Some(&links) {
                return false;
            }
            inner.remove(&key);
            // One for all who use it.
            if let Some((known, _)) = inner.by_connection.get_key_value(&links.connection) {
                links.connection = known.clone();
            }
            inner.by_secret.add_all(&links.secrets, &key);
            inner.by_connection.entry(links.connection.clone()).or_default().insert(key.clone());
            inner.by_remote.add_all(&links.remote_secret, &key);
            inner.links.insert(key, links);
            true
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

    /// The resources of a remote secret, by its id alone: callers compare the whole place.
    pub fn of_remote(&self, secret_id: &str) -> Vec<Key> {
        self.with(|inner| inner.by_remote.get(&secret_id.into()))
    }

    /// The resources that shared anything with links that are gone.
    pub fn neighbours(&self, links: &Links) -> (Vec<Key>, ConnectionKey) {
        let siblings = links.remote_secret.iter().flat_map(|id| self.of_remote(id)).collect();
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
        let links = Links::of(&key, cr);
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
