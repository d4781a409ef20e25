//! Credentials as the `Authorization` header. Must not print them, nor let a header that holds one be printed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::error::Error;
use crate::secret::{SecretBytes, SecretText};

/// How the operator shows who it is. The variants stand in the order of preference of the platform's own client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A platform token, sent as `Bearer`.
    Token(SecretText),
    /// A user with a personal access token, sent as `Basic`.
    User {
        /// Id of the user, with or without the prefix `user-`.
        user_id: String,
        /// The personal access token.
        personal_access_token: SecretText,
    },
    /// A data source with its secret, sent as `Basic`.
    Datasource {
        /// Id of the data source, with or without the prefix `datasource-`.
        datasource_id: String,
        /// Its secret.
        datasource_secret: SecretText,
    },
}

impl Credential {
    /// The header's value, marked so that nothing prints it.
    pub(super) fn header(&self) -> Result<HeaderValue, Error> {
        let text = match self {
            Self::Token(token) => bearer(token)?,
            Self::User { user_id, personal_access_token } => basic("user-", user_id, personal_access_token)?,
            Self::Datasource { datasource_id, datasource_secret } => {
                basic("datasource-", datasource_id, datasource_secret)?
            }
        };
        let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| UNUSABLE)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// What the remote must not be quoted with: the secret itself, and the form in which it travels.
    pub(super) fn unspeakable(&self, header: &HeaderValue) -> Vec<SecretBytes> {
        let (Self::Token(secret)
        | Self::User { personal_access_token: secret, .. }
        | Self::Datasource { datasource_secret: secret, .. }) = self;
        let sent = header.as_bytes();
        let sent = sent.iter().position(|byte| *byte == b' ').map_or(sent, |space| &sent[space + 1..]);
        vec![SecretBytes::from(secret.expose().as_bytes().to_vec()), SecretBytes::from(sent.to_vec())]
    }
}

const UNUSABLE: Error = Error::Credential { what: "is empty, or has characters that cannot be sent" };

fn bearer(token: &SecretText) -> Result<Zeroizing<String>, Error> {
    if token.expose().is_empty() {
        return Err(UNUSABLE);
    }
    Ok(Zeroizing::new(format!("Bearer {}", token.expose())))
}

fn basic(prefix: &str, id: &str, secret: &SecretText) -> Result<Zeroizing<String>, Error> {
    // A colon would end the name early, and be read as another name with another secret.
    if id.is_empty() || id.contains(':') || secret.expose().is_empty() {
        return Err(UNUSABLE);
    }
    let prefix = if id.starts_with(prefix) { "" } else { prefix };
    let pair = Zeroizing::new(format!("{prefix}{id}:{}", secret.expose()));
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Ok(Zeroizing::new(format!("Basic {}", *encoded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> SecretText {
        SecretText::from(text.to_owned())
    }

    fn user(id: &str, token: &str) -> Credential {
        Credential::User { user_id: id.into(), personal_access_token: text(token) }
    }

    fn datasource(id: &str, secret: &str) -> Credential {
        Credential::Datasource { datasource_id: id.into(), datasource_secret: text(secret) }
    }

    #[test]
    fn headers_are_those_of_the_platforms_own_client() {
        let table = [
            (Credential::Token(text("abc")), "Bearer abc"),
            (user("1", "p"), "Basic dXNlci0xOnA="),
            (user("user-1", "p"), "Basic dXNlci0xOnA="),
            (datasource("1", "s"), "Basic ZGF0YXNvdXJjZS0xOnM="),
            (datasource("datasource-1", "s"), "Basic ZGF0YXNvdXJjZS0xOnM="),
        ];
        for (credential, expected) in table {
            let header = credential.header().unwrap();
            assert_eq!(header.as_bytes(), expected.as_bytes());
            assert!(header.is_sensitive());
            assert_eq!(format!("{header:?}"), "Sensitive");
        }
    }

    #[test]
    fn what_cannot_be_a_header_is_refused_without_being_quoted() {
        let table = [
            Credential::Token(text("")),
            Credential::Token(text("a\nb")),
            user("", "p"),
            user("1:2", "p"),
            user("1", ""),
        ];
        for credential in table {
            assert_eq!(credential.header().unwrap_err(), UNUSABLE);
        }
    }

    #[test]
    fn both_forms_of_a_secret_are_unspeakable() {
        let credential = user("1", "p");
        let words = credential.unspeakable(&credential.header().unwrap());
        assert_eq!(words[0].as_slice(), b"p");
        assert_eq!(words[1].as_slice(), b"dXNlci0xOnA=");
    }
}
