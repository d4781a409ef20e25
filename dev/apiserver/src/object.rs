//! Objects as JSON: short ways to what is often asked.

use serde_json::{Map, Value};

/// A text at a path.
pub(crate) fn text<'a>(object: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(object, path)?.as_str()
}

/// What is at a path, where something is.
pub(crate) fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// A text of the metadata; empty counts as absent.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    text(object, &["metadata", field]).filter(|text| !text.is_empty())
}

pub(crate) fn name(object: &Value) -> &str {
    meta(object, "name").unwrap_or_default()
}

pub(crate) fn namespace(object: &Value) -> &str {
    meta(object, "namespace").unwrap_or_default()
}

pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    texts(object, &["metadata", "finalizers"])
}

/// The texts of a list.
pub(crate) fn texts<'a>(object: &'a Value, path: &[&str]) -> Vec<&'a str> {
    at(object, path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(crate) fn is_deleting(object: &Value) -> bool {
    meta(object, "deletionTimestamp").is_some()
}

/// The metadata, made where there is none.
pub(crate) fn meta_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = Value::Object(Map::new());
    }
    fields(&mut object["metadata"])
}

/// A value as a map; made one where it is something else.
pub(crate) fn fields(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made a map"),
    }
}

/// Sets a field of a map, or takes it off.
pub(crate) fn set(map: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    match value {
        Some(value) => drop(map.insert(field.to_owned(), value)),
        None => drop(map.remove(field)),
    }
}
