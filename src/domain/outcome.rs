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
