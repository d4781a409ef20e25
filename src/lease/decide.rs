//! What to do about a Lease, as a pure function of what was seen of it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use tokio::time::Instant;

/// A Lease's record, and when it was first seen as it is.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The record.
    pub record: LeaseSpec,
    /// When this process first saw exactly this record. Its holder renews by changing it.
    pub since: Instant,
}

/// The process that asks.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its identity, unlike that of any other process.
    pub identity: &'a str,
    /// Until when it leads. Absent: it does not.
    pub leads_until: Option<Instant>,
    /// How long a record counts that does not say so itself.
    pub lease_duration: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nobody holds it: take it.
    Acquire,
    /// This process holds it: renew it.
    Renew,
    /// Somebody else holds it, for this much longer at least.
    Wait(Duration),
    /// This process led, and does not any more. It must not act again.
    Lost,
}

/// Decides. `seen` is absent where no record was ever seen. A record that was deleted since still counts until it
/// expires: its holder may not know yet.
pub fn decide(seen: Option<&Seen>, now: Instant, me: &Candidate<'_>) -> Decision {
    let holder = seen.and_then(|seen| seen.record.holder_identity.as_deref()).filter(|holder| !holder.is_empty());
    let mine = holder == Some(me.identity);
    if let Some(deadline) = me.leads_until {
        return if mine && now < deadline { Decision::Renew } else { Decision::Lost };
    }
    match (seen, holder) {
        // A write whose answer was lost.
        (Some(_), Some(_)) if mine => Decision::Renew,
        (Some(seen), Some(_)) => {
            let expires = seen.since + duration_of(&seen.record).unwrap_or(me.lease_duration);
            if now < expires { Decision::Wait(expires - now) } else { Decision::Acquire }
        }
        _ => Decision::Acquire,
    }
}

fn duration_of(record: &LeaseSpec) -> Option<Duration> {
    let seconds = record.lease_duration_seconds.filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds.unsigned_abs().into()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn record(holder: Option<&str>, seconds: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        }
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn one_who_stands_by() {
        let start = Instant::now();
        let me = Candidate { identity: "me", leads_until: None, lease_duration: Duration::from_secs(15) };
        let wait = |seconds| Decision::Wait(Duration::from_secs(seconds));
        for (name, record, after, expected) in [
            ("released", record(None, Some(1)), 0, Decision::Acquire),
            ("released, as an empty name", record(Some(""), Some(1)), 0, Decision::Acquire),
            ("held", record(Some("other"), Some(15)), 0, wait(15)),
            ("held a while", record(Some("other"), Some(15)), 14, wait(1)),
            ("expired just now", record(Some("other"), Some(15)), 15, Decision::Acquire),
            ("long expired", record(Some("other"), Some(15)), 999, Decision::Acquire),
            ("the holder's duration counts, not ours", record(Some("other"), Some(60)), 59, wait(1)),
            ("no duration", record(Some("other"), None), 14, wait(1)),
            ("no duration, expired", record(Some("other"), None), 15, Decision::Acquire),
            ("a duration of nothing", record(Some("other"), Some(0)), 14, wait(1)),
            ("a negative duration", record(Some("other"), Some(-5)), 14, wait(1)),
            ("ours, by a write whose answer was lost", record(Some("me"), Some(15)), 3, Decision::Renew),
        ] {
            let seen = Seen { record, since: start };
            assert_eq!(decide(Some(&seen), at(start, after), &me), expected, "{name}");
        }
        assert_eq!(decide(None, start, &me), Decision::Acquire);
    }

    #[test]
    fn one_who_leads() {
        let start = Instant::now();
        let me =
            Candidate { identity: "me", leads_until: Some(at(start, 10)), lease_duration: Duration::from_secs(15) };
        for (name, record, after, expected) in [
            ("in time", record(Some("me"), Some(15)), 9, Decision::Renew),
            ("at the deadline", record(Some("me"), Some(15)), 10, Decision::Lost),
            ("past the deadline, though nobody else took it", record(Some("me"), Some(15)), 11, Decision::Lost),
            ("taken", record(Some("other"), Some(15)), 1, Decision::Lost),
            ("taken from us and given up", record(None, Some(1)), 1, Decision::Lost),
        ] {
            let seen = Seen { record, since: start };
            assert_eq!(decide(Some(&seen), at(start, after), &me), expected, "{name}");
        }
        assert_eq!(decide(None, start, &me), Decision::Lost);
    }

    #[test]
    fn no_other_machines_clock_matters() {
        let start = Instant::now();
        let me = Candidate { identity: "me", leads_until: None, lease_duration: Duration::from_secs(15) };
        for renewed in ["1999-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
            let time: Timestamp = renewed.parse().unwrap();
            let mut record = record(Some("other"), Some(15));
            record.renew_time = Some(MicroTime(time));
            record.acquire_time = Some(MicroTime(time));
            let seen = Seen { record, since: start };
            assert_eq!(decide(Some(&seen), at(start, 5), &me), Decision::Wait(Duration::from_secs(10)), "{renewed}");
            assert_eq!(decide(Some(&seen), at(start, 15), &me), Decision::Acquire, "{renewed}");
        }
    }
}
