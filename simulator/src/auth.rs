//! Who is calling, and what they may do.
//! Owns the credentials; a token leaves this module in no form.

use axum::http::{HeaderMap, StatusCode, header};

use crate::call::{Call, Operation};
use crate::seed::{CredentialKind, CredentialSeed};
use crate::wire::{self, ApiError};

/// The credentials that are valid now.
#[derive(Debug, Default)]
pub(crate) struct Credentials(Vec<CredentialSeed>);

impl Credentials {
    /// Those of a seed.
    pub(crate) fn new(seeds: &[CredentialSeed]) -> Self {
        Self(seeds.to_vec())
    }

    /// Adds a credential; one of the same name is replaced.
    pub(crate) fn add(&mut self, credential: CredentialSeed) {
        self.revoke(&credential.name);
        self.0.push(credential);
    }

    /// Forgets a credential, and says whether there was one.
    pub(crate) fn revoke(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|credential| credential.name != name);
        self.0.len() < before
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|credential| credential.name.as_str())
    }

    /// The credential that a request presents, where it is a valid one.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Option<&CredentialSeed> {
        let presented = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, secret) = presented.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.0.iter().find(|known| known.kind == CredentialKind::Bearer && known.token == secret);
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(wire::decode(secret)?).ok()?;
        let (id, token) = pair.split_once(':')?;
        self.0.iter().find(|known| known.token == token && known.login().as_deref() == Some(id))
    }
}

impl CredentialSeed {
    /// The user name in HTTP Basic; none for a bearer token.
    fn login(&self) -> Option<String> {
        let prefix = match self.kind {
            CredentialKind::Bearer => return None,
            CredentialKind::User => "user-",
            CredentialKind::Datasource => "datasource-",
        };
        let id = self.id.as_deref()?;
        Some(format!("{prefix}{}", id.strip_prefix(prefix).unwrap_or(id)))
    }

    /// Whether the rights cover the call.
    pub(crate) fn permits(&self, call: &Call) -> Result<(), ApiError> {
        let rights = &self.rights;
        let inside = rights.organizations.as_ref().is_none_or(|allowed| allowed.contains(&call.organization_id));
        if !inside || (rights.read_only && call.operation.writes()) {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "the credential has no right to this"));
        }
        match rights.refuse_list_secrets {
            Some(status) if call.operation == Operation::ListSecrets => Err(ApiError::new(
                StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN),
                "the credential has no right to list the secrets of an organization",
            )),
            _ => Ok(()),
        }
    }
}

/// The answer to a request without valid credential.
pub(crate) fn unauthorized() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "Authentication failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    fn credentials() -> Credentials {
        let seed = Seed::from_yaml(
            "credentials:
             - {name: b, kind: bearer, token: t1}
             - {name: u, kind: user, id: '7', token: t2}
             - {name: d, kind: datasource, id: datasource-8, token: 't:3'}",
        )
        .unwrap();
        Credentials::new(&seed.credentials)
    }

    fn identified(credentials: &Credentials, authorization: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        credentials.identify(&headers).map(|known| known.name.clone())
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", wire::encode(pair.as_bytes()))
    }

    #[test]
    fn each_kind_is_told_by_its_own_form_only() {
        let known = credentials();
        for (authorization, name) in [
            ("Bearer t1".to_owned(), Some("b")),
            ("bearer t1".to_owned(), Some("b")),
            (basic("user-7:t2"), Some("u")),
            (basic("datasource-8:t:3"), Some("d")),
            ("Bearer t2".to_owned(), None),
            (basic("7:t2"), None),
            (basic("datasource-7:t2"), None),
            (basic("user-7:t1"), None),
            ("Basic !".to_owned(), None),
            ("Bearer".to_owned(), None),
        ] {
            assert_eq!(identified(&known, &authorization).as_deref(), name, "{authorization}");
        }
        assert!(known.identify(&HeaderMap::new()).is_none());
    }

    #[test]
    fn a_revoked_credential_is_unknown() {
        let mut known = credentials();
        assert!(known.revoke("b"));
        assert!(!known.revoke("b"));
        assert_eq!(identified(&known, "Bearer t1"), None);
    }
}
