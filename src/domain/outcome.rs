//! What a create request came to, judged by its answer alone.

use jiff::Timestamp;

use crate::api::v1alpha1::Baseline;

use super::observed::{SendFailure, Sent, Version};

/// What became of a create request, as the protocol sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A version was created by this request.
    Created,
    /// The answer names a version that existed before.
    Referenced,
    /// Nothing was created.
    Rejected,
    /// Nothing was sent.
    NotSent,
    /// Nobody knows yet.
    Ambiguous,
}

/// Whether a request created something: only the API's own refusal, or no connection at all, is a no.
pub fn classify(sent: &Sent, listed_before: &[Version], baseline: &Baseline) -> Outcome {
    match sent {
        Sent::TooLate => Outcome::NotSent,
        Sent::Answered(version) if listed_before.iter().any(|v| v.id == version.id) => Outcome::Referenced,
        Sent::Answered(version) if later(version, baseline) => Outcome::Created,
        Sent::Failed(failure) if rejected(failure) => Outcome::Rejected,
        Sent::Answered(_) | Sent::Failed(_) => Outcome::Ambiguous,
    }
}

fn rejected(failure: &SendFailure) -> bool {
    failure.not_connected
        || match failure.status {
            Some(429) => true,
            Some(400 | 401 | 403 | 404 | 405 | 413 | 415 | 422) => failure.api_error,
            _ => false,
        }
}

/// Whether the same request would be refused again: the API calls it wrong in itself.
pub fn refused_for_good(failure: &SendFailure) -> bool {
    failure.api_error && matches!(failure.status, Some(400 | 413 | 415 | 422))
}

/// Whether a version came after a baseline.
pub fn later(version: &Version, baseline: &Baseline) -> bool {
    let at = |text: &str| text.parse::<Timestamp>().ok();
    let created_later = match (at(&version.created_at), baseline.created_at.as_deref().and_then(at)) {
        (Some(new), Some(old)) => new > old,
        _ => false,
    };
    version.number > baseline.version || created_later
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::VersionState;
    use crate::domain::observed::Sight;
    use crate::domain::reason::Reason;

    fn version(id: &str, number: i64, created_at: &str) -> Version {
        Version {
            id: id.into(),
            number,
            state: VersionState::Active,
            created_at: created_at.into(),
            updated_at: String::new(),
            digest: None,
            is_source: Sight::Equal,
            is_intent: Sight::Equal,
            is_earlier: Sight::Different,
        }
    }

    fn failed(status: Option<u16>, api_error: bool, not_connected: bool) -> Sent {
        let (reason, message) = (Reason::RemoteUnavailable, "it failed".into());
        Sent::Failed(SendFailure { status, api_error, not_connected, retry_after: None, reason, message })
    }

    #[test]
    fn only_what_is_new_was_created_and_only_a_plain_no_is_a_no() {
        let baseline = Baseline { version: 2, created_at: None };
        let listed = [version("v2", 2, ""), version("v4", 4, "")];
        for (sent, expected) in [
            (Sent::TooLate, Outcome::NotSent),
            (Sent::Answered(version("v3", 3, "")), Outcome::Created),
            // Whatever its number: it was there before.
            (Sent::Answered(version("v4", 4, "")), Outcome::Referenced),
            // Neither listed nor new: the answer cannot be what it says.
            (Sent::Answered(version("v1", 1, "")), Outcome::Ambiguous),
            (failed(None, false, true), Outcome::Rejected),
            (failed(None, false, false), Outcome::Ambiguous),
            (failed(Some(403), true, false), Outcome::Rejected),
            // Something between here and the remote says so.
            (failed(Some(403), false, false), Outcome::Ambiguous),
            (failed(Some(429), false, false), Outcome::Rejected),
            (failed(Some(500), true, false), Outcome::Ambiguous),
        ] {
            assert_eq!(classify(&sent, &listed, &baseline), expected, "{sent:?}");
        }
    }

    #[test]
    fn a_refusal_is_for_good_where_the_api_itself_calls_the_request_wrong() {
        for (status, api_error, expected) in
            [(400, true, true), (422, true, true), (400, false, false), (403, true, false), (429, true, false)]
        {
            let Sent::Failed(failure) = failed(Some(status), api_error, false) else { continue };
            assert_eq!(refused_for_good(&failure), expected, "{status} {api_error}");
        }
    }

    #[test]
    fn later_is_by_number_or_by_time_of_creation() {
        const EARLIER: &str = "2026-01-01T00:00:00Z";
        const LATER: &str = "2026-01-01T00:00:01Z";
        for (number, created_at, baseline_time, expected) in [
            (3, EARLIER, Some(LATER), true),
            (2, LATER, Some(EARLIER), true),
            (2, EARLIER, Some(EARLIER), false),
            (1, EARLIER, Some(LATER), false),
            (1, "in 2026", Some(EARLIER), false),
            (1, LATER, Some("in 2026"), false),
            (1, LATER, None, false),
        ] {
            let baseline = Baseline { version: 2, created_at: baseline_time.map(str::to_owned) };
            assert_eq!(later(&version("v", number, created_at), &baseline), expected, "{number} {created_at}");
        }
    }
}
