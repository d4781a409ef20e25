//! What an answer is to the rest of the operator, once it is known to be about what was asked for.

use super::VersionState;
use super::error::Error;
use super::wire::{SecretBody, Status, VersionBody};
use crate::secret::SecretBytes;

/// The longest text of the remote's that goes into a status, in bytes.
const LONGEST_WORD: usize = 128;

/// Whether a call is to give values. What is not needed is not asked for, and not kept where it comes all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Values are needed.
    Include,
    /// They are not.
    Omit,
}

/// A version at the remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Id.
    pub id: String,
    /// The organization that it was asked for in.
    pub organization_id: String,
    /// The secret that it is a version of.
    pub secret_id: String,
    /// Number, from 1; it grows by one with each version that is created.
    pub number: i64,
    /// State.
    pub state: VersionState,
    /// When it was created, in the remote's words (RFC 3339).
    pub created_at: String,
    /// When it last changed, in the remote's words (RFC 3339).
    pub updated_at: String,
    /// Its value.
    pub value: ServedValue,
}

/// What the remote says a version's value is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServedValue {
    /// Nothing: it was not asked for, or left out.
    #[default]
    NotServed,
    /// Something that is not strict base64.
    Undecodable,
    /// These bytes, one at least.
    Bytes(SecretBytes),
}

/// A secret at the remote, with its versions as the remote embeds them: not necessarily all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretInfo {
    /// Id.
    pub id: String,
    /// Name. Not necessarily the only one of its kind.
    pub name: String,
    /// The embedded versions.
    pub versions: Vec<Version>,
}

/// One page of an organization's secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsPage {
    /// The secrets, in the remote's order.
    pub secrets: Vec<SecretInfo>,
    /// Whether the remote says that there are more.
    pub has_next: bool,
}

/// What was asked for. An answer about anything else is refused, never taken for the real one.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) op: &'static str,
    pub(super) organization: &'a str,
    pub(super) values: Values,
}

impl Asked<'_> {
    /// A version of the secret, with this id where one was asked for.
    pub(super) fn version(self, body: VersionBody, secret: &str, id: Option<&str>) -> Result<Version, Error> {
        self.same("organization", self.organization, body.organization_id.as_deref())?;
        self.same("secret", secret, body.secret_id.as_deref())?;
        self.same("version", id.unwrap_or(&body.id), Some(&body.id))?;
        for word in [&body.id, &body.created_at, &body.updated_at] {
            self.word(word)?;
        }
        Ok(Version {
            id: body.id,
            organization_id: self.organization.to_owned(),
            secret_id: secret.to_owned(),
            number: body.version,
            state: match body.status {
                Status::Active => VersionState::Active,
                Status::Inactive => VersionState::Inactive,
            },
            created_at: body.created_at,
            updated_at: body.updated_at,
            value: match self.values {
                Values::Include => body.value,
                Values::Omit => ServedValue::NotServed,
            },
        })
    }

    /// A secret of the organization, with this id where one was asked for.
    pub(super) fn secret(self, body: SecretBody, id: Option<&str>) -> Result<SecretInfo, Error> {
        self.same("organization", self.organization, body.organization_id.as_deref())?;
        self.same("secret", id.unwrap_or(&body.id), Some(&body.id))?;
        self.word(&body.id)?;
        let versions = body.versions.into_iter().map(|version| self.version(version, &body.id, None));
        Ok(SecretInfo { versions: versions.collect::<Result<_, _>>()?, id: body.id, name: body.name })
    }

    /// A page that names its organization must name the right one.
    pub(super) fn organization(self, named: Option<&str>) -> Result<(), Error> {
        self.same("organization", self.organization, named)
    }

    fn same(self, what: &'static str, asked: &str, answered: Option<&str>) -> Result<(), Error> {
        if answered.is_some_and(|answered| answered != asked) {
            return Err(Error::Unexpected { op: self.op, what });
        }
        Ok(())
    }

    /// Ids and times end up in statuses, events and logs, so they must be short and plain.
    fn word(self, word: &str) -> Result<(), Error> {
        if word.is_empty() || word.len() > LONGEST_WORD || !word.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Malformed { op: self.op, what: "has an id or a time that is not one short word" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::remote::wire::parse;

    const ASKED: Asked<'_> = Asked { op: "get_version", organization: "1", values: Values::Include };

    fn body(organization: &Value, secret: &Value, id: &str) -> VersionBody {
        let version = json!({
            "id": id, "organization_id": organization, "secret_id": secret, "version": 3, "status": "inactive",
            "created_at": "2025-04-30T19:01:19.216304Z", "updated_at": "2025-05-01T07:35:01.002633Z", "value": "YQ==",
        });
        parse(version.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_about_another_place_is_refused() {
        let unexpected = |what| Err(Error::Unexpected { op: "get_version", what });
        let table = [
            (json!("1"), json!("2"), "3", Ok(())),
            (json!(null), json!(null), "3", Ok(())),
            (json!("9"), json!("2"), "3", unexpected("organization")),
            (json!("1"), json!("9"), "3", unexpected("secret")),
            (json!("1"), json!("2"), "9", unexpected("version")),
        ];
        for (organization, secret, id, expected) in table {
            let answer = ASKED.version(body(&organization, &secret, id), "2", Some("3"));
            assert_eq!(answer.map(|_| ()), expected, "{organization} {secret} {id}");
        }
    }

    #[test]
    fn a_version_has_the_place_that_was_asked_for() {
        let version = ASKED.version(body(&json!(null), &json!(null), "3"), "2", None).unwrap();
        let expected = Version {
            id: "3".into(),
            organization_id: "1".into(),
            secret_id: "2".into(),
            number: 3,
            state: VersionState::Inactive,
            created_at: "2025-04-30T19:01:19.216304Z".into(),
            updated_at: "2025-05-01T07:35:01.002633Z".into(),
            value: ServedValue::Bytes(SecretBytes::from(b"a".to_vec())),
        };
        assert_eq!(version, expected);
    }

    #[test]
    fn a_value_that_was_not_asked_for_is_not_kept() {
        let asked = Asked { values: Values::Omit, ..ASKED };
        let version = asked.version(body(&json!("1"), &json!("2"), "3"), "2", None).unwrap();
        assert_eq!(version.value, ServedValue::NotServed);
    }

    #[test]
    fn ids_are_short_plain_words() {
        for id in ["", "a b", "a\nb", "é", &"x".repeat(129)] {
            let answer = ASKED.version(body(&json!("1"), &json!("2"), id), "2", None);
            assert!(matches!(answer, Err(Error::Malformed { .. })), "{id:?}");
        }
    }
}
