//! Who owns a place: one managed resource at a time, so that claims, siblings and wars over state cannot happen.

use jiff::Timestamp;

/// A managed resource's claim on a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// UID of the resource.
    pub uid: String,
    /// Namespace and name, for people.
    pub name: String,
    /// When the resource was created.
    pub created: Option<Timestamp>,
    /// Whether it has an open intent there, as the cache or this process itself knows.
    pub has_intent: bool,
    /// Whether it has a record there.
    pub has_record: bool,
}

/// The owner: the one with an open intent; else one with a record; else any; among several, the oldest, then the
/// lowest UID.
pub fn owner(claims: &[Claim]) -> Option<&Claim> {
    claims.iter().min_by_key(|c| (!c.has_intent, !c.has_record, c.created, c.uid.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(uid: &str, created: i64, has_intent: bool, has_record: bool) -> Claim {
        let created = Timestamp::from_second(created).ok();
        Claim { uid: uid.into(), name: uid.into(), created, has_intent, has_record }
    }

    #[test]
    fn intent_before_record_before_age_before_uid() {
        for (claims, expected) in [
            (vec![claim("a", 1, false, true), claim("b", 2, true, false)], "b"),
            (vec![claim("a", 1, false, false), claim("b", 2, false, true)], "b"),
            (vec![claim("b", 1, false, false), claim("a", 2, false, false)], "b"),
            (vec![claim("b", 1, false, false), claim("a", 1, false, false)], "a"),
        ] {
            assert_eq!(owner(&claims).map(|c| c.uid.as_str()), Some(expected));
            let reversed: Vec<_> = claims.into_iter().rev().collect();
            assert_eq!(owner(&reversed).map(|c| c.uid.as_str()), Some(expected));
        }
        assert_eq!(owner(&[]), None);
    }
}
