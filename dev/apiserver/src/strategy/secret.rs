//! Secrets: data, types, immutability.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use crate::kinds::Kind;
use crate::object::{self, fields};
use crate::refusal::{Cause, Refusal};

/// The most bytes that all values have together.
const LIMIT: usize = 1024 * 1024;
const LONGEST_KEY: usize = 253;
const KEY_RULE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  \
                        or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Puts what is sent as text among the data.
pub(super) fn take_string_data(secret: &mut Value) {
    let Some(Value::Object(texts)) = fields(secret).remove("stringData") else { return };
    let data = fields(&mut secret["data"]);
    for (key, text) in texts {
        let encoded = BASE64_STANDARD.encode(text.as_str().unwrap_or_default());
        data.insert(key, encoded.into());
    }
}

/// Refuses data that are not base64.
pub(super) fn readable_data(kind: &Kind, secret: &Value) -> Result<(), Refusal> {
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

/// What is wrong with a Secret.
pub(super) fn complaints(secret: &Value) -> Vec<Cause> {
    let none = Map::new();
    let data = object::at(secret, &["data"]).and_then(Value::as_object).unwrap_or(&none);
    let mut causes: Vec<Cause> = data.keys().filter_map(|key| key_complaint(key)).collect();
    let size =
        |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).map_or(0, |bytes| bytes.len());
    if data.values().map(size).sum::<usize>() > LIMIT {
        causes.push(Cause::too_long("data", LIMIT as u64));
    }
    let missing = |key: &&&str| !data.contains_key(**key);
    let needed: &[&str] = match object::text(secret, &["type"]).unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/basic-auth" if !data.contains_key("username") && !data.contains_key("password") => {
            &["username", "password"]
        }
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if object::at(secret, &["metadata", "annotations", name]).is_none() {
                causes.push(Cause::required(format!("metadata.annotations[{name}]"), ""));
            }
            &[]
        }
        _ => &[],
    };
    causes.extend(needed.iter().filter(missing).map(|key| Cause::required(format!("data[{key}]"), "")));
    for key in needed.iter().filter(|key| key.starts_with(".docker")) {
        let bytes = data.get(*key).and_then(Value::as_str).and_then(|text| BASE64_STANDARD.decode(text).ok());
        if bytes.is_some_and(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).is_err()) {
            let why = "invalid character looking for beginning of value";
            causes.push(Cause::invalid(format!("data[{key}]"), &"<secret contents redacted>".into(), why));
        }
    }
    causes
}

fn key_complaint(key: &str) -> Option<Cause> {
    let at = format!("data[{key}]");
    let fits = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let why = match key {
        _ if key.len() > LONGEST_KEY => "must be no more than 253 bytes",
        _ if !fits => KEY_RULE,
        "." => "must not be '.'",
        ".." => "must not be '..'",
        _ if key.starts_with("..") => "must not start with '..'",
        _ => return None,
    };
    Some(Cause::invalid(at, &key.into(), why))
}

/// What is wrong with a change of a Secret.
pub(super) fn changed_complaints(existing: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if existing["type"] != new["type"] {
        causes.push(Cause::invalid("type", &new["type"], "field is immutable"));
    }
    if existing["immutable"] == true {
        for field in ["immutable", "data"] {
            if existing.get(field) != new.get(field) {
                causes.push(Cause::forbidden(field, "field is immutable when `immutable` is set"));
            }
        }
    }
    causes
}
