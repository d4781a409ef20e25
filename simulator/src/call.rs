//! Which call of the API a request is: path, method and query, parsed once for all who ask.
//! Knows the shape of the API; knows nothing of state, credentials or faults.

use axum::extract::Query;
use axum::http::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::store::Page;
use crate::wire::ApiError;

/// The calls that the simulator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `GET …/secrets`
    ListSecrets,
    /// `GET …/secrets/{id}`
    GetSecret,
    /// `GET …/versions`
    ListVersions,
    /// `GET …/versions/{id}`
    GetVersion,
    /// `POST …/versions`
    CreateVersion,
    /// `PATCH …/versions/{id}`
    UpdateVersion,
    /// `DELETE …/versions/{id}`
    DeleteVersion,
}

impl Operation {
    /// Whether it changes anything.
    pub fn writes(self) -> bool {
        matches!(self, Self::CreateVersion | Self::UpdateVersion | Self::DeleteVersion)
    }
}

/// A request that names a call and what it is about. Ids that the path lacks are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which call.
    pub operation: Operation,
    /// The organization in the path.
    pub organization_id: String,
    /// The secret in the path.
    pub secret_id: String,
    /// The version in the path.
    pub version_id: String,
}

impl Call {
    /// Tells the call from method and path: 404 where no call has such a path, 405 where none has
    /// it with this method.
    pub fn parse(method: &Method, uri: &Uri) -> Result<Self, ApiError> {
        let no_such_path = || ApiError::not_found("no such resource");
        let segments = uri
            .path()
            .split('/')
            .skip(1)
            .map(|segment| percent_decode_str(segment).decode_utf8())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| no_such_path())?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let (operation, ids) = match segments[..] {
            ["secret-manager", "organizations", organization, "secrets"] => {
                ((method == Method::GET).then_some(Operation::ListSecrets), [organization, "", ""])
            }
            ["secret-manager", "organizations", organization, "secrets", secret] => {
                ((method == Method::GET).then_some(Operation::GetSecret), [organization, secret, ""])
            }
            ["secret-manager", "organizations", organization, "secrets", secret, "versions"] => (
                match *method {
                    Method::GET => Some(Operation::ListVersions),
                    Method::POST => Some(Operation::CreateVersion),
                    _ => None,
                },
                [organization, secret, ""],
            ),
            ["secret-manager", "organizations", organization, "secrets", secret, "versions", version] => (
                match *method {
                    Method::GET => Some(Operation::GetVersion),
                    Method::PATCH => Some(Operation::UpdateVersion),
                    Method::DELETE => Some(Operation::DeleteVersion),
                    _ => None,
                },
                [organization, secret, version],
            ),
            _ => return Err(no_such_path()),
        };
        let operation = operation.ok_or_else(|| {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed for this resource")
        })?;
        let [organization_id, secret_id, version_id] = ids.map(str::to_owned);
        Ok(Self { operation, organization_id, secret_id, version_id })
    }
}

/// The query members that the calls take. Unknown ones are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// `offset` and `limit`.
    pub(crate) page: Page,
    /// `return_secret_value`, in any case.
    pub(crate) return_secret_value: bool,
}

impl Parameters {
    /// Reads the query: 400 for what is out of range or no number.
    pub(crate) fn parse(uri: &Uri) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| ApiError::bad_request("the query is malformed"))?;
        let mut parameters = Self { page: Page { offset: 0, limit: 50 }, return_secret_value: false };
        for (key, value) in &pairs {
            match key.as_str() {
                "offset" => {
                    parameters.page.offset = value
                        .parse()
                        .map_err(|_| ApiError::bad_request("\"offset\" must be greater than or equal to 0"))?;
                }
                "limit" => {
                    parameters.page.limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=100).contains(limit))
                        .ok_or_else(|| ApiError::bad_request("\"limit\" must be between 1 and 100"))?;
                }
                "return_secret_value" => {
                    parameters.return_secret_value = match value.to_ascii_lowercase().as_str() {
                        "true" => true,
                        "false" => false,
                        _ => {
                            return Err(ApiError::bad_request("\"return_secret_value\" must be true or false"));
                        }
                    };
                }
                _ => {}
            }
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &Method, path: &str) -> Result<Call, u16> {
        Call::parse(method, &path.parse().unwrap()).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn every_call_has_its_method_and_path() {
        let secrets = "/secret-manager/organizations/o/secrets";
        for (method, path, operation) in [
            (Method::GET, secrets.to_owned(), Operation::ListSecrets),
            (Method::GET, format!("{secrets}/s"), Operation::GetSecret),
            (Method::GET, format!("{secrets}/s/versions"), Operation::ListVersions),
            (Method::POST, format!("{secrets}/s/versions"), Operation::CreateVersion),
            (Method::GET, format!("{secrets}/s/versions/v"), Operation::GetVersion),
            (Method::PATCH, format!("{secrets}/s/versions/v"), Operation::UpdateVersion),
            (Method::DELETE, format!("{secrets}/s/versions/v"), Operation::DeleteVersion),
        ] {
            let call = parse(&method, &path).unwrap();
            assert_eq!(call.operation, operation);
            assert_eq!(call.organization_id, "o");
            assert_eq!(parse(&Method::PUT, &path), Err(405), "{path}");
        }
        for path in ["/", "/secret-manager", "/secret-manager/organizations/o", "/other"] {
            assert_eq!(parse(&Method::GET, path), Err(404), "{path}");
        }
    }

    #[test]
    fn ids_are_decoded_per_segment() {
        let call = parse(&Method::GET, "/secret-manager/organizations/a%2Fb/secrets/c%3Fd").unwrap();
        assert_eq!((call.organization_id.as_str(), call.secret_id.as_str()), ("a/b", "c?d"));
    }

    #[test]
    fn parameters_have_ranges() {
        let parse = |query: &str| {
            Parameters::parse(&format!("/x?{query}").parse().unwrap()).map_err(|error| error.status.as_u16())
        };
        let page = |offset, limit| Page { offset, limit };
        assert_eq!(parse("").unwrap().page, page(0, 50));
        assert_eq!(parse("offset=7&limit=100&other=1").unwrap().page, page(7, 100));
        for flag in ["True", "true", "TRUE"] {
            let query = format!("return_secret_value={flag}");
            assert!(parse(&query).unwrap().return_secret_value);
        }
        assert!(!parse("return_secret_value=False").unwrap().return_secret_value);
        for wrong in ["offset=-1", "offset=x", "limit=0", "limit=101", "limit=", "return_secret_value=2"] {
            assert_eq!(parse(wrong), Err(400), "{wrong}");
        }
    }
}
