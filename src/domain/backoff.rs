//! How long to wait after failures, and what ends the wait early.

use std::time::Duration;

use crate::api::v1alpha1::ObjectSeen;

use super::observed::Meta;
use super::refresh::spread;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait.
pub const LONGEST: Duration = Duration::from_mins(5);

/// The wait after this many failures in a row: doubling from a second to five minutes, up to a fifth shorter by a share
/// that follows from the UID and the count, so that fleets spread and tests repeat.
pub fn delay(failures: u32, uid: &str) -> Duration {
    let full = FIRST.saturating_mul(1_u32 << failures.min(16)).min(LONGEST);
    let share = spread(&format!("{uid}/{failures}")) % 200;
    full.mul_f64(1.0 - f64::from(u32::try_from(share).unwrap_or(0)) / 1000.0)
}

/// Everything whose change is a reason to try again at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Stimulus {
    /// Generation of the resource.
    pub generation: Option<i64>,
    /// The sync that is asked for.
    pub requested: Option<String>,
    /// Whether the resource is being deleted.
    pub deleting: bool,
    /// The source.
    pub source: Meta,
    /// The target.
    pub target: Meta,
    /// What the connection is and gives.
    pub link: Option<String>,
    /// Whether another resource owns the place.
    pub claimed: bool,
}

impl Stimulus {
    /// Whether the difference is only the target as we wrote it ourselves.
    pub fn same_but_for_own_write(&self, now: &Self, written: Option<&ObjectSeen>) -> bool {
        let mut then = self.clone();
        if now.target.is(written) {
            then.target = now.target.clone();
        }
        then == *now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_cap_and_never_exceed_it() {
        let mut last = Duration::ZERO;
        for failures in 0..9 {
            let wait = delay(failures, "uid");
            assert!(wait > last, "{failures}");
            last = wait;
        }
        for failures in 9..100 {
            let wait = delay(failures, "uid");
            assert!(wait <= LONGEST && wait >= LONGEST.mul_f64(0.8));
        }
        assert_eq!(delay(3, "uid"), delay(3, "uid"));
        assert_ne!(delay(3, "uid"), delay(3, "other"));
    }

    fn object(version: &str) -> ObjectSeen {
        let (uid, resource_version) = (Some("uid".to_owned()), Some(version.to_owned()));
        ObjectSeen { name: "target".into(), uid, resource_version }
    }

    type Edit = fn(&mut Stimulus);

    #[test]
    fn whatever_changes_ends_a_wait_but_not_our_own_write_of_the_target() {
        let then = Stimulus {
            generation: Some(1),
            requested: None,
            deleting: false,
            source: Meta::Present(object("1")),
            target: Meta::Present(object("1")),
            link: Some("ready".into()),
            claimed: false,
        };
        let written = Meta::Present(object("2"));
        let edits: [(&str, Edit); 7] = [
            ("generation", |now| now.generation = Some(2)),
            ("requested", |now| now.requested = Some("now".into())),
            ("deleting", |now| now.deleting = true),
            ("source", |now| now.source = Meta::Absent),
            ("target", |now| now.target = Meta::Absent),
            ("link", |now| now.link = None),
            ("claimed", |now| now.claimed = true),
        ];
        assert!(then.same_but_for_own_write(&then, None));
        for (what, edit) in edits {
            let mut now = then.clone();
            edit(&mut now);
            assert!(!then.same_but_for_own_write(&now, Some(&object("2"))), "{what}");
        }
        let now = Stimulus { target: written.clone(), ..then.clone() };
        assert!(then.same_but_for_own_write(&now, Some(&object("2"))));
        assert!(!then.same_but_for_own_write(&now, Some(&object("3"))));
        assert!(!then.same_but_for_own_write(&now, None));
        let also = Stimulus { deleting: true, target: written, ..then.clone() };
        assert!(!then.same_but_for_own_write(&also, Some(&object("2"))));
    }
}
