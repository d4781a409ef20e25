//! What faults do, as data. Owns the words of the control API and of seeds; carries nothing out.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// What a fault does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Answers with a status of its own.
    Status(StatusFault),
    /// Answers late. A request is carried out even where its client has left meanwhile.
    Delay(DelayFault),
    /// Closes the connection in place of an answer.
    Drop(DropFault),
    /// Carries the request out, and spoils the answer.
    Malformed(Malformation),
    /// Carries the request out, and sends the body byte by byte.
    Trickle(TrickleFault),
    /// Carries the request out, and follows its answer's body with this many spaces.
    Oversize(OversizeFault),
    /// Closes the connection, or answers an error, and carries the request out later.
    LateCommit(LateCommitFault),
    /// Shows no version that is younger than this.
    ListLag(ListLagFault),
    /// Changes a list right after a page of it was answered.
    PageShift(PageShift),
    /// Answers 429 where requests come faster than a token bucket fills.
    RateLimit(RateLimitFault),
    /// Answers, then closes the connection, whatever it is used for by then.
    CloseIdle(CloseIdleFault),
}

/// An answer made up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusFault {
    /// The HTTP status.
    pub code: u16,
    /// What the body looks like.
    #[serde(default)]
    pub body: ErrorBody,
    /// Seconds in a `Retry-After` header; absent: no such header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// More headers, such as `location`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether the request is carried out all the same.
    #[serde(default)]
    pub committed: bool,
}

/// The body of an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBody {
    /// The API's own form.
    #[default]
    Json,
    /// A page, as a proxy in between would send.
    Html,
    /// Nothing.
    Empty,
}

/// A slow answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelayFault {
    /// On which side of the change the time passes.
    pub at: DelayPoint,
    /// How long.
    pub duration: Span,
}

/// Where a delay lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DelayPoint {
    /// Before the request is carried out.
    BeforeCommit,
    /// Between that and the answer.
    AfterCommit,
}

/// A connection that is closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropFault {
    /// When.
    pub at: DropPoint,
    /// By RST instead of FIN.
    #[serde(default)]
    pub reset: bool,
}

/// How far a request gets before its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropPoint {
    /// Read, and not carried out.
    BeforeCommit,
    /// Carried out; not a byte of answer.
    AfterCommit,
    /// Carried out; the answer ends within its headers.
    InsideHeaders,
    /// Carried out; the body is shorter than its Content-Length.
    InsideBody,
}

/// How an answer is spoiled. Those about versions change every version object in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Malformation {
    /// The body is no JSON at all.
    InvalidJson,
    /// The JSON ends in the middle; Content-Length agrees.
    TruncatedJson,
    /// There is no body.
    EmptyBody,
    /// A string in the JSON is not UTF-8.
    NotUtf8,
    /// `version` is a string and `status` a number.
    WrongType,
    /// `value` is absent.
    MissingValue,
    /// `value` is null.
    NullValue,
    /// `value` is not base64.
    BadBase64,
    /// `value` decodes to other bytes.
    AlteredValue,
    /// `id` is of no version there is.
    OtherVersionId,
    /// `secret_id` is of no secret there is.
    OtherSecretId,
    /// `status` is a word that the reference does not have.
    UnknownStatus,
    /// Every row of a list is there twice.
    DuplicateRows,
    /// `has_next` is true on the last page too.
    HasNextTrue,
    /// `has_next` is false on every page.
    HasNextFalse,
    /// `offset` is ignored.
    RepeatFirstPage,
}

/// A slow body.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrickleFault {
    /// The pause before each byte.
    pub pause: Span,
}

/// A large body.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OversizeFault {
    /// How many bytes to add.
    pub bytes: u64,
    /// Compressed, whether the client asked for that or not: small on the wire, huge when it is unpacked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gzip: bool,
}

/// A request that is carried out when nobody waits for it any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateCommitFault {
    /// How long after its arrival.
    pub after: Span,
    /// The status answered at once; absent: the connection is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

/// Reads that lag writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListLagFault {
    /// By how much.
    pub duration: Span,
}

/// How a list changes between two of its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageShift {
    /// A row is added, as a creation would.
    Insert,
    /// The first row of the page just answered is deleted.
    Delete,
}

/// A token bucket that all matching requests share.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitFault {
    /// Tokens that it gains in a second.
    pub per_second: f64,
    /// Tokens that it holds at most, and begins with.
    pub burst: u32,
}

/// A server that gives up on idle connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseIdleFault {
    /// How long after the answer.
    pub after: Span,
}

/// A duration as people write it: `250ms`, `2s`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse::<SignedDuration>()
            .ok()
            .and_then(|span| Duration::try_from(span).ok())
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a duration such as 250ms, 2s or 1m"))
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        SignedDuration::try_from(span.0).map_or_else(|_| format!("{}s", span.0.as_secs()), |span| format!("{span:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_write_them() {
        for (text, millis) in [("250ms", 250), ("2s", 2000), ("1m 30s", 90_000)] {
            let span = Span::try_from(text.to_owned()).unwrap();
            assert_eq!(span.0, Duration::from_millis(millis));
            assert_eq!(Span::try_from(String::from(span)), Ok(span));
        }
        assert!(Span::try_from("-1s".to_owned()).is_err());
        assert!(Span::try_from("soon".to_owned()).is_err());
    }
}
