//! What a look at the remote's lists says of a resource: does what is listed differ from what its status says?
//!
//! Such a look only wakes. What follows reads live and decides by the other rules, so a list that lags, or was cut while it
//! moved, costs a read and never more.

use crate::api::v1alpha1::SecretVersion;

use super::observed::Version;
use super::{follow, twins};

/// In what a list differs from a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// In nothing that concerns the resource.
    Not,
    /// In versions beside the resource's own, which may stay: worth one look.
    Beside,
    /// In what the resource serves. Should it go on to differ, then the list is wrong, and no substitute for a look.
    Itself,
}

impl Moved {
    /// Whether a resource is woken. `known`: it was woken for this very state of the remote before. `due`: by its own interval it
    /// would be refreshed by now.
    pub fn wakes(self, known: bool, due: bool) -> bool {
        match self {
            Self::Not => false,
            Self::Beside => !known,
            Self::Itself => !known || due,
        }
    }
}

/// Whether a resource should be looked at, now that its secret's versions are listed so.
pub fn moved(cr: &SecretVersion, listed: &[Version]) -> Moved {
    // What was never looked at waits for that already.
    let Some(status) = &cr.status else { return Moved::Not };
    let as_recorded = |v: &Version| {
        status.version_id.as_deref() == Some(v.id.as_str())
            && status.state == Some(v.state)
            && status.updated_at.as_deref() == Some(v.updated_at.as_str())
    };
    if cr.spec.value_from.is_some() {
        let beside = twins::unrecorded(status, listed).next().is_some();
        let Some(id) = &status.version_id else {
            // A create is under way, and keeps its own times. One that was given up has none, and its outcome may still come.
            return if status.create.is_some() && beside { Moved::Beside } else { Moved::Not };
        };
        let current = listed.iter().find(|v| v.id == *id);
        return match (current.is_some_and(as_recorded), beside) {
            (false, _) => Moved::Itself,
            (true, true) => Moved::Beside,
            (true, false) => Moved::Not,
        };
    }
    let differs = match cr.spec.version_ref.as_ref().and_then(|wanted| follow::chosen(wanted, listed)) {
        Some(version) => !as_recorded(version),
        None => status.version_id.is_some(),
    };
    if differs { Moved::Itself } else { Moved::Not }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Moved::{Beside, Itself, Not};
    use super::*;
    use crate::api::v1alpha1::VersionState;
    use crate::domain::observed::Sight;

    fn version(number: i64, state: VersionState, updated_at: &str) -> Version {
        Version {
            id: format!("v{number}"),
            number,
            state,
            created_at: format!("2026-01-0{number}T00:00:00Z"),
            updated_at: updated_at.into(),
            digest: None,
            is_source: Sight::Unknown,
            is_intent: Sight::Unknown,
            is_earlier: Sight::Unknown,
        }
    }

    fn active(number: i64) -> Version {
        version(number, VersionState::Active, "t")
    }

    fn inactive(number: i64) -> Version {
        version(number, VersionState::Inactive, "t")
    }

    fn resource(spec: &serde_json::Value, status: &serde_json::Value) -> SecretVersion {
        let json = json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "metadata": {"name": "a"},
            "spec": {"connectionRef": {"kind": "AbejaConnection", "name": "c"}, "remoteRef": {"secretId": "1"}},
            "status": status,
        });
        let mut cr: SecretVersion = serde_json::from_value(json).unwrap();
        match spec.get("versionRef") {
            Some(wanted) => cr.spec.version_ref = serde_json::from_value(wanted.clone()).unwrap(),
            None => cr.spec.value_from = serde_json::from_value(spec["valueFrom"].clone()).unwrap(),
        }
        cr
    }

    #[test]
    fn who_differs_is_woken_once_for_each_state_and_where_the_list_is_wrong_as_often_as_alone() {
        for (moved, known, due, expected) in [
            (Not, false, true, false),
            (Beside, false, false, true),
            (Beside, true, true, false),
            (Itself, false, false, true),
            (Itself, true, false, false),
            (Itself, true, true, true),
        ] {
            assert_eq!(moved.wakes(known, due), expected, "{moved:?}, {known}, {due}");
        }
    }

    fn serves(number: i64) -> serde_json::Value {
        json!({"versionId": format!("v{number}"), "version": number, "state": "Active", "updatedAt": "t"})
    }

    #[test]
    fn an_observed_resource_is_woken_when_what_it_refers_to_is_not_what_it_serves() {
        let latest = json!({"latest": "Active"});
        let table = [
            ("as it was", &latest, vec![active(1), active(2)], Not),
            ("a new one", &latest, vec![active(2), active(3)], Itself),
            ("a new one that is not active", &latest, vec![active(2), inactive(3)], Not),
            ("switched off", &latest, vec![active(1), inactive(2)], Itself),
            ("written again", &latest, vec![version(2, VersionState::Active, "u")], Itself),
            ("gone", &latest, vec![], Itself),
            ("by number, and another one came", &json!({"number": 2}), vec![active(2), active(3)], Not),
            ("by number, and switched off", &json!({"number": 2}), vec![inactive(2)], Itself),
            ("by id, and another one came", &json!({"id": "v2"}), vec![active(2), active(3)], Not),
            ("by id, and gone", &json!({"id": "v2"}), vec![active(3)], Itself),
        ];
        for (case, wanted, listed, expected) in table {
            let cr = resource(&json!({ "versionRef": wanted }), &serves(2));
            assert_eq!(moved(&cr, &listed), expected, "{case}");
        }
        let waiting = resource(&json!({ "versionRef": latest }), &json!({}));
        assert_eq!(moved(&waiting, &[inactive(1)]), Not, "nothing is active yet, as is said already");
        assert_eq!(moved(&waiting, &[active(1)]), Itself);
    }

    #[test]
    fn a_managed_resource_is_woken_when_its_version_moved_or_one_came_that_it_did_not_make() {
        let source = json!({"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
        let record = |number: i64| {
            json!({"versionId": format!("v{number}"), "version": number, "origin": "Created", "digest": "d", "uid": "u",
                   "place": "p"})
        };
        let mut status = serves(2);
        status["history"] = json!([record(1), record(2)]);
        let table = [
            ("as it was", vec![active(1), active(2)], Not),
            ("one of long ago is gone", vec![active(2)], Not),
            ("switched off", vec![active(1), inactive(2)], Itself),
            ("gone", vec![active(1)], Itself),
            ("somebody made another", vec![active(2), active(3)], Beside),
            ("somebody made another, and this one is gone", vec![active(3)], Itself),
            ("somebody made one before", vec![version(0, VersionState::Active, "t"), active(2)], Not),
        ];
        for (case, listed, expected) in table {
            assert_eq!(moved(&resource(&source, &status), &listed), expected, "{case}");
        }
        let intent = json!({
            "schema": 1, "id": "i", "uid": "u", "place": "p", "digest": "d", "attempts": 1, "timeoutSeconds": 30,
            "startedAt": "2026-01-01T00:00:00Z", "baseline": {"version": 0},
        });
        status["create"] = intent.clone();
        status["history"] = json!([record(2)]);
        let twin = [active(1), active(2)];
        assert_eq!(moved(&resource(&source, &status), &twin), Beside, "it may be a late outcome of a create");
        let creating = resource(&source, &json!({ "create": intent }));
        assert_eq!(moved(&creating, &twin), Beside, "it may be its outcome");
        assert_eq!(moved(&creating, &[]), Not);
        assert_eq!(moved(&resource(&source, &json!({})), &twin), Not, "nothing was sent");
    }
}
