//! Spoiled answers: what a malformation does to the JSON of a good one. Pure.

use serde_json::{Value, json};

use crate::fault::Malformation;

/// The body that a malformation makes of a good one. A body that is not JSON stays as it is.
pub(crate) fn spoil(malformation: Malformation, body: &[u8]) -> Vec<u8> {
    match malformation {
        Malformation::InvalidJson => b"{\"id\": nonsense".to_vec(),
        Malformation::TruncatedJson => body[..body.len() / 2].to_vec(),
        Malformation::EmptyBody => Vec::new(),
        Malformation::NotUtf8 => not_utf8(body),
        // It bends the request, not the answer.
        Malformation::RepeatFirstPage => body.to_vec(),
        other => {
            let Ok(mut json) = serde_json::from_slice::<Value>(body) else {
                return body.to_vec();
            };
            match other {
                Malformation::DuplicateRows => duplicate_rows(&mut json),
                Malformation::HasNextTrue => has_next(&mut json, true),
                Malformation::HasNextFalse => has_next(&mut json, false),
                _ => each_version(&mut json, &|version| spoil_version(other, version)),
            }
            json.to_string().into_bytes()
        }
    }
}

/// Puts a lone continuation byte into the first string value.
fn not_utf8(body: &[u8]) -> Vec<u8> {
    let mark = b":\"";
    let at = body.windows(mark.len()).position(|window| window == mark);
    at.map_or_else(
        || vec![b'"', 0x80, b'"'],
        |at| {
            let (head, tail) = body.split_at(at + mark.len());
            [head, &[0x80], tail].concat()
        },
    )
}

fn duplicate_rows(json: &mut Value) {
    for member in ["versions", "secrets"] {
        if let Some(rows) = json.get_mut(member).and_then(Value::as_array_mut) {
            *rows = rows.iter().flat_map(|row| [row.clone(), row.clone()]).collect();
        }
    }
}

fn has_next(json: &mut Value, lie: bool) {
    for pointer in ["/has_next", "/pagination/has_next"] {
        if let Some(member) = json.pointer_mut(pointer) {
            *member = json!(lie);
        }
    }
}

fn each_version(json: &mut Value, change: &impl Fn(&mut Value)) {
    if json.get("version").is_some() {
        change(json);
    }
    for member in ["versions", "secrets"] {
        for row in json.get_mut(member).and_then(Value::as_array_mut).into_iter().flatten() {
            each_version(row, change);
        }
    }
}

fn spoil_version(malformation: Malformation, version: &mut Value) {
    let Some(members) = version.as_object_mut() else {
        return;
    };
    let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
    match malformation {
        Malformation::WrongType => {
            set("version", json!("one"));
            set("status", json!(1));
        }
        Malformation::MissingValue => {
            members.remove("value");
        }
        Malformation::NullValue => {
            set("value", Value::Null);
        }
        Malformation::BadBase64 => {
            set("value", json!("not*base64"));
        }
        Malformation::AlteredValue => {
            set("value", json!(crate::wire::encode(b"altered on the way")));
        }
        Malformation::OtherVersionId => {
            set("id", json!("9999999999999"));
        }
        Malformation::OtherSecretId => {
            set("secret_id", json!("9999999999999"));
        }
        Malformation::UnknownStatus => {
            set("status", json!("quarantined"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = br#"{"pagination":{"has_next":false},"versions":[{"id":"1","version":1,"value":"YQ==","status":"active","secret_id":"2"}]}"#;
    const SECRETS: &[u8] =
        br#"{"has_next":false,"secrets":[{"id":"2","versions":[{"id":"1","version":1,"value":"YQ=="}]}]}"#;

    fn spoiled(malformation: Malformation, body: &[u8]) -> Value {
        serde_json::from_slice(&spoil(malformation, body)).unwrap()
    }

    #[test]
    fn versions_are_spoiled_wherever_they_are() {
        let row = b"{\"id\":\"1\",\"version\":1,\"value\":\"YQ==\"}";
        for (body, pointer) in [(&row[..], ""), (LIST, "/versions/0"), (SECRETS, "/secrets/0/versions/0")] {
            let version = |malformation| spoiled(malformation, body).pointer(pointer).unwrap().clone();
            assert!(version(Malformation::MissingValue).get("value").is_none());
            assert!(version(Malformation::NullValue)["value"].is_null());
            assert_eq!(version(Malformation::BadBase64)["value"], "not*base64");
            assert_ne!(version(Malformation::AlteredValue)["value"], "YQ==");
            assert_eq!(version(Malformation::UnknownStatus)["status"], "quarantined");
            assert!(version(Malformation::WrongType)["version"].is_string());
            assert_eq!(version(Malformation::OtherVersionId)["id"], "9999999999999");
            assert_eq!(version(Malformation::OtherSecretId)["secret_id"], "9999999999999");
        }
        assert_eq!(spoiled(Malformation::OtherVersionId, SECRETS)["secrets"][0]["id"], "2");
    }

    #[test]
    fn lists_lie() {
        assert_eq!(spoiled(Malformation::HasNextTrue, LIST)["pagination"]["has_next"], true);
        assert_eq!(spoiled(Malformation::HasNextTrue, SECRETS)["has_next"], true);
        let rows = spoiled(Malformation::DuplicateRows, LIST);
        assert_eq!(rows["versions"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn broken_json_is_broken() {
        for malformation in
            [Malformation::InvalidJson, Malformation::TruncatedJson, Malformation::EmptyBody, Malformation::NotUtf8]
        {
            let body = spoil(malformation, LIST);
            assert!(serde_json::from_slice::<Value>(&body).is_err(), "{malformation:?}");
        }
        assert!(String::from_utf8(spoil(Malformation::NotUtf8, LIST)).is_err());
    }
}
