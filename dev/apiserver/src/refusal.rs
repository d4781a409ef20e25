//! Answers that say no, as the apiserver words them.

use serde_json::{Value, json};

use crate::kinds::Kind;

/// A `Status` that is a failure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

/// One complaint about one field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cause {
    pub(crate) reason: &'static str,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Cause {
    fn new(reason: &'static str, field: impl Into<String>, message: String) -> Self {
        Self { reason, field: field.into(), message }
    }

    pub(crate) fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") };
        Self::new("FieldValueRequired", field, message)
    }

    pub(crate) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {value}: {why}"))
    }

    pub(crate) fn wrong_type(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self::new("FieldValueTypeInvalid", field, format!("Invalid value: {value}: {why}"))
    }

    pub(crate) fn unsupported(field: impl Into<String>, value: &Value, supported: &[Value]) -> Self {
        let list: Vec<String> = supported.iter().map(Value::to_string).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", list.join(", "));
        Self::new("FieldValueNotSupported", field, message)
    }

    pub(crate) fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {why}"))
    }

    pub(crate) fn too_long(field: impl Into<String>, limit: u64) -> Self {
        Self::new("FieldValueTooLong", field, format!("Too long: may not be more than {limit} bytes"))
    }

    pub(crate) fn too_many(field: impl Into<String>, number: usize, limit: u64) -> Self {
        Self::new("FieldValueTooMany", field, format!("Too many: {number}: must have at most {limit} items"))
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", field, format!("Duplicate value: {value}"))
    }

    /// The same of a field that is itself within one.
    pub(crate) fn within(self, field: &str) -> Self {
        Self { field: format!("{field}.{}", self.field), ..self }
    }

    fn json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }

    pub(crate) fn sentence(&self) -> String {
        format!("{}: {}", self.field, self.message)
    }
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: String) -> Self {
        Self { code, reason, message, details: None }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details = Some(details(&kind.group, &kind.plural, name));
        self
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.resource())).about(kind, name)
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.resource())).about(kind, name)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource());
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// A delete's precondition does not hold. The apiserver names the kind here, not the resource.
    pub(crate) fn broken_precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let named = qualified(kind);
        let message = format!("Operation cannot be fulfilled on {named} \"{name}\": {why}");
        Self::new(409, "Conflict", message).with_details(details(&kind.group, &kind.name, name))
    }

    /// An update without a resource version. The apiserver names the resource here, not the kind.
    pub(crate) fn unversioned(kind: &Kind, name: &str, cause: &Cause) -> Self {
        let message = format!("{} \"{name}\" is invalid: {}", kind.resource(), cause.sentence());
        let mut details = details(&kind.group, &kind.plural, name);
        details["causes"] = json!([cause.json()]);
        Self::new(422, "Invalid", message).with_details(details)
    }

    /// An object of another kind than the URL's.
    pub(crate) fn misnamed(kind: &Kind, given: &str, name: &str, cause: &Cause) -> Self {
        let message = format!("{given}.{} \"{name}\" is invalid: {}", kind.group, cause.sentence());
        let mut details = details(&kind.group, given, name);
        details["causes"] = json!([cause.json()]);
        Self::new(422, "Invalid", message).with_details(details)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// A patch whose outcome cannot be read as the kind that it should be. The apiserver quotes all of it, values of Secrets
    /// included.
    pub(crate) fn unreadable_patch(patched: &Value) -> Self {
        let cause = Cause::invalid("patch", &patched.to_string().into(), "it cannot be read");
        Self::new(422, "Invalid", format!(" \"\" is invalid: {}", cause.sentence()))
            .with_details(json!({"causes": [cause.json()]}))
    }

    /// What is applied is owned by others.
    pub(crate) fn apply_conflict(message: String) -> Self {
        Self::new(409, "Conflict", message)
    }

    /// A failure for which the apiserver has no reason.
    pub(crate) fn unreasoned(code: u16, message: &str) -> Self {
        Self::new(code, "", message.to_owned())
    }

    pub(crate) fn stale(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    pub(crate) fn terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let message = format!(
            "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
            kind.resource()
        );
        let mut refusal = Self::new(403, "Forbidden", message).about(kind, name);
        if let Some(details) = &mut refusal.details {
            details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        refusal
    }

    /// One refusal of everything that is wrong with an object; `Ok` where nothing is.
    pub(crate) fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Result<(), Self> {
        if causes.is_empty() {
            return Ok(());
        }
        let mut sentences: Vec<String> = causes.iter().map(Cause::sentence).collect();
        sentences.dedup();
        let all = if let [one] = sentences.as_slice() { one.clone() } else { format!("[{}]", sentences.join(", ")) };
        let shown = qualified(kind);
        let group = if kind.is("events") { "" } else { &kind.group };
        let mut details = details(group, &kind.name, name);
        details["causes"] = causes.iter().map(Cause::json).collect();
        let mut refusal = Self::new(422, "Invalid", format!("{shown} \"{name}\" is invalid: {all}"));
        refusal.details = Some(details);
        Err(refusal)
    }

    /// Something is wrong with the parameters of a request.
    pub(crate) fn bad_options(kind: &str, cause: &Cause) -> Self {
        let message = format!("{kind}.meta.k8s.io \"\" is invalid: {}", cause.sentence());
        let details = json!({"group": "meta.k8s.io", "kind": kind, "causes": [cause.json()]});
        Self::new(422, "Invalid", message).with_details(details)
    }

    /// A revision that is yet to come.
    pub(crate) fn too_large_version(wanted: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        Self::new(504, "Timeout", message).with_details(json!({"causes": [cause], "retryAfterSeconds": 1}))
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into())
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        let mut refusal = Self::new(500, "InternalError", format!("Internal error occurred: {message}"));
        refusal.details = Some(json!({"causes": [{"message": message}]}));
        refusal
    }

    /// The revision that was asked for is not kept any more.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message.into())
    }

    /// What this apiserver does not model. The real one would do something.
    pub(crate) fn not_modelled(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("the fake apiserver does not model {what}"))
    }

    /// A refusal that a fault asked for.
    pub(crate) fn of_fault(code: u16) -> Self {
        let (reason, message) = match code {
            401 => ("Unauthorized", "Unauthorized"),
            403 => ("Forbidden", "forbidden"),
            404 => ("NotFound", "the server could not find the requested resource"),
            409 => ("Conflict", "the object has been modified"),
            410 => ("Expired", "too old resource version"),
            422 => ("Invalid", "the server rejected our request due to an error in our request"),
            429 => ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
            500 => ("InternalError", "an error on the server has prevented the request from succeeding"),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => ("Timeout", "the server was unable to return a response in the time allotted"),
            _ => ("Unknown", "an error on the server has prevented the request from succeeding"),
        };
        Self::new(code, reason, message.to_owned())
    }

    /// Adds what there is to know beside the words.
    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// The body of the answer.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

/// A kind as messages name it. Of events, the apiserver forgets the group.
fn qualified(kind: &Kind) -> String {
    if kind.group.is_empty() || kind.is("events") { kind.name.clone() } else { format!("{}.{}", kind.name, kind.group) }
}

pub(crate) fn details(group: &str, kind: &str, name: &str) -> Value {
    let mut details = json!({"kind": kind});
    for (key, value) in [("group", group), ("name", name)] {
        if !value.is_empty() {
            details[key] = value.into();
        }
    }
    details
}
