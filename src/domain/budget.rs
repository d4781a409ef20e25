//! What a connection's status says of its budget of requests. It moves all the time, and a status must not: what is said
//! stays until it is wrong by more than a person would care for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::v1alpha1::RequestBudget;

/// Being left alone for less than this is not worth a word.
const SHORT: Duration = Duration::from_secs(5);

/// What is said of a limit stays as long as it is not wrong by more than one in so many.
const TOLERANCE: u32 = 5;

/// The budget as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Requests a minute, where a limit is set or was met.
    pub per_minute: Option<u32>,
    /// Whether the remote was found to bear no more than so many, for now.
    pub met: bool,
    /// For how long the remote is to be left alone.
    pub blocked: Duration,
}

/// What to say, after what was said last. `None`: nothing limits the requests.
pub fn shown(said: Option<&RequestBudget>, standing: Standing, now: Timestamp) -> Option<RequestBudget> {
    let said_limit = said.and_then(|said| said.requests_per_minute);
    let limit = standing.per_minute.map(|limit| {
        let still_true = |said: &u32| said.abs_diff(limit) <= limit / TOLERANCE;
        said_limit.filter(still_true).unwrap_or(limit)
    });
    let until = (standing.blocked > SHORT).then(|| {
        let end = now.saturating_add(SignedDuration::try_from(standing.blocked).unwrap_or(SignedDuration::MAX));
        let end = end.unwrap_or(now);
        let near = |said: &Timestamp| said.duration_since(end).unsigned_abs() <= SHORT;
        let said = said.and_then(|said| said.throttled_until.as_ref()?.parse().ok()).filter(near);
        said.unwrap_or(end).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    });
    (limit.is_some() || until.is_some()).then_some(RequestBudget { requests_per_minute: limit, throttled_until: until })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(per_minute: Option<u32>, until: Option<&str>) -> RequestBudget {
        RequestBudget { requests_per_minute: per_minute, throttled_until: until.map(str::to_owned) }
    }

    #[test]
    fn the_rule() {
        let (near, far) = (Some("2026-01-01T00:01:03Z"), Some("2026-01-01T00:02:00Z"));
        let minute = Some("2026-01-01T00:01:00Z");
        let table = [
            ("no limit is known", None, None, 0, None),
            ("a limit is forgotten", Some(budget(Some(600), None)), None, 0, None),
            ("a limit", None, Some(600), 0, Some(budget(Some(600), None))),
            ("nearly the same", Some(budget(Some(600), None)), Some(660), 0, Some(budget(Some(600), None))),
            ("another", Some(budget(Some(600), None)), Some(300), 0, Some(budget(Some(300), None))),
            ("a little less than is said", Some(budget(Some(120), None)), Some(100), 0, Some(budget(Some(120), None))),
            ("less than is said", Some(budget(Some(121), None)), Some(100), 0, Some(budget(Some(100), None))),
            ("left alone for a moment", None, Some(60), 5, Some(budget(Some(60), None))),
            ("left alone for long", None, None, 60, Some(budget(None, minute))),
            ("said already", Some(budget(None, near)), None, 60, Some(budget(None, near))),
            ("longer than was said", Some(budget(None, minute)), None, 120, Some(budget(None, far))),
            ("that is over", Some(budget(Some(60), minute)), Some(60), 0, Some(budget(Some(60), None))),
            ("an unreadable time", Some(budget(None, Some("soon"))), None, 60, Some(budget(None, minute))),
        ];
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (case, said, per_minute, blocked, expected) in table {
            let standing = Standing { per_minute, met: false, blocked: Duration::from_secs(blocked) };
            let told = shown(said.as_ref(), standing, now);
            assert_eq!(told, expected, "{case}");
            assert_eq!(shown(told.as_ref(), standing, now), expected, "{case}: said again");
        }
    }
}
