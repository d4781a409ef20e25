//! What is particular to a kind: how it is read, completed and judged.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

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
        take_string_data(&mut object);
        readable_data(kind, &object)?;
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

fn take_string_data(secret: &mut Value) {
    let Some(Value::Object(texts)) = fields(secret).remove("stringData") else { return };
    let data = fields(&mut secret["data"]);
    for (key, text) in texts {
        let encoded = BASE64_STANDARD.encode(text.as_str().unwrap_or_default());
        data.insert(key, encoded.into());
    }
}

fn readable_data(kind: &Kind, secret: &Value) -> Result<(), Refusal> {
    let unreadable = |why: &str| {
        let message = format!("{0} in version \"{1}\" cannot be handled as a {0}: {why}", kind.name, kind.version);
        Refusal::bad_request(message)
    };
    for value in object::at(secret, &["data"]).and_then(Value::as_object).into_iter().flat_map(Map::values) {
        match value.as_str().map(|text| BASE64_STANDARD.decode(text)) {
            Some(Ok(_)) => {}
            Some(Err(_)) => return Err(unreadable("illegal base64 data")),
            None if value.is_null() => {}
            None => return Err(unreadable("json: cannot unmarshal into Go struct field Secret.data of type []uint8")),
        }
    }
    Ok(())
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

/// What is wrong with an object.
pub(crate) fn complaints(kind: &Kind, object: &Value) -> Vec<Cause> {
    if kind.custom {
        return schema::complaints(&kind.schema, object);
    }
    Vec::new()
}

/// What is wrong with a change.
pub(crate) fn changed_complaints(_kind: &Kind, _existing: &Value, _new: &Value) -> Vec<Cause> {
    Vec::new()
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
