//! When a safe request is sent again, and after how long. Only for requests that may be carried out twice: never for a
//! create, which does not come through here.

use std::time::{Duration, SystemTime};

use backon::{ExponentialBuilder, Retryable as _};
use http::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use tokio::time::Instant;

use super::error::Error;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A remote that wants more patience than this gets it from the caller, who holds no slot meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// More patience than this is not granted: a wrong header must not silence a resource for days.
const LONGEST_PATIENCE: Duration = Duration::from_hours(1);

/// How often a request may be sent again, and until when.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    /// How often at the most.
    pub(super) retries: u32,
    /// When the call must have ended.
    pub(super) deadline: Instant,
}

impl Budget {
    /// How long an attempt that begins now may take.
    pub(super) fn left(&self, timeout: Duration) -> Duration {
        timeout.min(self.deadline.saturating_duration_since(Instant::now()))
    }

    /// Sends a request until it gives an answer, a failure that will not pass, or no more can be sent. The last failure
    /// is what the caller gets.
    pub(super) async fn spend<T, F: Future<Output = Result<T, Error>>>(
        self,
        attempt: impl FnMut() -> F,
    ) -> Result<T, Error> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_factor(2.0)
            .with_max_times(usize::try_from(self.retries).unwrap_or(usize::MAX))
            .with_jitter();
        attempt
            .retry(backoff)
            .when(passes)
            .adjust(|error, pause| {
                let pause = pause?.max(error.retry_after().unwrap_or_default());
                let in_time = Instant::now() + pause < self.deadline;
                (pause <= LONGEST_WAIT && in_time).then_some(pause)
            })
            .await
    }
}

/// Whether the same request may well succeed in a moment. A 429 is for the budget to heed, and everybody's.
fn passes(error: &Error) -> bool {
    match error {
        Error::Api { status, .. } | Error::Status { status, .. } => matches!(status, 500 | 502 | 503 | 504),
        Error::Connect { .. } | Error::Timeout { .. } | Error::Cut { .. } => true,
        _ => false,
    }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(value: Option<&HeaderValue>, now: SystemTime) -> Option<Duration> {
    let text = value?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = DateTimeParser::new().parse_timestamp(text).ok()?;
        let now = Timestamp::try_from(now).ok()?;
        Duration::try_from(date.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(LONGEST_PATIENCE))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const OP: &str = "get_version";

    fn status(status: u16, retry_after: Option<u64>) -> Error {
        Error::Status { op: OP, status, retry_after: retry_after.map(Duration::from_secs) }
    }

    async fn spend(retries: u32, seconds: u64, error: Error) -> (u32, Duration) {
        let (tries, begin) = (Cell::new(0), Instant::now());
        let budget = Budget { retries, deadline: begin + Duration::from_secs(seconds) };
        let result = budget
            .spend(|| {
                tries.set(tries.get() + 1);
                std::future::ready(Err::<(), _>(error.clone()))
            })
            .await;
        assert_eq!(result, Err(error));
        (tries.get(), begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_sent_again() {
        let again = [
            status(500, None),
            status(502, None),
            status(503, None),
            status(504, None),
            Error::Connect { op: OP, cause: "refused" },
            Error::Timeout { op: OP },
            Error::Cut { op: OP },
        ];
        for error in again {
            assert_eq!(spend(3, 60, error.clone()).await.0, 4, "{error}");
        }
        let once = [
            status(400, None),
            status(401, None),
            status(404, None),
            status(409, None),
            status(429, None),
            status(501, None),
            status(307, None),
            Error::Malformed { op: OP, what: "is not JSON" },
            Error::Tls { op: OP, cause: "expired" },
            Error::TooLarge { op: OP },
        ];
        for error in once {
            assert_eq!(spend(3, 60, error.clone()).await.0, 1, "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end_with_the_deadline() {
        let (tries, took) = spend(5, 600, status(500, None)).await;
        assert_eq!(tries, 6);
        assert!(took >= Duration::from_millis(6_200) && took <= Duration::from_secs(15), "{took:?}");
        let (tries, took) = spend(100, 10, status(500, None)).await;
        assert!(tries > 3 && took <= Duration::from_secs(10), "{tries} {took:?}");
        assert_eq!(spend(0, 600, status(500, None)).await.0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_obeyed_or_left_to_the_caller() {
        let (tries, took) = spend(2, 600, status(503, Some(9))).await;
        assert_eq!(tries, 3);
        assert!(took >= Duration::from_secs(18), "{took:?}");
        assert_eq!(spend(2, 600, status(503, Some(11))).await, (1, Duration::ZERO));
        assert_eq!(spend(2, 8, status(503, Some(9))).await, (1, Duration::ZERO));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let table = [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999", Some(3_600)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:07 GMT", Some(3_600)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("99999999999999999999999", None),
        ];
        for (text, seconds) in table {
            let value = HeaderValue::from_str(text).unwrap();
            assert_eq!(retry_after(Some(&value), now), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(None, now), None);
    }
}
