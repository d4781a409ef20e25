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

/// The record that says: a group holds it, each member of which writes this.
///
/// Who waits for it to expire must wait for every member, so the longest time that one of them wrote stays. And no two records of
/// one hold are alike, lest a new one be taken for an earlier one: the time is later than that before, whatever clocks say.
pub(super) fn shared(previous: Option<&LeaseSpec>, group: &str, timing: &Timing, now: Timestamp) -> LeaseSpec {
    let theirs = previous.filter(|record| record.holder_identity.as_deref() == Some(group));
    let renewed = theirs.and_then(|record| record.renew_time.as_ref()).map(|time| time.0);
    // What is written ends at microseconds.
    let next = renewed.and_then(|time| time.checked_add(Duration::from_micros(1)).ok());
    let mut record = held(previous, group, timing, next.map_or(now, |next| next.max(now)));
    let longest = theirs.and_then(|record| record.lease_duration_seconds);
    record.lease_duration_seconds = record.lease_duration_seconds.max(longest);
    record
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
    fn no_renewal_of_a_group_is_like_an_earlier_one_whatever_the_clocks_say() {
        let mut record = shared(Some(&held(None, "a", &TIMING, time(500))), "2 shards", &TIMING, time(100));
        assert_eq!((record.lease_transitions, &record.renew_time), (Some(1), &Some(MicroTime(time(100)))));
        for clock in [101, 101, 50, 99, 101, 200] {
            let next = shared(Some(&record), "2 shards", &TIMING, time(clock));
            let micros = |record: &LeaseSpec| record.renew_time.as_ref().unwrap().0.as_microsecond();
            assert!(micros(&next) > micros(&record), "at {clock}");
            assert_eq!((next.lease_transitions, &next.acquire_time), (Some(1), &record.acquire_time));
            record = next;
        }
        assert_eq!(record.renew_time, Some(MicroTime(time(200))));
    }

    #[test]
    fn the_longest_time_that_a_member_counts_on_stays() {
        let timing = |seconds| Timing { lease_duration: Duration::from_secs(seconds), ..TIMING };
        let alone = held(None, "a", &timing(60), time(1));
        let mut record = shared(Some(&alone), "2 shards", &timing(15), time(2));
        for (mine, expected) in [(15, 15), (30, 30), (15, 30), (20, 30), (40, 40)] {
            record = shared(Some(&record), "2 shards", &timing(mine), time(3));
            assert_eq!(record.lease_duration_seconds, Some(expected), "{mine}");
        }
        assert_eq!(shared(Some(&record), "3 shards", &timing(15), time(4)).lease_duration_seconds, Some(15));
    }

    #[test]
    fn what_is_not_ours_is_kept() {
        let previous = LeaseSpec { strategy: Some("OldestEmulationVersion".to_owned()), ..LeaseSpec::default() };
        assert_eq!(held(Some(&previous), "a", &TIMING, time(1)).strategy, previous.strategy);
    }
}
