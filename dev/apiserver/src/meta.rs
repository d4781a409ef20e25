//! What the apiserver does to metadata, whatever the kind.

use serde_json::Value;

use crate::kinds::Kind;
use crate::object::{self, meta, meta_mut, set};
use crate::refusal::Cause;
use crate::store::World;

const NAME_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LONGEST_NAME: usize = 253;
const LONGEST_WORD: usize = 63;

/// What no client chooses at a create.
pub(crate) fn begin(world: &mut World, kind: &Kind, namespace: &str, object: &mut Value) {
    let (uid, now) = (world.fresh_uid(), world.timestamp());
    let prefix = meta(object, "generateName").map(str::to_owned);
    let generated = prefix.filter(|_| meta(object, "name").is_none()).map(|p| format!("{p}{}", world.fresh_suffix()));
    let fields = meta_mut(object);
    if let Some(name) = generated {
        fields.insert("name".to_owned(), name.into());
    }
    fields.insert("uid".to_owned(), uid.into());
    fields.insert("creationTimestamp".to_owned(), now);
    set(fields, "namespace", kind.namespaced.then(|| namespace.into()));
    set(fields, "generation", kind.custom.then(|| 1.into()));
    for absent in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        fields.remove(absent);
    }
}

/// What no client changes at an update. A UID is judged later.
pub(crate) fn carry(existing: &Value, new: &mut Value) {
    let old = &existing["metadata"];
    let fields = meta_mut(new);
    for kept in ["namespace", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        set(fields, kept, old.get(kept).cloned());
    }
    fields.remove("selfLink");
    if fields.get("uid").and_then(Value::as_str).unwrap_or_default().is_empty() {
        set(fields, "uid", old.get("uid").cloned());
    }
}

const LABEL_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const KEY_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const FINALIZER_RULE: &str = "name is neither a standard finalizer name nor is it fully qualified";

/// What is wrong with labels, annotations, finalizers, owners.
fn common_complaints(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["labels", "annotations"] {
        let at = format!("metadata.{field}");
        for (key, value) in object["metadata"][field].as_object().into_iter().flatten() {
            if !is_qualified(key) {
                causes.push(Cause::invalid(&at, &key.as_str().into(), KEY_RULE));
            }
            let text = value.as_str().unwrap_or_default();
            if field == "labels" && !(text.is_empty() || is_word(text)) {
                causes.push(Cause::invalid(&at, value, LABEL_RULE));
            }
        }
    }
    for (i, finalizer) in object::finalizers(object).into_iter().enumerate() {
        let standard = matches!(finalizer, "orphan" | "foregroundDeletion" | "kubernetes");
        let qualified = finalizer.contains('/') && is_qualified(finalizer);
        // Of custom resources, any is taken with a warning.
        if !(standard || qualified || kind.custom) {
            let at = format!("metadata.finalizers[{i}]");
            causes.push(Cause::invalid(at, &finalizer.into(), FINALIZER_RULE));
        }
    }
    causes.extend(owner_complaints(object));
    causes
}

/// What is wrong with the metadata of a new object.
pub(crate) fn complaints(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match meta(object, "name") {
        None => causes.push(Cause::required("metadata.name", "name or generateName is required")),
        Some(name) => {
            let value = Value::from(name);
            if name.len() > LONGEST_NAME {
                causes.push(Cause::invalid("metadata.name", &value, "must be no more than 253 bytes"));
            }
            if !is_subdomain(name) {
                causes.push(Cause::invalid("metadata.name", &value, NAME_RULE));
            }
        }
    }
    causes.extend(common_complaints(kind, object));
    causes
}

/// What is wrong with a change of metadata.
pub(crate) fn changed_complaints(kind: &Kind, existing: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for fixed in ["name", "namespace", "uid"] {
        let (was, is) = (&existing["metadata"][fixed], &new["metadata"][fixed]);
        if was != is {
            causes.push(Cause::invalid(format!("metadata.{fixed}"), is, "field is immutable"));
        }
    }
    if object::is_deleting(existing) {
        let had = object::finalizers(existing);
        let added: Vec<&str> = object::finalizers(new).into_iter().filter(|f| !had.contains(f)).collect();
        if !added.is_empty() {
            let listed: Vec<String> = added.iter().map(|finalizer| format!("{finalizer:?}")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                listed.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &why));
        }
    }
    causes.extend(common_complaints(kind, new));
    causes
}

fn owner_complaints(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let owners = object::at(object, &["metadata", "ownerReferences"]).and_then(Value::as_array);
    let mut controllers = 0;
    for (i, owner) in owners.into_iter().flatten().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if object::text(owner, &[field]).is_none_or(str::is_empty) {
                let at = format!("metadata.ownerReferences[{i}].{field}");
                causes.push(Cause::invalid(at, &owner[field], "must not be empty"));
            }
        }
        controllers += usize::from(owner["controller"] == true);
    }
    if controllers > 1 {
        let why = "Only one reference can have Controller set to true.";
        causes.push(Cause::invalid("metadata.ownerReferences", &object["metadata"]["ownerReferences"], why));
    }
    causes
}

/// A name, perhaps after the domain that it belongs to.
fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => is_subdomain(domain) && is_word(name),
        None => is_word(key),
    }
}

fn is_word(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= LONGEST_WORD
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_subdomain(name: &str) -> bool {
    let fits = |part: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        edge(part.chars().next())
            && edge(part.chars().last())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    name.split('.').all(fits)
}
