//! The entries of `managedFields`.

use serde_json::{Value, json};

use super::compare::{Differences, paths_of};
use super::merge::{merge, remove};
use super::set::{Set, Step, shown};
use crate::kinds::Kind;
use crate::object::{self, fields, meta_mut, set};
use crate::refusal::Refusal;

/// What nobody owns.
const OWNERLESS: [&str; 10] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
];

/// Under which name a write takes fields.
#[derive(Debug, Clone)]
pub(crate) struct Ownership<'a> {
    pub(crate) manager: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) now: Value,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: String,
    applied: bool,
    version: String,
    subresource: String,
    time: Option<Value>,
    set: Set,
}

impl Entry {
    fn parse(entry: &Value) -> Self {
        let text = |field: &str| object::text(entry, &[field]).unwrap_or_default().to_owned();
        Self {
            manager: text("manager"),
            applied: entry["operation"] == "Apply",
            version: text("apiVersion"),
            subresource: text("subresource"),
            time: entry.get("time").cloned(),
            set: Set::parse(&entry["fieldsV1"]),
        }
    }

    fn json(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": if self.applied { "Apply" } else { "Update" },
            "apiVersion": self.version, "fieldsType": "FieldsV1", "fieldsV1": self.set.json(),
        });
        if let Some(time) = &self.time {
            entry["time"] = time.clone();
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.as_str().into();
        }
        entry
    }

    fn is_of(&self, kind: &Kind, owner: &Ownership<'_>, applied: bool) -> bool {
        self.manager == owner.manager
            && self.applied == applied
            && self.subresource == owner.subresource
            && self.version == kind.api_version()
    }

    /// As conflicts name it.
    fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        if self.applied { text } else { format!("{text} using {}", self.version) }
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    let all = object::at(object, &["metadata", "managedFields"]).and_then(Value::as_array);
    all.into_iter().flatten().map(Entry::parse).collect()
}

fn store(object: &mut Value, mut all: Vec<Entry>) {
    all.retain(|entry| !entry.set.is_empty());
    let time = |entry: &Entry| entry.time.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    all.sort_by_cached_key(|entry| {
        (!entry.applied, time(entry), entry.manager.clone(), entry.version.clone(), entry.subresource.clone())
    });
    let all: Vec<Value> = all.iter().map(Entry::json).collect();
    set(meta_mut(object), "managedFields", (!all.is_empty()).then(|| all.into()));
}

/// What of an object can be owned.
fn ownable(object: &Value) -> Value {
    let mut object = object.clone();
    let map = fields(&mut object);
    map.remove("apiVersion");
    map.remove("kind");
    if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
        metadata.retain(|field, _| !OWNERLESS.contains(&field.as_str()));
    }
    object
}

/// Without what is always there, so that nobody puts it there.
fn without_frames(kind: &Kind, mut set: Set) -> Set {
    let frames: &[&str] = if kind.custom { &["metadata"] } else { &["metadata", "spec", "status"] };
    for frame in frames {
        set.remove(&[frame], false);
    }
    set
}

/// Notes in a changed object who changed what. `existing` is null for a new one.
pub(crate) fn note_update(kind: &Kind, existing: &Value, new: &mut Value, owner: &Ownership<'_>) {
    let mut all = entries(new);
    if all.is_empty() {
        all = entries(existing);
    }
    let differences = Differences::of(&kind.schema, &ownable(existing), &ownable(new));
    if differences.is_empty() {
        store(new, all);
        return;
    }
    let written = without_frames(kind, differences.written());
    for entry in &mut all {
        entry.set = entry.set.difference(&written).difference(&differences.removed);
    }
    if !written.is_empty() {
        match all.iter_mut().find(|entry| entry.is_of(kind, owner, false)) {
            Some(entry) => {
                entry.set = entry.set.union(&written);
                entry.time = Some(owner.now.clone());
            }
            None => all.push(Entry {
                manager: owner.manager.to_owned(),
                applied: false,
                version: kind.api_version(),
                subresource: owner.subresource.to_owned(),
                time: Some(owner.now.clone()),
                set: written,
            }),
        }
    }
    store(new, all);
}

/// The object that an apply makes of what is there. `live` is null where there is nothing.
pub(crate) fn apply(
    kind: &Kind,
    live: &Value,
    applied: &Value,
    owner: &Ownership<'_>,
    force: bool,
) -> Result<Value, Refusal> {
    let mut all = entries(live);
    let own = all.iter().position(|entry| entry.is_of(kind, owner, true));
    let before = own.map(|i| all.remove(i));
    let wanted = without_frames(kind, paths_of(&kind.schema, &ownable(applied)));

    let nothing = json!({"metadata": {}});
    let base = if live.is_null() { &nothing } else { live };
    let mut merged = merge(&kind.schema, base, applied);
    if let Some(before) = &before {
        let others = all.iter().fold(wanted.clone(), |kept, entry| kept.union(&entry.set));
        for path in before.set.difference(&others).paths() {
            remove(&kind.schema, &mut merged, &path);
        }
    }
    let differences = Differences::of(&kind.schema, &ownable(base), &ownable(&merged));
    let written = without_frames(kind, differences.written());
    let conflicts: Vec<(String, Vec<Step>)> = all
        .iter()
        .flat_map(|entry| {
            let common = entry.set.intersection(&written).paths();
            common.into_iter().map(|path| (entry.shown(), path))
        })
        .collect();
    if !conflicts.is_empty() && !force {
        return Err(conflict(&conflicts));
    }
    for entry in &mut all {
        entry.set = entry.set.difference(&written).difference(&differences.removed);
    }
    let time = if differences.is_empty() { before.and_then(|entry| entry.time) } else { Some(owner.now.clone()) };
    all.push(Entry {
        manager: owner.manager.to_owned(),
        applied: true,
        version: kind.api_version(),
        subresource: owner.subresource.to_owned(),
        time,
        set: wanted,
    });
    store(&mut merged, all);
    Ok(merged)
}

fn conflict(conflicts: &[(String, Vec<Step>)]) -> Refusal {
    let message = if let [(manager, path)] = conflicts {
        format!("Apply failed with 1 conflict: conflict with {manager}: {}", shown(path))
    } else {
        let mut managers: Vec<&String> = conflicts.iter().map(|(manager, _)| manager).collect();
        managers.sort();
        managers.dedup();
        let lines = managers.into_iter().flat_map(|manager| {
            let of_it = conflicts.iter().filter(move |(other, _)| other == manager);
            let paths = of_it.map(|(_, path)| format!("- {}", shown(path)));
            std::iter::once(format!("conflicts with {manager}:")).chain(paths)
        });
        format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.collect::<Vec<_>>().join("\n"))
    };
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|(manager, path)| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": shown(path)})
        })
        .collect();
    Refusal::apply_conflict(message).with_details(json!({"causes": causes}))
}
