//! What can go wrong between the operator and the remote. The texts hold no value, credential, header, URL or body, and
//! errors of libraries are not kept as sources, because theirs may.

use std::time::Duration;

use thiserror::Error as ThisError;

use crate::domain::class::Class;
use crate::domain::reason::Reason;

/// How long to wait where the remote asks for patience and does not say for how long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a call gave nothing. `op` is the call: one of a closed set.
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
pub enum Error {
    /// The API itself refused: an error status with the API's own JSON error.
    #[error("{op}: the remote answered {status}{}{}", behind(" ", code), behind(": ", description))]
    Api {
        /// The call.
        op: &'static str,
        /// The HTTP status.
        status: u16,
        /// The API's code, or nothing where it is no word.
        code: String,
        /// The API's description, shortened to one line; it never quotes what was sent.
        description: String,
        /// How long the remote wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// An error status without the API's own JSON error: something between may have answered.
    #[error("{op}: {status} was answered, without the API's own error")]
    Status {
        /// The call.
        op: &'static str,
        /// The HTTP status.
        status: u16,
        /// How long the remote wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// No connection was made, so nothing was sent.
    #[error("{op}: no connection to the remote: {cause}")]
    Connect {
        /// The call.
        op: &'static str,
        /// What failed.
        cause: &'static str,
    },
    /// The remote could not show that it is itself, so nothing was sent.
    #[error("{op}: no trust in the remote: {cause}")]
    Tls {
        /// The call.
        op: &'static str,
        /// What failed.
        cause: &'static str,
    },
    /// The answer did not come, or did not end, in time. The request may have been carried out.
    #[error("{op}: no answer in time")]
    Timeout {
        /// The call.
        op: &'static str,
    },
    /// The connection was lost before the answer ended. The request may have been carried out.
    #[error("{op}: the connection was lost")]
    Cut {
        /// The call.
        op: &'static str,
    },
    /// The answer cannot be understood. The request may have been carried out.
    #[error("{op}: the answer {what}")]
    Malformed {
        /// The call.
        op: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The answer is about something else than was asked for.
    #[error("{op}: the answer is about another {what}")]
    Unexpected {
        /// The call.
        op: &'static str,
        /// What differs.
        what: &'static str,
    },
    /// The answer is larger, or the list longer, than the operator reads.
    #[error("{op}: the answer is larger than the operator reads")]
    TooLarge {
        /// The call.
        op: &'static str,
    },
    /// The list moved each time that it was read, or contradicted itself.
    #[error("{op}: the list did not come to rest")]
    Incomplete {
        /// The call.
        op: &'static str,
    },
    /// Nothing was sent, because too much was sent already.
    #[error("{op}: as many requests as may be sent were sent")]
    OverBudget {
        /// The call.
        op: &'static str,
        /// When to ask again.
        after: Duration,
    },
    /// An id cannot be part of a URL.
    #[error("{op}: an id is empty, or is made of dots")]
    Unaddressable {
        /// The call.
        op: &'static str,
    },
    /// The base URL cannot be used.
    #[error("the URL {what}")]
    Url {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The credential cannot be used.
    #[error("the credential {what}")]
    Credential {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The certificates to trust cannot be used.
    #[error("the CA bundle {what}")]
    CaBundle {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The HTTP library refused its settings, or a request that was made for it.
    #[error("the HTTP client: {what}")]
    Client {
        /// What it did not accept.
        what: &'static str,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn class(&self) -> Class {
        match self {
            Self::Api { status, retry_after, .. } | Self::Status { status, retry_after, .. } => {
                class_of_status(*status, *retry_after, self.is_api_error())
            }
            Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::Cut { .. }
            | Self::Malformed { .. }
            | Self::Unexpected { .. }
            | Self::TooLarge { .. }
            | Self::Incomplete { .. } => Class::Transient,
            Self::Unaddressable { .. } | Self::Url { .. } | Self::Credential { .. } | Self::CaBundle { .. } => {
                Class::Invalid
            }
            Self::OverBudget { after, .. } => Class::Throttled(*after),
            Self::Client { .. } => Class::Bug,
        }
    }

    /// Why, as a condition would say it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Api { status, .. } | Self::Status { status, .. } => reason_of_status(*status, self.is_api_error()),
            Self::Connect { .. } | Self::Tls { .. } | Self::Timeout { .. } | Self::Cut { .. } => {
                Reason::RemoteUnavailable
            }
            Self::Malformed { .. } | Self::Unexpected { .. } | Self::TooLarge { .. } => Reason::MalformedAnswer,
            Self::Incomplete { .. } => Reason::ListIncomplete,
            Self::OverBudget { .. } => Reason::Throttled,
            Self::Unaddressable { .. } => Reason::BadRequest,
            Self::Url { .. } => Reason::ConnectionNotReady,
            Self::Credential { .. } => Reason::CredentialNotFound,
            Self::CaBundle { .. } => Reason::CaBundleInvalid,
            Self::Client { .. } => Reason::InternalError,
        }
    }

    /// The HTTP status of an error answer. A 2xx that could not be understood has none.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } | Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the API itself answered with its own JSON error. Only then is a 404 about what was asked for.
    pub fn is_api_error(&self) -> bool {
        matches!(self, Self::Api { .. })
    }

    /// How long the remote wants to be left alone, where it says so; an hour at the most.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api { retry_after, .. } | Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether it is certain that no byte of the request left, because there was no connection to send it on.
    pub fn not_connected(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Tls { .. })
    }

    /// The outcome as a metric label: one of a closed set.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Api { status, .. } | Self::Status { status, .. } => match status {
                401 => "unauthorized",
                403 => "forbidden",
                404 => "not_found",
                409 => "conflict",
                429 => "throttled",
                400..=499 => "client_error",
                500..=599 => "server_error",
                _ => "other_status",
            },
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Timeout { .. } => "timeout",
            Self::Cut { .. } => "cut",
            Self::Malformed { .. } | Self::Unexpected { .. } | Self::TooLarge { .. } | Self::Incomplete { .. } => {
                "malformed"
            }
            Self::OverBudget { .. }
            | Self::Unaddressable { .. }
            | Self::Url { .. }
            | Self::Credential { .. }
            | Self::CaBundle { .. }
            | Self::Client { .. } => "unsent",
        }
    }
}

/// A text behind a mark, or nothing where there is no text.
fn behind(mark: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{mark}{text}") }
}

fn class_of_status(status: u16, retry_after: Option<Duration>, api: bool) -> Class {
    match (status, retry_after) {
        (429, wait) => Class::Throttled(wait.unwrap_or(PATIENCE)),
        (503, Some(wait)) => Class::Throttled(wait),
        (401 | 403, _) => Class::Denied,
        (409, _) => Class::Conflict,
        // A page of something in between says nothing about the request: it heals when that does.
        (400 | 404 | 405 | 413 | 415 | 422, _) if api => Class::Invalid,
        _ => Class::Transient,
    }
}

fn reason_of_status(status: u16, api: bool) -> Reason {
    match status {
        401 => Reason::Unauthorized,
        403 => Reason::Forbidden,
        404 if api => Reason::NotFound,
        404 => Reason::MalformedAnswer,
        409 => Reason::RemoteConflict,
        413 => Reason::SourceTooLarge,
        408 | 425 | 500..=599 => Reason::RemoteUnavailable,
        429 => Reason::Throttled,
        400..=499 => Reason::BadRequest,
        _ => Reason::MalformedAnswer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(status: u16) -> Error {
        Error::Api { op: "get_version", status, code: "c".into(), description: "d".into(), retry_after: None }
    }

    fn page(status: u16) -> Error {
        Error::Status { op: "get_version", status, retry_after: None }
    }

    #[test]
    fn every_status_has_a_class_a_reason_and_an_outcome() {
        use Class::{Conflict, Denied, Invalid, Throttled, Transient};
        let table = [
            (api(400), Invalid, Reason::BadRequest, "client_error"),
            (api(401), Denied, Reason::Unauthorized, "unauthorized"),
            (api(403), Denied, Reason::Forbidden, "forbidden"),
            (api(404), Invalid, Reason::NotFound, "not_found"),
            (api(405), Invalid, Reason::BadRequest, "client_error"),
            (api(409), Conflict, Reason::RemoteConflict, "conflict"),
            (api(413), Invalid, Reason::SourceTooLarge, "client_error"),
            (api(422), Invalid, Reason::BadRequest, "client_error"),
            (api(429), Throttled(PATIENCE), Reason::Throttled, "throttled"),
            (api(500), Transient, Reason::RemoteUnavailable, "server_error"),
            (page(307), Transient, Reason::MalformedAnswer, "other_status"),
            (page(400), Transient, Reason::BadRequest, "client_error"),
            (page(401), Denied, Reason::Unauthorized, "unauthorized"),
            (page(404), Transient, Reason::MalformedAnswer, "not_found"),
            (page(408), Transient, Reason::RemoteUnavailable, "client_error"),
            (page(429), Throttled(PATIENCE), Reason::Throttled, "throttled"),
            (page(503), Transient, Reason::RemoteUnavailable, "server_error"),
        ];
        for (error, class, reason, outcome) in table {
            assert_eq!((error.class(), error.reason(), error.outcome()), (class, reason, outcome), "{error}");
        }
    }

    #[test]
    fn patience_is_as_long_as_the_remote_says() {
        let wait = Some(Duration::from_secs(7));
        for status in [429, 503] {
            let error = Error::Status { op: "get_version", status, retry_after: wait };
            assert_eq!(error.class(), Class::Throttled(Duration::from_secs(7)));
            assert_eq!(error.retry_after(), wait);
        }
    }

    #[test]
    fn only_the_lack_of_a_connection_proves_that_nothing_was_sent() {
        let op = "create_version";
        for error in [Error::Connect { op, cause: "refused" }, Error::Tls { op, cause: "expired" }] {
            assert!(error.not_connected(), "{error}");
        }
        for error in [Error::Timeout { op }, Error::Cut { op }, Error::Malformed { op, what: "is cut" }, page(500)] {
            assert!(!error.not_connected(), "{error}");
        }
    }

    #[test]
    fn texts_say_what_happened() {
        assert_eq!(api(404).to_string(), "get_version: the remote answered 404 c: d");
        let bare =
            Error::Api { op: "o", status: 400, code: String::new(), description: String::new(), retry_after: None };
        assert_eq!(bare.to_string(), "o: the remote answered 400");
        assert_eq!(page(404).to_string(), "get_version: 404 was answered, without the API's own error");
    }
}
