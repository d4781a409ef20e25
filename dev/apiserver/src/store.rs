//! Objects, revisions, and the history that watches and snapshots are made from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::journal::Entry;
use crate::kinds::Kinds;
use crate::object::{self, fields, meta_mut};

/// Where an object is: its kind, and `namespace/name` or `name`, in whose order lists are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: usize,
    pub(crate) path: String,
}

impl Key {
    pub(crate) fn new(kind: usize, namespace: &str, name: &str) -> Self {
        let path = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        Self { kind, path }
    }
}

/// One write. Neither `before` nor `after` is ever changed.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) key: Key,
    pub(crate) before: Option<Arc<Value>>,
    /// Absent: it was deleted.
    pub(crate) after: Option<Arc<Value>>,
}

impl Change {
    /// The object as it was before, at the revision of this write: what a watch shows of what is gone.
    pub(crate) fn last_seen(&self) -> Option<Arc<Value>> {
        let mut last = self.before.as_deref()?.clone();
        meta_mut(&mut last).insert("resourceVersion".to_owned(), self.revision.to_string().into());
        Some(Arc::new(last))
    }
}

/// All that the server holds.
pub(crate) struct World {
    pub(crate) kinds: Kinds,
    pub(crate) revision: u64,
    /// What happened up to here is forgotten.
    pub(crate) compacted: u64,
    pub(crate) journal: Vec<Entry>,
    objects: BTreeMap<Key, Arc<Value>>,
    without_defaults: BTreeSet<Key>,
    history: VecDeque<Change>,
    clock: Box<dyn Fn() -> Timestamp + Send>,
    uid: Box<dyn FnMut() -> String + Send>,
    generated: u64,
}

impl World {
    pub(crate) fn new(
        kinds: Kinds,
        clock: Box<dyn Fn() -> Timestamp + Send>,
        uid: Box<dyn FnMut() -> String + Send>,
    ) -> Self {
        Self {
            kinds,
            // No client may take a resource version for zero, which means: any. Long numbers are found again in texts.
            revision: 1000,
            compacted: 0,
            journal: Vec::new(),
            objects: BTreeMap::new(),
            without_defaults: BTreeSet::new(),
            history: VecDeque::new(),
            clock,
            uid,
            generated: 0,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Now, as metadata has it.
    pub(crate) fn timestamp(&self) -> Value {
        self.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
    }

    pub(crate) fn fresh_uid(&mut self) -> String {
        (self.uid)()
    }

    /// What a generated name ends with.
    pub(crate) fn fresh_suffix(&mut self) -> String {
        self.generated += 1;
        format!("{:05}", self.generated)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// The objects of a kind, of one namespace or of all, in the order of lists.
    pub(crate) fn of_kind(&self, kind: usize) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        let first = Key { kind, path: String::new() };
        self.objects.range(first..).take_while(move |(key, _)| key.kind == kind)
    }

    /// The objects of a kind as they were at a revision that is not forgotten.
    pub(crate) fn at_revision(&self, kind: usize, revision: u64) -> BTreeMap<Key, Arc<Value>> {
        let mut then: BTreeMap<Key, Arc<Value>> = self.of_kind(kind).map(|(k, o)| (k.clone(), o.clone())).collect();
        let later = self.history.iter().rev().take_while(|change| change.revision > revision);
        for change in later.filter(|change| change.key.kind == kind) {
            match &change.before {
                Some(before) => drop(then.insert(change.key.clone(), before.clone())),
                None => drop(then.remove(&change.key)),
            }
        }
        then
    }

    /// What happened after a revision.
    pub(crate) fn since(&self, revision: u64) -> impl Iterator<Item = &Change> {
        self.history.range(self.history.partition_point(|change| change.revision <= revision)..)
    }

    /// Writes an object as the next revision.
    pub(crate) fn put(&mut self, key: Key, mut value: Value) -> Arc<Value> {
        self.revision += 1;
        meta_mut(&mut value).insert("resourceVersion".to_owned(), self.revision.to_string().into());
        let value = Arc::new(value);
        self.without_defaults.remove(&key);
        let before = self.objects.insert(key.clone(), value.clone());
        self.history.push_back(Change { revision: self.revision, key, before, after: Some(value.clone()) });
        value
    }

    /// Notes that the defaults of an object's status are shown but not stored: a create drops the status that it is sent,
    /// and reading sets defaults. The next write stores them, even where it changes nothing else.
    pub(crate) fn note_without_defaults(&mut self, key: Key) {
        self.without_defaults.insert(key);
    }

    pub(crate) fn is_without_defaults(&self, key: &Key) -> bool {
        self.without_defaults.contains(key)
    }

    /// Takes an object away.
    pub(crate) fn remove(&mut self, key: &Key) {
        self.without_defaults.remove(key);
        if let Some(before) = self.objects.remove(key) {
            self.revision += 1;
            let change = Change { revision: self.revision, key: key.clone(), before: Some(before), after: None };
            self.history.push_back(change);
        }
    }

    /// Forgets what happened up to a revision.
    pub(crate) fn compact(&mut self, revision: u64) {
        self.compacted = self.compacted.max(revision.min(self.revision));
        let compacted = self.compacted;
        self.history.drain(..self.history.partition_point(|change| change.revision <= compacted));
    }

    /// Makes a namespace, as if it had always been there.
    pub(crate) fn seed_namespace(&mut self, name: &str) {
        let Some((index, _)) = self.kinds.named("namespaces") else { return };
        let uid = self.fresh_uid();
        let mut namespace = json!({
            "kind": "Namespace", "apiVersion": "v1",
            "metadata": {"name": name, "uid": uid, "creationTimestamp": self.timestamp()},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        fields(&mut namespace["metadata"]["labels"]).insert("kubernetes.io/metadata.name".to_owned(), name.into());
        self.put(Key::new(index, "", name), namespace);
    }

    /// A namespace, where it exists: whether it is being deleted.
    pub(crate) fn is_terminating(&self, namespace: &str) -> Option<bool> {
        let (index, _) = self.kinds.named("namespaces")?;
        self.get(&Key::new(index, "", namespace)).map(|found| object::is_deleting(found))
    }
}
