//! What a value becomes in the target: the whole value under one key, or properties of a JSON value under many.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::v1alpha1::{CreationPolicy, SecretVersion, Target, TargetData};

/// Key of the value where the target names none.
pub const DEFAULT_KEY: &str = "value";

/// Type of the target where it names none.
pub const DEFAULT_TYPE: &str = "Opaque";

/// Why a value cannot be made into what the target asks for. Never holds any of the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProjectionError {
    /// The value is not a JSON object or array.
    #[error("the value is not a JSON object or array, so target.data cannot take properties of it")]
    NotJson,
    /// A property is missing or null.
    #[error("the JSON value has no property {0:?}, or it is null")]
    Missing(String),
}

/// The target's settings with every default filled in.
#[derive(Clone, Copy, Debug)]
pub struct TargetView<'a> {
    cr: &'a SecretVersion,
}

impl<'a> TargetView<'a> {
    /// The view of a resource's target.
    pub fn of(cr: &'a SecretVersion) -> Self {
        Self { cr }
    }

    fn target(self) -> Option<&'a Target> {
        self.cr.spec.target.as_deref()
    }

    /// The Secret's name.
    pub fn name(self) -> &'a str {
        let named = self.target().and_then(|t| t.name.as_deref());
        named.or(self.cr.metadata.name.as_deref()).unwrap_or_default()
    }

    /// How the Secret belongs to the resource.
    pub fn policy(self) -> CreationPolicy {
        self.target().and_then(|t| t.creation_policy).unwrap_or_default()
    }

    /// The Secret's type.
    pub fn secret_type(self) -> &'a str {
        self.target().and_then(|t| t.type_.as_deref()).unwrap_or(DEFAULT_TYPE)
    }

    /// The keys taken from properties; empty where the whole value goes under one key.
    pub fn data(self) -> &'a [TargetData] {
        self.target().map_or(&[], |t| t.data.as_slice())
    }

    /// The key of the whole value.
    pub fn key(self) -> &'a str {
        self.target().and_then(|t| t.key.as_deref()).unwrap_or(DEFAULT_KEY)
    }

    /// Every key that the target holds.
    pub fn keys(self) -> Vec<&'a str> {
        match self.data() {
            [] => vec![self.key()],
            data => data.iter().map(|d| d.key.as_str()).collect(),
        }
    }

    /// What the value becomes: the Secret's keys with their bytes.
    pub fn project(self, value: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, ProjectionError> {
        match self.data() {
            [] => Ok(BTreeMap::from([(self.key().to_owned(), value.to_vec())])),
            data => {
                let json: Value = serde_json::from_slice(value).map_err(|_| ProjectionError::NotJson)?;
                if !json.is_object() && !json.is_array() {
                    return Err(ProjectionError::NotJson);
                }
                data.iter().map(|d| Ok((d.key.clone(), property(&json, &d.property)?))).collect()
            }
        }
    }
}

fn property(json: &Value, name: &str) -> Result<Vec<u8>, ProjectionError> {
    let found = if name.starts_with('/') { json.pointer(name) } else { json.get(name) };
    match found {
        None | Some(Value::Null) => Err(ProjectionError::Missing(name.to_owned())),
        Some(Value::String(text)) => Ok(text.clone().into_bytes()),
        Some(other) => Ok(other.to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cr(data: &[(&str, &str)]) -> SecretVersion {
        let mut cr = SecretVersion::default();
        let data = data.iter().map(|(k, p)| TargetData { key: (*k).into(), property: (*p).into() }).collect();
        cr.spec.target = Some(Box::new(Target { data, ..Target::default() }));
        cr
    }

    #[test]
    fn what_the_target_does_not_name_is_the_resources_name_one_key_and_no_type() {
        let mut cr = SecretVersion::default();
        cr.metadata.name = Some("db".into());
        let seen = |cr: &SecretVersion| {
            let view = TargetView::of(cr);
            [view.name().to_owned(), view.secret_type().to_owned(), view.keys().join(" ")]
        };
        assert_eq!(seen(&cr), ["db", "Opaque", "value"]);
        let (name, type_, key) = (Some("tls".into()), Some("kubernetes.io/tls".into()), Some("k".into()));
        cr.spec.target = Some(Box::new(Target { name, key, type_, ..Target::default() }));
        assert_eq!(seen(&cr), ["tls", "kubernetes.io/tls", "k"]);
        let data = ["tls.crt", "tls.key"].map(|key| TargetData { key: key.into(), property: "p".into() });
        cr.spec.target = Some(Box::new(Target { data: data.into(), ..Target::default() }));
        assert_eq!(seen(&cr), ["db", "Opaque", "tls.crt tls.key"]);
    }

    #[test]
    fn a_whole_value_keeps_its_bytes() {
        let cr = cr(&[]);
        let made = TargetView::of(&cr).project(b"\x00\xff\n").unwrap();
        assert_eq!(made, BTreeMap::from([("value".to_owned(), b"\x00\xff\n".to_vec())]));
    }

    #[test]
    fn properties_are_raw_strings_or_compact_json() {
        let json = br#"{"user":"a\nb","n":1.50,"o":{"b":[1, 2]},"a/b":"slash","/x":"top"}"#;
        for (property, expected) in [
            ("user", "a\nb"),
            ("n", "1.5"),
            ("o", r#"{"b":[1,2]}"#),
            ("a/b", "slash"),
            ("/o/b/1", "2"),
            ("/a~1b", "slash"),
        ] {
            let cr = cr(&[("k", property)]);
            let made = TargetView::of(&cr).project(json).unwrap();
            assert_eq!(made["k"], expected.as_bytes(), "{property}");
        }
    }

    #[test]
    fn what_is_missing_null_or_not_json_is_refused_without_a_word_of_the_value() {
        for (value, property, expected) in [
            (&b"{\"a\":null}"[..], "a", ProjectionError::Missing("a".into())),
            (b"{}", "a", ProjectionError::Missing("a".into())),
            (b"[1]", "/1", ProjectionError::Missing("/1".into())),
            (b"\"text\"", "a", ProjectionError::NotJson),
            (b"canary{", "a", ProjectionError::NotJson),
            (b"", "a", ProjectionError::NotJson),
        ] {
            let cr = cr(&[("k", property)]);
            let error = TargetView::of(&cr).project(value).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("canary"));
        }
    }
}
