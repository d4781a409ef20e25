//! Merge patches (RFC 7396) from what is to what should be: only what differs, and guarded by UID and resource version.

use std::collections::BTreeMap;

use kube::api::PatchParams;
use kube::core::ObjectMeta;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::api::v1alpha1::SecretVersion;
use crate::api::{FINALIZER, GROUP};

/// The field manager of everything that is written.
pub(super) const FIELD_MANAGER: &str = "secret-version-operator";

/// How every patch is sent: under one name, never forced.
pub(super) fn params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// The patch that makes one status into another. `None` where nothing differs.
pub(super) fn status<T: Serialize>(old: &T, new: &T, meta: &ObjectMeta) -> Option<Value> {
    let changes = difference(&to_value(old), &to_value(new))?;
    Some(json!({
        "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        "status": changes,
    }))
}

/// The patch that puts our finalizer on an object, or takes it off, and leaves those of others.
pub(super) fn finalizer(meta: &ObjectMeta, wanted: bool) -> Value {
    let others = meta.finalizers.iter().flatten().map(String::as_str).filter(|f| *f != FINALIZER);
    let finalizers: Vec<&str> = others.chain(wanted.then_some(FINALIZER)).collect();
    json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": finalizers}})
}

/// Takes off what the rules never look at: labels, the annotations of others, and whose field is whose.
pub(super) fn prune(meta: &mut ObjectMeta) {
    (meta.managed_fields, meta.labels) = (None, None);
    let ours = meta.annotations.take().unwrap_or_default().into_iter().filter(|(key, _)| key.starts_with(GROUP));
    meta.annotations = Some(ours.collect()).filter(|ours: &BTreeMap<_, _>| !ours.is_empty());
}

/// Whether two states of a resource differ, if at all, only in what the rules never look at.
pub(super) fn alike(one: &SecretVersion, other: &SecretVersion) -> bool {
    let bare = |cr: &SecretVersion| {
        let mut cr = cr.clone();
        prune(&mut cr.metadata);
        cr.metadata.resource_version = None;
        cr
    };
    bare(one) == bare(other)
}

fn to_value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn difference(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        _ if old == new => None,
        (Value::Object(old), Value::Object(new)) => {
            let mut changes = Map::new();
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                changes.insert(key.clone(), Value::Null);
            }
            for (key, value) in new {
                let change = old.get(key).map_or_else(|| Some(value.clone()), |before| difference(before, value));
                changes.extend(change.map(|change| (key.clone(), change)));
            }
            Some(Value::Object(changes))
        }
        _ => Some(new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_no_concern_and_everything_else_is() {
        let one = json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion",
            "metadata": {"name": "a", "uid": "u", "resourceVersion": "1", "generation": 1, "finalizers": [FINALIZER]},
            "spec": {"connectionRef": {"kind": "AbejaConnection", "name": "c"}, "remoteRef": {"secretId": "1"}},
            "status": {"versionId": "v1"},
        });
        for (pointer, value, expected) in [
            ("/metadata/resourceVersion", json!("2"), true),
            ("/metadata/labels", json!({"a": "b"}), true),
            ("/metadata/annotations", json!({"a": "b"}), true),
            ("/metadata/annotations", json!({crate::api::RECONCILE_REQUESTED_AT: "now"}), false),
            ("/metadata/uid", json!("w"), false),
            ("/metadata/generation", json!(2), false),
            ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"), false),
            ("/metadata/finalizers", json!([FINALIZER, "another"]), false),
            ("/spec/remoteRef/secretId", json!("2"), false),
            ("/status/versionId", json!("v2"), false),
        ] {
            let mut other = one.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            other.pointer_mut(parent).unwrap()[field] = value;
            let read = |value: &Value| serde_json::from_value::<SecretVersion>(value.clone()).unwrap();
            assert_eq!(alike(&read(&one), &read(&other)), expected, "{pointer}");
        }
    }

    #[test]
    fn only_what_differs_is_sent_and_what_went_is_null() {
        for (old, new, expected) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({"a": 2}), Some(json!({"a": 2}))),
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 1}}), Some(json!({"a": {"c": null}}))),
            (json!({"a": [1, 2]}), json!({"a": [1]}), Some(json!({"a": [1]}))),
            (json!({}), json!({"a": {"b": 1}}), Some(json!({"a": {"b": 1}}))),
        ] {
            assert_eq!(difference(&old, &new), expected, "{old} to {new}");
        }
    }
}
