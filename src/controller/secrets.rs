//! Secrets as small records from a metadata-only watch: never a payload.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use tokio::sync::watch;

use crate::api::v1alpha1::ObjectSeen;
use crate::domain::observed::Meta;

use super::index::Key;

/// What is known of the Secrets in the watched namespaces.
#[derive(Debug)]
pub struct SecretCache {
    watched: bool,
    records: Mutex<BTreeMap<Key, Record>>,
    ready: watch::Sender<usize>,
    streams: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Record {
    uid: Option<String>,
    resource_version: Option<String>,
    list: u64,
}

impl SecretCache {
    /// A cache that this many watches fill; none where Secrets are not watched.
    pub fn new(streams: usize) -> Self {
        Self { watched: streams > 0, records: Mutex::default(), ready: watch::Sender::new(0), streams }
    }

    /// Waits until every watch has listed once.
    pub async fn ready(&self) {
        let mut ready = self.ready.subscribe();
        let _ = ready.wait_for(|listed| *listed >= self.streams).await;
    }

    /// A Secret as the watch has it.
    pub fn meta(&self, key: &Key) -> Meta {
        if !self.watched {
            return Meta::NotWatched;
        }
        match self.lock().get(key) {
            None => Meta::Absent,
            Some(record) => Meta::Present(ObjectSeen {
                name: key.name.to_string(),
                uid: record.uid.clone(),
                resource_version: record.resource_version.clone(),
            }),
        }
    }

    /// Takes in an event of one watch, and answers the Secrets that moved.
    pub fn note(&self, list: &mut Listing, event: Event<PartialObjectMeta<Secret>>) -> Vec<Key> {
        match event {
            Event::Init => {
                list.generation += 1;
                Vec::new()
            }
            Event::InitApply(secret) | Event::Apply(secret) => {
                let key = Key::of(&secret);
                let meta = secret.metadata;
                let record = Record { uid: meta.uid, resource_version: meta.resource_version, list: list.generation };
                let old = self.lock().insert(key.clone(), record.clone());
                let moved =
                    old.is_none_or(|old| (old.uid, old.resource_version) != (record.uid, record.resource_version));
                if moved { vec![key] } else { Vec::new() }
            }
            Event::Delete(secret) => {
                let key = Key::of(&secret);
                self.lock().remove(&key);
                vec![key]
            }
            Event::InitDone => {
                let gone: Vec<Key> = {
                    let mut records = self.lock();
                    let stale = |key: &Key, record: &Record| list.covers(key) && record.list < list.generation;
                    let gone = records.iter().filter(|(k, r)| stale(k, r)).map(|(k, _)| k.clone()).collect();
                    records.retain(|key, record| !stale(key, record));
                    gone
                };
                if !std::mem::replace(&mut list.listed, true) {
                    self.ready.send_modify(|listed| *listed += 1);
                }
                gone
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one watch of Secrets is in its lists.
#[derive(Debug)]
pub struct Listing {
    namespace: Option<String>,
    generation: u64,
    listed: bool,
}

impl Listing {
    /// A watch of one namespace, or of all.
    pub fn new(namespace: Option<String>) -> Self {
        Self { namespace, generation: 0, listed: false }
    }

    fn covers(&self, key: &Key) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| **namespace == *key.namespace)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectMeta;

    use super::*;

    fn secret(name: &str, version: &str) -> PartialObjectMeta<Secret> {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            namespace: Some("ns".into()),
            uid: Some(format!("uid-{name}")),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        PartialObjectMeta { metadata, ..PartialObjectMeta::default() }
    }

    #[test]
    fn only_what_moved_is_answered_and_a_new_list_removes_what_it_lacks() {
        let cache = SecretCache::new(1);
        let mut list = Listing::new(None);
        let key = |name| Key::new("ns", name);
        cache.note(&mut list, Event::Init);
        assert_eq!(cache.note(&mut list, Event::InitApply(secret("a", "1"))), [key("a")]);
        cache.note(&mut list, Event::InitApply(secret("b", "1")));
        assert_eq!(cache.note(&mut list, Event::InitDone), []);
        assert_eq!(cache.note(&mut list, Event::Apply(secret("a", "1"))), []);
        assert_eq!(cache.note(&mut list, Event::Apply(secret("a", "2"))), [key("a")]);
        cache.note(&mut list, Event::Init);
        cache.note(&mut list, Event::InitApply(secret("a", "2")));
        assert_eq!(cache.note(&mut list, Event::InitDone), [key("b")]);
        assert_eq!(cache.meta(&key("b")), Meta::Absent);
        assert!(matches!(cache.meta(&key("a")), Meta::Present(seen) if seen.resource_version.as_deref() == Some("2")));
    }

    #[test]
    fn what_is_not_watched_is_neither_there_nor_absent() {
        assert_eq!(SecretCache::new(0).meta(&Key::new("ns", "a")), Meta::NotWatched);
    }
}
