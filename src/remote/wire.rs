//! The shapes of the API's answers. Unknown fields are passed over; a known one that is missing or of another type makes
//! the answer unusable, except for a value, which is then merely not served.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::version::ServedValue;
use crate::secret::SecretBytes;

/// A version.
#[derive(Deserialize)]
pub(super) struct VersionBody {
    pub(super) id: String,
    #[serde(default)]
    pub(super) organization_id: Option<String>,
    #[serde(default)]
    pub(super) secret_id: Option<String>,
    pub(super) version: i64,
    pub(super) status: Status,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    #[serde(default, deserialize_with = "served")]
    pub(super) value: ServedValue,
}

/// State of a version. One that is not known makes the answer unusable: to guess could switch off what is in use.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Active,
    Inactive,
}

/// A page of versions.
#[derive(Deserialize)]
pub(super) struct VersionPage {
    pub(super) pagination: Pagination,
    pub(super) versions: Vec<VersionBody>,
}

/// Where a page stands in its list. `count` is of the whole list.
#[derive(Deserialize)]
pub(super) struct Pagination {
    pub(super) count: u64,
    pub(super) has_next: bool,
}

/// A secret with its versions.
#[derive(Deserialize)]
pub(super) struct SecretBody {
    pub(super) id: String,
    #[serde(default)]
    pub(super) organization_id: Option<String>,
    pub(super) name: String,
    pub(super) versions: Vec<VersionBody>,
}

/// A page of secrets.
#[derive(Deserialize)]
pub(super) struct SecretPage {
    #[serde(default)]
    pub(super) organization_id: Option<String>,
    pub(super) has_next: bool,
    pub(super) secrets: Vec<SecretBody>,
}

/// The answer to a delete: an object, of which nothing is needed.
#[derive(Deserialize)]
pub(super) struct Acknowledged {}

/// The API's own error.
#[derive(Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: String,
    #[serde(default)]
    pub(super) error_description: Option<String>,
}

/// Reads an answer: an object, as all answers are.
pub(super) fn parse<T: de::DeserializeOwned>(body: &[u8]) -> Result<T, &'static str> {
    // To serde a list of the right values is a struct as well; to the API it is not.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err("is not a JSON object");
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "lacks a field, or has one of another type",
        _ => "is not JSON",
    })
}

/// Decodes a value where it stands, so that its base64 is not copied.
fn served<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ServedValue, D::Error> {
    deserializer.deserialize_any(ServedVisitor)
}

struct ServedVisitor;

impl<'de> Visitor<'de> for ServedVisitor {
    type Value = ServedValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value in base64")
    }

    fn visit_str<E>(self, base64: &str) -> Result<ServedValue, E> {
        // The API takes no empty value, so an empty text is a value left out, and must never blank a Secret.
        if base64.is_empty() {
            return Ok(ServedValue::NotServed);
        }
        Ok(SecretBytes::decode(base64.as_bytes()).map_or(ServedValue::Undecodable, ServedValue::Bytes))
    }

    fn visit_unit<E>(self) -> Result<ServedValue, E> {
        Ok(ServedValue::NotServed)
    }

    fn visit_bool<E>(self, _: bool) -> Result<ServedValue, E> {
        Ok(ServedValue::Undecodable)
    }

    fn visit_i64<E>(self, _: i64) -> Result<ServedValue, E> {
        Ok(ServedValue::Undecodable)
    }

    fn visit_u64<E>(self, _: u64) -> Result<ServedValue, E> {
        Ok(ServedValue::Undecodable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<ServedValue, E> {
        Ok(ServedValue::Undecodable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ServedValue, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(ServedValue::Undecodable)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ServedValue, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(ServedValue::Undecodable)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn version() -> Value {
        json!({
            "id": "3884379411160", "organization_id": "1", "secret_id": "2", "version": 1, "status": "active",
            "provider": "aws-secret-manager", "created_at": "2025-04-30T19:01:19.216304Z",
            "updated_at": "2025-05-01T07:35:01.002633Z",
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut version = version();
        version[field] = value;
        version
    }

    fn read(version: &Value) -> Result<VersionBody, &'static str> {
        parse(version.to_string().as_bytes())
    }

    #[test]
    fn values_are_served_decodable_or_neither() {
        use ServedValue::{Bytes, NotServed, Undecodable};
        let bytes = |bytes: &[u8]| Bytes(SecretBytes::from(bytes.to_vec()));
        assert_eq!(read(&version()).unwrap().value, NotServed);
        let table = [
            (json!(null), NotServed),
            (json!(""), NotServed),
            (json!("AP8K"), bytes(b"\x00\xff\x0a")),
            (json!("YQ="), Undecodable),
            (json!("not base64"), Undecodable),
            (json!(1), Undecodable),
            (json!(-1), Undecodable),
            (json!(1.5), Undecodable),
            (json!(true), Undecodable),
            (json!(["YQ==", {}]), Undecodable),
            (json!({"a": [1]}), Undecodable),
        ];
        for (value, expected) in table {
            assert_eq!(read(&with("value", value.clone())).unwrap().value, expected, "{value}");
        }
        // An escape does not change what a text is.
        let escaped = version().to_string().replace("\"id\"", r#""value":"AP8\u004b","id""#);
        assert_eq!(parse::<VersionBody>(escaped.as_bytes()).unwrap().value, bytes(b"\x00\xff\x0a"));
    }

    #[test]
    fn fields_that_matter_are_there_and_of_their_type() {
        assert!(read(&with("new_field", json!({"a": 1}))).is_ok());
        for field in ["organization_id", "secret_id"] {
            assert!(read(&with(field, json!(null))).is_ok());
        }
        for field in ["id", "version", "status", "created_at", "updated_at"] {
            for value in [json!(null), json!([]), json!(1.5), json!("archived")] {
                let fits = value.is_string() && matches!(field, "id" | "created_at" | "updated_at");
                assert_eq!(read(&with(field, value.clone())).is_ok(), fits, "{field} {value}");
            }
            let mut lacking = version();
            lacking.as_object_mut().unwrap().remove(field);
            assert!(read(&lacking).is_err(), "{field}");
        }
    }

    #[test]
    fn what_is_not_json_or_too_deep_is_no_answer() {
        let deep = format!("{{\"value\":{}", "[".repeat(100_000));
        for (body, what) in [
            ("", "is not a JSON object"),
            ("<html>", "is not a JSON object"),
            ("[]", "is not a JSON object"),
            ("\u{feff}{}", "is not a JSON object"),
            (" {", "is not JSON"),
            (&deep, "is not JSON"),
            ("{}", "lacks a field, or has one of another type"),
        ] {
            assert_eq!(parse::<VersionBody>(body.as_bytes()).err(), Some(what), "{}", &body[..body.len().min(9)]);
        }
        assert_eq!(parse::<VersionBody>(b"{\xff").err(), Some("is not JSON"));
        assert_eq!(parse::<Acknowledged>(b"{}x").err(), Some("is not JSON"));
        assert!(parse::<ErrorBody>(br#"["not_found"]"#).is_err());
        assert!(parse::<ErrorBody>(br#"{"error": {"code": 404}}"#).is_err());
    }
}
