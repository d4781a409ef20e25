//! Who goes first, where several resources wait for their turn.

use crate::api::v1alpha1::SecretVersion;

use super::decide::is_forced;

/// A lane of the queue, the first to go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Somebody waits: a resource that is being deleted, or was asked to sync.
    Urgent,
    /// A spec or a source that changed, or a version that is yet to be created.
    Changed,
    /// A resource that has never shown a version.
    First,
    /// All others: refreshes, retries, echoes.
    Refresh,
}

impl Lane {
    /// Every lane, in order.
    pub const ALL: [Self; 4] = [Self::Urgent, Self::Changed, Self::First, Self::Refresh];

    /// The lane of a resource by what it says itself.
    pub fn of(cr: &SecretVersion) -> Self {
        let status = cr.status.as_ref();
        if cr.metadata.deletion_timestamp.is_some() || is_forced(cr) {
            return Self::Urgent;
        }
        let served = status.is_some_and(|s| s.version_id.is_some());
        let seen = status.is_some_and(|s| s.observed_generation == cr.metadata.generation);
        match (served, cr.spec.value_from.is_some()) {
            (true, _) if seen => Self::Refresh,
            (true, _) | (false, true) => Self::Changed,
            (false, false) => Self::First,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::RECONCILE_REQUESTED_AT;
    use crate::api::v1alpha1::{SecretVersionStatus, ValueFrom};

    #[test]
    fn who_waits_goes_before_what_changed_and_what_is_new_before_what_is_known() {
        let mut cr = SecretVersion::default();
        cr.metadata.generation = Some(2);
        assert_eq!(Lane::of(&cr), Lane::First);
        cr.spec.value_from = Some(ValueFrom::default());
        assert_eq!(Lane::of(&cr), Lane::Changed, "a version is to be created");
        let status = |generation| SecretVersionStatus {
            version_id: Some("v".into()),
            observed_generation: Some(generation),
            last_handled_reconcile_at: Some("1".into()),
            ..SecretVersionStatus::default()
        };
        cr.status = Some(status(1));
        assert_eq!(Lane::of(&cr), Lane::Changed, "the spec changed");
        cr.status = Some(status(2));
        assert_eq!(Lane::of(&cr), Lane::Refresh);
        let ask = |at: &str| Some([(RECONCILE_REQUESTED_AT.to_owned(), at.to_owned())].into());
        cr.metadata.annotations = ask("2");
        assert_eq!(Lane::of(&cr), Lane::Urgent, "a sync is asked for");
        cr.metadata.annotations = ask("1");
        assert_eq!(Lane::of(&cr), Lane::Refresh, "it was asked for before");
        cr.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(Lane::of(&cr), Lane::Urgent, "it is being deleted");
    }
}
