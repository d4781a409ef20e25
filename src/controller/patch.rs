//! Merge patches (RFC 7396) from what is to what should be: only what differs, and guarded by UID and resource version.

use kube::api::PatchParams;
use kube::core::ObjectMeta;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::api::FINALIZER;

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
