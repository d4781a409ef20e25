//! Leases: numbers and times.

use serde_json::Value;

use crate::kinds::Kind;
use crate::object;
use crate::refusal::{Cause, Refusal};

/// Refuses times that do not have six digits after the second.
pub(super) fn readable_times(kind: &Kind, lease: &Value) -> Result<(), Refusal> {
    for field in ["acquireTime", "renewTime"] {
        if let Some(time) = object::text(lease, &["spec", field]).filter(|time| !is_micro_time(time)) {
            let (name, version) = (&kind.name, &kind.version);
            return Err(Refusal::bad_request(format!(
                "{name} in version \"{version}\" cannot be handled as a {name}: parsing time \"{time}\" as \
                 \"2006-01-02T15:04:05.000000Z07:00\""
            )));
        }
    }
    Ok(())
}

/// Whether a time is written with microseconds, as `MicroTime` is.
pub(super) fn is_micro_time(text: &str) -> bool {
    let digits = text.split_once('.').map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).count());
    digits == Some(6) && text.parse::<jiff::Timestamp>().is_ok()
}

/// What is wrong with a Lease.
pub(super) fn complaints(lease: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &lease["spec"];
    if spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) {
        let why = "must be greater than 0";
        causes.push(Cause::invalid("spec.leaseDurationSeconds", &spec["leaseDurationSeconds"], why));
    }
    if spec["leaseTransitions"].as_i64().is_some_and(|number| number < 0) {
        let why = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.leaseTransitions", &spec["leaseTransitions"], why));
    }
    causes
}
