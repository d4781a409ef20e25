//! What kind of failure an error is. Retry, condition, event and metric all follow from this and a reason.

use std::time::Duration;

/// The kind of a failure, answered by every error enum of the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// May heal by itself: try again with backoff.
    Transient,
    /// The other side asked for patience: try again after this long at the earliest.
    Throttled(Duration),
    /// The credential is not accepted, or may not do this.
    Denied,
    /// What was asked for can never work as it is: a person must edit something.
    Invalid,
    /// Somebody else wrote first: look again and decide anew.
    Conflict,
    /// A promise of ours or of a library was broken.
    Bug,
}

impl Class {
    /// The name of the class as a metric label: one of a closed set.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled(_) => "throttled",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Bug => "bug",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_a_closed_set() {
        let throttled = Class::Throttled(Duration::from_secs(1));
        let all = [Class::Transient, throttled, Class::Denied, Class::Invalid, Class::Conflict, Class::Bug];
        let labels = ["transient", "throttled", "denied", "invalid", "conflict", "bug"];
        assert_eq!(all.map(Class::as_str), labels);
    }
}
