//! Events: what must be said, how long it may be, and that what was said stays. The words name fields as the core's Events
//! do, as the apiserver's own words do.

use serde_json::Value;

use crate::object;
use crate::refusal::Cause;

const LONGEST_NOTE: usize = 1024;
const LONGEST: usize = 128;

/// What is wrong with an Event.
pub(super) fn complaints(event: &Value) -> Vec<Cause> {
    let text = |field: &str| object::text(event, &[field]).unwrap_or_default();
    let mut causes = Vec::new();
    let regarding = object::text(event, &["regarding", "namespace"]).unwrap_or_default();
    // An object of the cluster is told of in the namespace `default`. Others are not looked at where they name one.
    let namespace = object::namespace(event);
    if regarding.is_empty() && namespace != "default" && namespace != "kube-system" {
        causes.push(Cause::invalid("involvedObject.namespace", &"".into(), "does not match event.namespace"));
    }
    if text("eventTime").is_empty() {
        causes.push(Cause::required("eventTime", ""));
        let kind = text("type");
        if !matches!(kind, "Normal" | "Warning") {
            causes.push(Cause::invalid("type", &"".into(), &format!("has invalid value: {kind}")));
        }
        return causes;
    }
    if text("reportingController").is_empty() {
        causes.push(Cause::required("reportingController", ""));
    }
    for (field, longest) in [("reportingInstance", LONGEST), ("action", LONGEST), ("reason", LONGEST)] {
        if text(field).is_empty() {
            causes.push(Cause::required(field, ""));
        } else if text(field).len() > longest {
            causes.push(Cause::invalid(field, &"".into(), &format!("can have at most {longest} characters")));
        }
    }
    if text("note").len() > LONGEST_NOTE {
        causes.push(Cause::invalid("message", &"".into(), &format!("can have at most {LONGEST_NOTE} characters")));
    }
    if !matches!(text("type"), "Normal" | "Warning") {
        causes.push(Cause::invalid("type", &"".into(), &format!("has invalid value: {}", text("type"))));
    }
    if let Some(series) = object::at(event, &["series"]) {
        if series["count"].as_i64().unwrap_or_default() < 2 {
            causes.push(Cause::invalid("series.count", &"".into(), "should be at least 2"));
        }
        if object::text(series, &["lastObservedTime"]).is_none_or(str::is_empty) {
            causes.push(Cause::required("series.lastObservedTime", ""));
        }
    }
    causes
}

/// What is wrong with a change of an Event: all but its series stays.
pub(super) fn changed_complaints(existing: &Value, new: &Value) -> Vec<Cause> {
    let fixed = [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    let changed = fixed.into_iter().filter(|(field, _)| existing.get(field) != new.get(field));
    changed.map(|(field, named)| Cause::invalid(named, &new[field], "field is immutable")).collect()
}
