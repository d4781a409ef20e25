//! Objects of one kind as the watch has them, by key.
//!
//! In place of kube's own store, which keeps name, UID and version of each object a second time, and all objects twice while they
//! are listed anew. Objects of which there are many are kept as JSON, which takes half of what their parts do.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};

use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::error;

use crate::domain::lane::Lane;

use super::index::Key;

/// A cache that one watch fills.
#[derive(Debug)]
pub struct Cache<K>(RwLock<Objects<K>>);

#[derive(Debug)]
struct Objects<K> {
    by_key: BTreeMap<Key, Held<K>>,
    /// Lists that were begun.
    lists: u64,
}

/// A kind that a cache can keep.
pub trait Kept:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Whether there are so many that room counts for more than the time to read one.
    const MANY: bool;

    /// The lane of an object by itself.
    fn lane(&self) -> Lane;
}

#[derive(Debug)]
enum Object<K> {
    Whole(Arc<DeserializeGuard<K>>),
    Packed(Box<[u8]>),
}

impl<K: Kept> Object<K> {
    fn new(object: &Arc<DeserializeGuard<K>>) -> Self {
        let packed = object.0.as_ref().ok().filter(|_| K::MANY).and_then(|object| serde_json::to_vec(object).ok());
        packed.map_or_else(|| Self::Whole(object.clone()), |json| Self::Packed(json.into()))
    }

    fn get(&self) -> Option<Arc<DeserializeGuard<K>>> {
        match self {
            Self::Whole(object) => Some(object.clone()),
            Self::Packed(json) => match serde_json::from_slice(json) {
                Ok(object) => Some(Arc::new(DeserializeGuard(Ok(object)))),
                Err(broken) => {
                    error!("an object cannot be read as it was kept: {broken}");
                    None
                }
            },
        }
    }
}

#[derive(Debug)]
struct Held<K> {
    object: Object<K>,
    lane: Lane,
    /// Of the list that had it last, or of the one before what told of it.
    list: u64,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self(RwLock::new(Objects { by_key: BTreeMap::new(), lists: 0 }))
    }
}

impl<K: Kept> Cache<K> {
    /// An object as the watch has it. While it is listed anew, one that the list has not come to is as it was.
    pub fn get(&self, key: &Key) -> Option<Arc<DeserializeGuard<K>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_key.get(key)?.object.get()
    }

    /// The lane of an object by itself, as the watch has it.
    pub fn lane(&self, key: &Key) -> Lane {
        let objects = self.0.read().unwrap_or_else(PoisonError::into_inner);
        objects.by_key.get(key).map_or(Lane::Refresh, |held| held.lane)
    }

    /// All objects, in the order of their keys.
    pub fn all(&self) -> Vec<Arc<DeserializeGuard<K>>> {
        let objects = self.0.read().unwrap_or_else(PoisonError::into_inner);
        objects.by_key.values().filter_map(|held| held.object.get()).collect()
    }

    /// Takes in what the watch tells. Answers whom it tells of.
    pub fn note(&self, event: &Event<Arc<DeserializeGuard<K>>>) -> Option<Key> {
        let mut objects = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => {
                objects.lists += 1;
                None
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let key = objects.known(Key::of(&**object));
                let held = Held {
                    object: Object::new(object),
                    lane: object.0.as_ref().map_or(Lane::Refresh, Kept::lane),
                    list: objects.lists,
                };
                objects.by_key.insert(key.clone(), held);
                Some(key)
            }
            Event::Delete(object) => {
                let key = Key::of(&**object);
                objects.by_key.remove(&key);
                Some(key)
            }
            Event::InitDone => {
                let lists = objects.lists;
                objects.by_key.retain(|_, held| held.list == lists);
                None
            }
        }
    }
}

/// An event of a watch whose object is shared from now on.
pub(super) fn shared<T>(event: Event<T>) -> Event<Arc<T>> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(Arc::new(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(Arc::new(object)),
        Event::Delete(object) => Event::Delete(Arc::new(object)),
    }
}

impl<K> Objects<K> {
    /// The key as it is kept, which shares its text; a new one shares its namespace with its neighbour.
    fn known(&self, key: Key) -> Key {
        match self.by_key.range(..=&key).next_back() {
            Some((known, _)) if *known == key => known.clone(),
            Some((near, _)) if near.namespace == key.namespace => Key { namespace: near.namespace.clone(), ..key },
            _ => key,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectMeta;

    use super::*;
    use crate::api::v1alpha1::SecretVersion;

    fn object(name: &str, version: &str) -> Arc<DeserializeGuard<SecretVersion>> {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            namespace: Some("ns".into()),
            uid: Some(format!("uid-{name}")),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        Arc::new(DeserializeGuard(Ok(SecretVersion { metadata, ..SecretVersion::default() })))
    }

    fn version(cache: &Cache<SecretVersion>, name: &str) -> Option<String> {
        cache.get(&Key::new("ns", name))?.meta().resource_version.clone()
    }

    #[test]
    fn a_list_replaces_what_it_has_removes_what_it_lacks_and_hides_nothing_meanwhile() {
        let cache = Cache::default();
        cache.note(&Event::Init);
        for name in ["a", "b"] {
            assert_eq!(cache.note(&Event::InitApply(object(name, "1"))), Some(Key::new("ns", name)));
        }
        cache.note(&Event::InitDone);
        cache.note(&Event::Apply(object("c", "2")));
        cache.note(&Event::Init);
        cache.note(&Event::InitApply(object("b", "3")));
        assert_eq!(version(&cache, "a").as_deref(), Some("1"), "not come to yet");
        cache.note(&Event::InitDone);
        assert_eq!(version(&cache, "b").as_deref(), Some("3"));
        assert_eq!(cache.all().len(), 1);
        cache.note(&Event::Delete(object("b", "4")));
        assert!(cache.all().is_empty());
    }

    #[test]
    fn an_object_comes_out_as_it_was_put_in() {
        let json = serde_json::json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion",
            "metadata": {
                "name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 2,
                "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
                "finalizers": ["f"], "annotations": { crate::api::RECONCILE_REQUESTED_AT: "now" },
            },
            "spec": {
                "connectionRef": {"kind": "AbejaConnection", "name": "c"}, "remoteRef": {"secretId": "1"},
                "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}, "refreshInterval": "5m", "suspend": false,
                "target": {"labels": {"a": "ä"}, "data": [{"key": "k", "property": "/p"}]},
            },
            "status": {
                "observedGeneration": -1, "versionId": "v", "version": 9, "state": "Inactive", "origin": "Created",
                "history": [{"versionId": "v", "version": 9, "origin": "Referenced", "digest": "d", "uid": "u", "place": "p"}],
                "create": {
                    "schema": 1, "id": "i", "uid": "u", "place": "p", "digest": "d", "attempts": 1, "timeoutSeconds": 30,
                    "startedAt": "2026-01-01T00:00:00Z", "baseline": {"version": 0}, "withdrawn": true,
                    "earlier": [{"digest": "e", "baseline": {"version": 3, "createdAt": "t"}}],
                },
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "Synced", "message": "\u{0}\"",
                    "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 2,
                }],
            },
        });
        let whole: Arc<DeserializeGuard<SecretVersion>> = Arc::new(serde_json::from_value(json).unwrap());
        let cache = Cache::default();
        let key = cache.note(&Event::Apply(whole.clone())).unwrap();
        assert_eq!(cache.get(&key).unwrap().0.as_ref().ok(), whole.0.as_ref().ok());
        assert!(whole.0.is_ok());
        assert_eq!(cache.lane(&key), Lane::Urgent, "it is being deleted");

        let odd = serde_json::json!({"metadata": {"name": "odd", "namespace": "ns"}, "spec": 1});
        let key = cache.note(&Event::Apply(Arc::new(serde_json::from_value(odd).unwrap()))).unwrap();
        assert!(cache.get(&key).unwrap().0.is_err(), "what cannot be read is there all the same");
    }

    #[test]
    fn keys_share_their_text() {
        let cache = Cache::default();
        let first = cache.note(&Event::Apply(object("a", "1"))).unwrap();
        let again = cache.note(&Event::Apply(object("a", "2"))).unwrap();
        let next = cache.note(&Event::Apply(object("b", "1"))).unwrap();
        assert!(Arc::ptr_eq(&first.name, &again.name));
        assert!(Arc::ptr_eq(&first.namespace, &next.namespace));
    }
}
