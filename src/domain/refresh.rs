//! When a refresh is due: at fixed ticks of the clock, shifted by a phase that follows from the UID, so that fleets
//! spread out and a restart keeps everybody's turn.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::v1alpha1::{RefreshPolicy, SecretVersion};

/// Bounds of a refresh interval, the same as the schema's.
pub const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_hours(720);

/// The interval of a resource: `None` where it is not refreshed by the clock. One out of bounds, which another definition than
/// the operator's let through, counts as the nearest within: a shorter one would never rest.
pub fn interval(cr: &SecretVersion, default: Duration) -> Option<Duration> {
    if cr.spec.refresh_policy == Some(RefreshPolicy::OnChange) {
        return None;
    }
    let asked = cr.spec.refresh_interval.as_deref().and_then(|text| text.parse::<SignedDuration>().ok());
    let asked = asked.and_then(|d| Duration::try_from(d).ok()).filter(|d| !d.is_zero());
    Some(asked.map_or(default, |asked| asked.clamp(*INTERVAL.start(), *INTERVAL.end())))
}

/// The same, where the resource is neither being deleted nor suspended: whoever rests is not refreshed.
pub fn interval_unless_at_rest(cr: &SecretVersion, default: Duration) -> Option<Duration> {
    let rests = cr.metadata.deletion_timestamp.is_some() || cr.spec.suspend == Some(true);
    interval(cr, default).filter(|_| !rests)
}

/// The number of the tick that `now` belongs to. A refresh is due when it is another than at the last refresh.
pub fn tick(uid: &str, interval: Duration, now: Timestamp) -> i64 {
    let every = nanos(interval);
    i64::try_from((now.as_nanosecond() - phase(uid, every)).div_euclid(every)).unwrap_or(i64::MAX)
}

/// How long until the next tick.
pub fn until_next(uid: &str, interval: Duration, now: Timestamp) -> Duration {
    let every = nanos(interval);
    let since = (now.as_nanosecond() - phase(uid, every)).rem_euclid(every);
    Duration::from_nanos(u64::try_from(every - since).unwrap_or(u64::MAX))
}

fn nanos(interval: Duration) -> i128 {
    i128::try_from(interval.as_nanos()).unwrap_or(i128::MAX).max(1)
}

fn phase(uid: &str, every: i128) -> i128 {
    i128::from(spread(uid)) % every
}

/// A number that spreads evenly over texts and never changes: FNV-1a, 64 bits.
pub fn spread(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn intervals_are_read_and_onchange_has_none() {
        let mut cr = SecretVersion::default();
        assert_eq!(interval(&cr, HOUR), Some(HOUR));
        for (text, expected) in [("5s", 5), ("1h30m", 5400), ("720h", 2_592_000), ("nonsense", 3600), ("0s", 3600)] {
            cr.spec.refresh_interval = Some(text.into());
            assert_eq!(interval(&cr, HOUR), Some(Duration::from_secs(expected)), "{text}");
        }
        for (text, nearest) in [("1ms", INTERVAL.start()), ("4s", INTERVAL.start()), ("999999h", INTERVAL.end())] {
            cr.spec.refresh_interval = Some(text.into());
            assert_eq!(interval(&cr, HOUR).as_ref(), Some(nearest), "{text}");
        }
        cr.spec.refresh_policy = Some(RefreshPolicy::OnChange);
        assert_eq!(interval(&cr, HOUR), None);
    }

    #[test]
    fn a_tick_comes_exactly_when_it_was_announced() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for uid in ["a", "b", "c"] {
            let next = until_next(uid, HOUR, now);
            assert!(next <= HOUR && !next.is_zero());
            let before = now + next - Duration::from_nanos(1);
            assert_eq!(tick(uid, HOUR, before), tick(uid, HOUR, now));
            assert_eq!(tick(uid, HOUR, now + next), tick(uid, HOUR, now) + 1);
        }
    }

    #[test]
    fn another_build_keeps_everybodys_turn() {
        // Published vectors of FNV-1a.
        let vectors =
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8_u64)];
        for (text, expected) in vectors {
            assert_eq!(spread(text), expected, "{text}");
        }
    }

    #[test]
    fn phases_spread() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let in_first_half = (0..1000).filter(|n| until_next(&format!("uid-{n}"), HOUR, now) < HOUR / 2).count();
        assert!((400..600).contains(&in_first_half), "{in_first_half}");
    }
}
