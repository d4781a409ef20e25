//! What is particular to a kind: how it is read, completed and judged.

mod event;
mod lease;
mod secret;

use std::sync::Arc;

use serde_json::Value;

use crate::kinds::Kind;
use crate::object::{self, fields, set};
use crate::refusal::{Cause, Refusal};
use crate::schema;

/// Reads an object that a client sent.
pub(crate) fn decode(kind: &Arc<Kind>, object: Value) -> Result<Value, Refusal> {
    let mut object = decode_as_sent(kind, object)?;
    if kind.custom {
        schema::set_defaults(&kind.schema, &mut object);
    } else {
        drop_empty(&mut object);
        readable(kind, &object)?;
        if kind.is("leases") {
            lease::readable_times(kind, &object)?;
        }
    }
    Ok(object)
}

/// The same, without what the server adds.
pub(crate) fn decode_as_sent(kind: &Arc<Kind>, mut object: Value) -> Result<Value, Refusal> {
    let given = object::text(&object, &["kind"]).unwrap_or_default().to_owned();
    if !object.is_object() || (given.is_empty() && kind.custom) {
        return Err(Refusal::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing",
            kind.name
        )));
    }
    let version = object::text(&object, &["apiVersion"]).unwrap_or_default().to_owned();
    if !given.is_empty() && given != kind.name && kind.custom {
        let cause = Cause::invalid("kind", &given.as_str().into(), &format!("must be {}", kind.name));
        return Err(Refusal::misnamed(kind, &given, object::name(&object), &cause));
    }
    if (!given.is_empty() && given != kind.name) || (!version.is_empty() && version != kind.api_version()) {
        return Err(Refusal::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    let map = fields(&mut object);
    map.insert("kind".to_owned(), kind.name.as_str().into());
    map.insert("apiVersion".to_owned(), kind.api_version().into());
    if kind.is("secrets") {
        secret::take_string_data(&mut object);
        secret::readable_data(kind, &object)?;
    }
    schema::prune(&kind.schema, &mut object);
    drop_empty(&mut object["metadata"]);
    Ok(object)
}

/// The server's own kinds are typed: what does not fit is not even read.
fn readable(kind: &Kind, object: &Value) -> Result<(), Refusal> {
    match schema::complaints(&kind.schema, object).first() {
        Some(cause) => {
            let (name, version) = (&kind.name, &kind.version);
            let message =
                format!("{name} in version \"{version}\" cannot be handled as a {name}: {}", cause.sentence());
            Err(Refusal::bad_request(message))
        }
        None => Ok(()),
    }
}

/// What the server's own types leave out when they are written.
fn drop_empty(value: &mut Value) {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    if let Value::Object(map) = value {
        map.retain(|_, value| !empty(value));
    }
}

/// What the server adds on behalf of whoever writes.
pub(crate) fn set_defaults(kind: &Kind, object: &mut Value) {
    if kind.is("secrets") && object.get("type").is_none() {
        object["type"] = "Opaque".into();
    }
    if kind.is("namespaces") {
        let name = object::name(object).to_owned();
        let labels = fields(&mut object["metadata"]["labels"]);
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

/// What the server adds by itself, and nobody owns.
pub(crate) fn complete(kind: &Kind, object: &mut Value) {
    if kind.custom && object.get("status").is_none() {
        schema::set_defaults(&kind.schema, object);
    }
    if kind.is("namespaces") {
        if object::at(object, &["spec", "finalizers"]).is_none() && !object::is_deleting(object) {
            object["spec"]["finalizers"] = Value::from(vec!["kubernetes"]);
        }
        if object::at(object, &["status", "phase"]).is_none() {
            object["status"]["phase"] = "Active".into();
        }
    }
}

/// What is wrong with an object. A write of a subresource is judged by it alone, in words that begin there.
pub(crate) fn complaints(kind: &Kind, object: &Value, subresource: &str) -> Vec<Cause> {
    match kind.plural.as_str() {
        _ if kind.custom && subresource == "status" => {
            let causes = schema::complaints(&kind.schema["properties"]["status"], &object["status"]);
            causes.into_iter().map(|cause| cause.within("status")).collect()
        }
        _ if kind.custom => schema::complaints(&kind.schema, object),
        "secrets" => secret::complaints(object),
        "leases" => lease::complaints(object),
        "events" => event::complaints(object),
        _ => Vec::new(),
    }
}

/// What is wrong with a change.
pub(crate) fn changed_complaints(kind: &Kind, existing: &Value, new: &Value) -> Vec<Cause> {
    match kind.plural.as_str() {
        _ if kind.custom => Vec::new(),
        "secrets" => secret::changed_complaints(existing, new),
        "events" => event::changed_complaints(existing, new),
        _ => Vec::new(),
    }
}

/// Whether something other than finalizers in the metadata keeps an object that is being deleted.
pub(crate) fn is_held(kind: &Kind, object: &Value) -> bool {
    kind.is("namespaces") && !object::texts(object, &["spec", "finalizers"]).is_empty()
}

/// What a kind says of an object whose deletion begins.
pub(crate) fn mark_deleting(kind: &Kind, object: &mut Value) {
    if kind.is("namespaces") {
        set(fields(&mut object["status"]), "phase", Some("Terminating".into()));
    }
}
