//! The seed: what a simulator holds when it starts, as YAML that a person writes.
//! Owns the file's types and the checks that need no running simulator.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fault::FaultSpec;
use crate::wire::{self, Status};

/// Everything a simulator starts from. An empty one is valid, and knows nobody.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// What the platform leaves open.
    #[serde(default)]
    pub settings: Settings,
    /// Organizations with their secrets.
    #[serde(default)]
    pub organizations: Vec<OrganizationSeed>,
    /// Who may call.
    #[serde(default)]
    pub credentials: Vec<CredentialSeed>,
    /// Faults that are there from the first request on.
    #[serde(default)]
    pub faults: Vec<FaultSpec>,
}

/// Behaviour that the platform's reference leaves open.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A larger value is answered 400. In bytes, decoded.
    pub max_value_bytes: usize,
    /// Whether the last active version of a secret may be deactivated or deleted.
    pub last_active_version: LastActive,
    /// How lists of versions and of secrets are ordered.
    pub list_order: ListOrder,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_value_bytes: 64 * 1024,
            last_active_version: LastActive::default(),
            list_order: ListOrder::default(),
        }
    }
}

/// What happens to a request that would leave a secret without active version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastActive {
    /// It is done.
    #[default]
    Allow,
    /// It is answered 409.
    Refuse,
}

/// The order of rows in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListOrder {
    /// New rows come at the end of the last page.
    #[default]
    OldestFirst,
    /// A new row moves all pages.
    NewestFirst,
}

/// An organization.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationSeed {
    /// Its id.
    pub id: String,
    /// Its secrets, in the order that lists show them.
    #[serde(default)]
    pub secrets: Vec<SecretSeed>,
}

/// A secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSeed {
    /// Its id, unique in the seed.
    pub id: String,
    /// Its name. Two of the same name are accepted, so that clients can be tried against them.
    pub name: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// RFC 3339; shown, and without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_at: Option<String>,
    /// Its versions, oldest first.
    #[serde(default)]
    pub versions: Vec<VersionSeed>,
}

/// A version; exactly one of `value` and `value_base64` is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionSeed {
    /// Its id; absent: one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its number; absent: one more than the version before. A gap stands for deleted versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The value as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value as base64, for bytes that are not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// Absent: active.
    #[serde(default)]
    pub status: Status,
    /// Absent: the time of seeding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
}

impl VersionSeed {
    /// The bytes that it stands for.
    pub fn bytes(&self) -> Result<Vec<u8>, ValueError> {
        match (&self.value, &self.value_base64) {
            (Some(text), None) => Ok(text.clone().into_bytes()),
            (None, Some(text)) => wire::decode(text).ok_or(ValueError::Base64),
            _ => Err(ValueError::Count),
        }
        .and_then(|bytes| if bytes.is_empty() { Err(ValueError::Empty) } else { Ok(bytes) })
    }
}

/// Who may call, and what for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSeed {
    /// What the journal calls it; unique in the seed.
    pub name: String,
    /// How it is presented.
    pub kind: CredentialKind,
    /// The user's or datasource's id, with or without its prefix; absent for a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Bearer token, personal access token, or datasource secret.
    pub token: String,
    /// Absent: everything.
    #[serde(default)]
    pub rights: Rights,
}

/// Leaves the token out, so that no log can hold one.
impl std::fmt::Debug for CredentialSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialSeed")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

/// The three ways of the platform to say who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    /// `Authorization: Bearer <token>`.
    Bearer,
    /// `Authorization: Basic user-<id>:<token>`.
    User,
    /// `Authorization: Basic datasource-<id>:<token>`.
    Datasource,
}

/// What a credential may do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rights {
    /// The organizations it may enter; absent: all. Anything else is answered 403.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizations: Option<Vec<String>>,
    /// Refuses create, update and delete with 403.
    pub read_only: bool,
    /// Refuses the organization-wide list of secrets with this status, such as 403, 404 or 405.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse_list_secrets: Option<u16>,
}

/// Why a version in a seed or in a control request has no usable value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Neither field, or both.
    #[error("give exactly one of `value` and `value_base64`")]
    Count,
    /// The text is not base64.
    #[error("`value_base64` is not base64 with padding (RFC 4648)")]
    Base64,
    /// The platform has no empty values.
    #[error("the value is empty")]
    Empty,
}

/// Why a seed was refused.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Not YAML of this shape; the text has line and column.
    #[error("{0}")]
    Syntax(String),
    /// An id or name that must be unique is there twice.
    #[error("{what} `{id}` is there twice")]
    Duplicate {
        /// What sort of thing.
        what: &'static str,
        /// Its id or name.
        id: String,
    },
    /// An id that cannot stand in a URL path as it is.
    #[error("id `{0}` must match ^[A-Za-z0-9_-]+$")]
    Id(String),
    /// A version without usable value.
    #[error("secret `{secret}`, version {number}: {cause}")]
    Value {
        /// The secret's id.
        secret: String,
        /// The version's number.
        number: u64,
        /// What is wrong.
        cause: ValueError,
    },
    /// A version whose number does not rise.
    #[error("secret `{secret}`: version {number} does not follow {previous}")]
    Number {
        /// The secret's id.
        secret: String,
        /// The version's number.
        number: u64,
        /// The number before.
        previous: u64,
    },
    /// A credential whose id does not fit its kind.
    #[error("credential `{name}`: {problem}")]
    Credential {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Seed {
    /// Reads YAML (and so JSON), refuses unknown fields, and checks what the types cannot say.
    pub fn from_yaml(text: &str) -> Result<Self, SeedError> {
        // Snippets would print lines of the file, and lines hold values and tokens. Whoever starts a simulator may give it a world of
        // any size.
        let options = serde_saphyr::options! { with_snippet: false, budget: None };
        let seed: Self =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| SeedError::Syntax(error.to_string()))?;
        seed.check()?;
        Ok(seed)
    }

    /// What the types cannot say: unique ids, rising numbers, usable values, ids that fit their kind.
    pub fn check(&self) -> Result<(), SeedError> {
        let mut seen = HashSet::new();
        let mut unique = |what: &'static str, id: &str| {
            if seen.insert((what, id.to_owned())) {
                Ok(())
            } else {
                Err(SeedError::Duplicate { what, id: id.to_owned() })
            }
        };
        for organization in &self.organizations {
            check_id(&organization.id)?;
            unique("organization", &organization.id)?;
            for secret in &organization.secrets {
                check_id(&secret.id)?;
                unique("secret", &secret.id)?;
                secret.check()?;
                for id in secret.versions.iter().filter_map(|row| row.id.as_deref()) {
                    check_id(id)?;
                    unique("version", id)?;
                }
            }
        }
        for credential in &self.credentials {
            unique("credential", &credential.name)?;
            credential.check()?;
        }
        Ok(())
    }
}

impl SecretSeed {
    fn check(&self) -> Result<(), SeedError> {
        let mut previous = 0;
        for row in &self.versions {
            let number = row.version.unwrap_or(previous + 1);
            if number <= previous {
                return Err(SeedError::Number { secret: self.id.clone(), number, previous });
            }
            row.bytes().map_err(|cause| SeedError::Value { secret: self.id.clone(), number, cause })?;
            previous = number;
        }
        Ok(())
    }
}

impl CredentialSeed {
    /// Whether its members fit its kind.
    pub fn check(&self) -> Result<(), SeedError> {
        let problem = match (self.kind, &self.id) {
            (CredentialKind::Bearer, Some(_)) => Some("a bearer token has no id"),
            (CredentialKind::User | CredentialKind::Datasource, None) => Some("the id is missing"),
            _ if self.token.is_empty() => Some("the token is empty"),
            _ if self.rights.refuse_list_secrets.is_some_and(|status| !(400..600).contains(&status)) => {
                Some("`refuse_list_secrets` is not an HTTP error status")
            }
            _ => None,
        };
        problem.map_or(Ok(()), |problem| Err(SeedError::Credential { name: self.name.clone(), problem }))
    }
}

fn check_id(id: &str) -> Result<(), SeedError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !id.is_empty() && id.chars().all(plain) { Ok(()) } else { Err(SeedError::Id(id.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Seed::from_yaml(text).unwrap_err().to_string()
    }

    #[test]
    fn the_demo_seed_is_valid() {
        let seed = Seed::from_yaml(include_str!("../seeds/demo.yaml")).unwrap();
        assert_eq!(seed.organizations[0].id, "1410000000000");
        assert_eq!(seed.organizations[0].secrets.len(), 3);
        assert_eq!(seed.credentials.len(), 3);
    }

    #[test]
    fn json_is_a_seed_too() {
        let seed = Seed::from_yaml(r#"{"organizations": [{"id": "1", "secrets": []}]}"#).unwrap();
        assert_eq!(seed.organizations[0].id, "1");
    }

    #[test]
    fn mistakes_are_named() {
        let secret =
            |versions: &str| format!("organizations: [{{id: a, secrets: [{{id: s, name: n, versions: {versions}}}]}}]");
        for (text, expected) in [
            ("organisations: []".to_owned(), "organisations"),
            ("organizations: [{id: a}, {id: a}]".to_owned(), "organization `a` is there twice"),
            ("organizations: [{id: a/b}]".to_owned(), "id `a/b` must match"),
            (secret("[{}]"), "version 1: give exactly one of"),
            (secret("[{value: a, value_base64: YQ==}]"), "give exactly one of"),
            (secret("[{value_base64: 'a b'}]"), "is not base64"),
            (secret("[{value: ''}]"), "the value is empty"),
            (secret("[{value: a, version: 3}, {value: b, version: 3}]"), "version 3 does not follow 3"),
            ("credentials: [{name: c, kind: bearer, id: '1', token: t}]".to_owned(), "a bearer token has no id"),
            ("credentials: [{name: c, kind: user, token: t}]".to_owned(), "credential `c`: the id is missing"),
        ] {
            let message = refused(&text);
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn no_message_quotes_the_file() {
        let message = refused("credentials:\n- name: c\n  kind: nonsense\n  token: canary-token\n");
        assert!(message.contains("line 3"), "{message}");
        assert!(!message.contains("canary-token"), "{message}");
        let debug =
            format!("{:?}", Seed::from_yaml("credentials: [{name: c, kind: bearer, token: canary-token}]").unwrap());
        assert!(!debug.contains("canary-token"), "{debug}");
    }
}
