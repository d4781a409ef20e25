//! The records that are written, as client-go writes them, so that its tools read them.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

use super::Timing;

/// The record that says: `identity` holds it. `previous` is what it replaces, if anything.
pub(super) fn held(previous: Option<&LeaseSpec>, identity: &str, timing: &Timing, now: Timestamp) -> LeaseSpec {
    let seconds = i32::try_from(timing.lease_duration.as_secs()).unwrap_or(i32::MAX);
    let mut record = previous.cloned().unwrap_or_default();
    if record.holder_identity.as_deref() != Some(identity) {
        record.holder_identity = Some(identity.to_owned());
        record.acquire_time = Some(MicroTime(now));
        record.lease_transitions = Some(match previous {
            Some(previous) => previous.lease_transitions.unwrap_or(0).saturating_add(1),
            None => 0,
        });
    }
    record.lease_duration_seconds = Some(seconds);
    record.renew_time = Some(MicroTime(now));
    record
}

/// The time to renew a record with that others renew, too: later than the one in it, whatever their clocks say. So no two records
/// of one hold are alike, and who waits for it to expire takes none for an earlier one.
pub(super) fn later(previous: Option<&LeaseSpec>, now: Timestamp) -> Timestamp {
    let renewed = previous.and_then(|record| record.renew_time.as_ref()).map(|time| time.0);
    // What is written ends at microseconds.
    let next = renewed.and_then(|time| time.checked_add(Duration::from_micros(1)).ok());
    next.map_or(now, |next| next.max(now))
}

/// The record that says: nobody holds it, take it at once.
pub(super) fn released(previous: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: None,
        // The apiserver wants more than nothing.
        lease_duration_seconds: Some(1),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        ..previous.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    };

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_life_of_a_lease() {
        let first = held(None, "a", &TIMING, time(1));
        assert_eq!(first.holder_identity.as_deref(), Some("a"));
        assert_eq!(first.lease_duration_seconds, Some(15));
        assert_eq!(
            (first.acquire_time.clone(), first.renew_time.clone()),
            (Some(MicroTime(time(1))), Some(MicroTime(time(1))))
        );
        assert_eq!(first.lease_transitions, Some(0));

        let renewed = held(Some(&first), "a", &TIMING, time(3));
        assert_eq!(renewed.acquire_time, Some(MicroTime(time(1))));
        assert_eq!(renewed.renew_time, Some(MicroTime(time(3))));
        assert_eq!(renewed.lease_transitions, Some(0));

        let released = released(&renewed, time(5));
        assert_eq!(released.holder_identity, None);
        assert_eq!(released.lease_duration_seconds, Some(1));
        assert_eq!(released.lease_transitions, Some(0));

        let taken = held(Some(&released), "b", &TIMING, time(7));
        assert_eq!(taken.holder_identity.as_deref(), Some("b"));
        assert_eq!(taken.acquire_time, Some(MicroTime(time(7))));
        assert_eq!(taken.lease_duration_seconds, Some(15));
        assert_eq!(taken.lease_transitions, Some(1));
    }

    #[test]
    fn no_renewal_is_like_an_earlier_one_whatever_the_clocks_say() {
        assert_eq!(later(None, time(1)), time(1));
        let mut record = held(None, "2 shards", &TIMING, time(100));
        for clock in [101, 101, 50, 99, 101, 200] {
            let next = held(Some(&record), "2 shards", &TIMING, later(Some(&record), time(clock)));
            let micros = |record: &LeaseSpec| record.renew_time.as_ref().unwrap().0.as_microsecond();
            assert!(micros(&next) > micros(&record), "at {clock}");
            assert_eq!((next.lease_transitions, &next.acquire_time), (Some(0), &record.acquire_time));
            record = next;
        }
        assert_eq!(record.renew_time, Some(MicroTime(time(200))));
    }

    #[test]
    fn what_is_not_ours_is_kept() {
        let previous = LeaseSpec { strategy: Some("OldestEmulationVersion".to_owned()), ..LeaseSpec::default() };
        assert_eq!(held(Some(&previous), "a", &TIMING, time(1)).strategy, previous.strategy);
    }
}
