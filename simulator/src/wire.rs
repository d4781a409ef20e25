//! What travels on the wire of the Secret Manager: answers, errors, and the base64 of values.
//! Owns shapes and their encoding only; it decides nothing and keeps no state.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

/// The only provider that the platform names today.
pub const PROVIDER: &str = "aws-secret-manager";

/// Whether a version may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In use; what a new version is.
    #[default]
    Active,
    /// Switched off, and still there.
    Inactive,
}

/// A version as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Version {
    /// 13 digits, unique in the simulator.
    pub id: String,
    /// The organization that owns the secret.
    pub organization_id: String,
    /// The secret it is a version of.
    pub secret_id: String,
    /// Counts from 1 within the secret; a number is never used twice.
    pub version: u64,
    /// Whether it may be used.
    pub status: Status,
    /// Always [`PROVIDER`].
    pub provider: &'static str,
    /// Base64; absent where the request did not ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// When it was created.
    #[serde(serialize_with = "microseconds")]
    pub created_at: Timestamp,
    /// When its status last changed.
    #[serde(serialize_with = "microseconds")]
    pub updated_at: Timestamp,
}

/// A secret as the API shows it, with its versions embedded.
#[derive(Clone, Debug, Serialize)]
pub struct Secret {
    /// 13 digits, unique in its organization.
    pub id: String,
    /// The organization that owns it.
    pub organization_id: String,
    /// Who made it.
    pub user_id: String,
    /// What people call it.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Always null here.
    pub properties: Option<serde_json::Value>,
    /// Always [`PROVIDER`].
    pub provider: &'static str,
    /// Always false here: the simulator rotates nothing by itself.
    pub rotation: bool,
    /// Always null here.
    pub integration_service_type: Option<String>,
    /// Always empty here.
    pub integration_service_ids: Vec<String>,
    /// RFC 3339, exactly as the seed gives it.
    pub expired_at: Option<String>,
    /// When it was created.
    #[serde(serialize_with = "microseconds")]
    pub created_at: Timestamp,
    /// When it last changed, its versions aside.
    #[serde(serialize_with = "microseconds")]
    pub updated_at: Timestamp,
    /// All of its versions, unpaged.
    pub versions: Vec<Version>,
}

/// Answer of "list versions".
#[derive(Debug, Serialize)]
pub struct VersionList {
    /// Where this page stands in the whole.
    pub pagination: Pagination,
    /// The page.
    pub versions: Vec<Version>,
}

/// Where a page of versions stands in the whole.
#[derive(Debug, Serialize)]
pub struct Pagination {
    /// All versions of the secret, not those of the page.
    pub count: usize,
    /// Whether rows follow this page.
    pub has_next: bool,
    /// As asked for.
    pub limit: usize,
    /// As asked for.
    pub offset: usize,
}

/// Answer of "list secrets". It has no count: the platform sends none.
#[derive(Debug, Serialize)]
pub struct SecretList {
    /// As asked for.
    pub organization_id: String,
    /// The page.
    pub secrets: Vec<Secret>,
    /// As asked for.
    pub offset: usize,
    /// As asked for.
    pub limit: usize,
    /// Whether rows follow this page.
    pub has_next: bool,
}

/// Answer of "delete version".
#[derive(Debug, Serialize)]
pub struct Deleted {
    /// Names the id that is gone.
    pub message: String,
}

/// A refusal, in the form that the platform's clients parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// For people; names ids and limits, never a value.
    pub description: String,
}

impl ApiError {
    /// A refusal with this status; its code in the body follows from the status.
    pub fn new(status: StatusCode, description: impl Into<String>) -> Self {
        Self { status, description: description.into() }
    }

    /// 400.
    pub fn bad_request(description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, description)
    }

    /// 404.
    pub fn not_found(description: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, description)
    }
}

/// A whole answer in memory, so that a fault can still change or cut it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers, those that the server adds by itself aside.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer with a body of this content type.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        Self { status, headers: HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]), body: body.into() }
    }

    /// An answer said to be JSON, whatever it is: faults send broken ones through here too.
    pub fn json(status: StatusCode, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "application/json", body)
    }
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Self {
        let body = serde_json::json!({
            "error": error_code(error.status),
            "error_description": error.description,
        });
        Self::json(error.status, body.to_string())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.status, self.headers, self.body).into_response()
    }
}

/// The `error` member for a status, such as `not_found`.
pub fn error_code(status: StatusCode) -> String {
    status
        .canonical_reason()
        .map_or_else(|| "unknown".to_owned(), |reason| reason.to_ascii_lowercase().replace([' ', '-'], "_"))
}

/// Base64 with padding, the alphabet of RFC 4648 §4.
pub fn encode(value: &[u8]) -> String {
    STANDARD.encode(value)
}

/// The reverse of [`encode`]: strict, `None` where the text is anything else.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// RFC 3339 with exactly six decimals and `Z`, as the platform writes times.
fn microseconds<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_six_decimals_even_where_they_are_zero() {
        let json = serde_json::to_value(Version {
            id: "1".into(),
            organization_id: "2".into(),
            secret_id: "3".into(),
            version: 1,
            status: Status::Active,
            provider: PROVIDER,
            value: None,
            created_at: "2025-05-01T18:58:18Z".parse().unwrap(),
            updated_at: "2025-05-01T18:58:18.71261Z".parse().unwrap(),
        })
        .unwrap();
        assert_eq!(json["created_at"], "2025-05-01T18:58:18.000000Z");
        assert_eq!(json["updated_at"], "2025-05-01T18:58:18.712610Z");
        assert!(json.get("value").is_none(), "a value nobody asked for");
    }

    #[test]
    fn base64_is_strict() {
        assert_eq!(decode("AP8K"), Some(vec![0x00, 0xff, 0x0a]));
        for wrong in ["AP8", "AP8K\n", "AP-_", "AP8K=", " AP8K", "AR=="] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn error_codes_follow_the_status() {
        for (status, code) in
            [(400, "bad_request"), (401, "unauthorized"), (405, "method_not_allowed"), (500, "internal_server_error")]
        {
            assert_eq!(error_code(StatusCode::from_u16(status).unwrap()), code);
        }
    }
}
