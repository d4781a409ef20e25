//! Create, update, delete: what is stored, and what is refused.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::fields::{self, Ownership};
use crate::http::Request;
use crate::kinds::Kind;
use crate::meta;
use crate::object::{self, fields as map_of, meta_mut, set};
use crate::refusal::{Cause, Refusal};
use crate::store::{Key, World};
use crate::strategy;

const WRONG_NAMESPACE: &str = "the namespace of the provided object does not match the namespace sent on the request";

/// A request, and the kind that it names.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request,
    pub(crate) index: usize,
    pub(crate) kind: Arc<Kind>,
}

impl Call<'_> {
    pub(crate) fn ownership(&self, world: &World) -> Ownership<'_> {
        Ownership { manager: self.request.manager(), subresource: &self.request.subresource, now: world.timestamp() }
    }

    pub(crate) fn key(&self) -> Key {
        Key::new(self.index, &self.request.namespace, &self.request.name)
    }

    pub(crate) fn existing(&self, world: &World) -> Result<Arc<Value>, Refusal> {
        world.get(&self.key()).cloned().ok_or_else(|| Refusal::not_found(&self.kind, &self.request.name))
    }
}

/// How an update came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The client sent the whole object: its UID is a precondition.
    Replaced,
    /// The server made the object from a patch.
    Patched,
    /// The server made the object from an apply, and noted who owns what.
    Applied,
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Written {
    Created(Arc<Value>),
    Updated(Arc<Value>),
    /// A delete after which nothing is left.
    Gone(Arc<Value>),
}

/// Stores a new object.
pub(crate) fn create(world: &mut World, call: &Call<'_>, body: Value, how: How) -> Result<Written, Refusal> {
    let Call { request, kind, .. } = call;
    let mut new = strategy::decode(kind, body)?;
    match object::namespace(&new) {
        "" => {}
        other if other == request.namespace => {}
        _ => return Err(Refusal::bad_request(WRONG_NAMESPACE)),
    }
    let named = object::name(&new).to_owned();
    if kind.namespaced {
        match world.is_terminating(&request.namespace) {
            Some(false) => {}
            Some(true) => return Err(Refusal::terminating(kind, &named, &request.namespace)),
            None => return Err(no_namespace(world, &request.namespace)),
        }
    }
    let versioned = object::meta(&new, "resourceVersion").is_some();
    if kind.has_status {
        map_of(&mut new).remove("status");
    }
    meta::begin(world, kind, &request.namespace, &mut new);
    strategy::set_defaults(kind, &mut new);
    if how != How::Applied {
        meta_mut(&mut new).remove("managedFields");
        fields::note_update(kind, &Value::Null, &mut new, &call.ownership(world));
    }
    strategy::complete(kind, &mut new);
    let mut causes = meta::complaints(kind, &new);
    causes.extend(strategy::complaints(kind, &new, &request.subresource));
    Refusal::invalid(kind, object::name(&new), &causes)?;
    if versioned {
        return Err(Refusal::unreasoned(500, "resourceVersion should not be set on objects to be created"));
    }
    let key = Key::new(call.index, &request.namespace, object::name(&new));
    if world.get(&key).is_some() {
        return Err(Refusal::already_exists(kind, object::name(&new)));
    }
    let without_defaults = kind.custom && kind.has_status && new.get("status").is_some();
    let created = world.put(key.clone(), new);
    if without_defaults {
        world.note_without_defaults(key);
    }
    Ok(Written::Created(created))
}

fn no_namespace(world: &World, name: &str) -> Refusal {
    match world.kinds.named("namespaces") {
        Some((_, namespaces)) => Refusal::not_found(&namespaces, name),
        None => Refusal::internal("there are no namespaces"),
    }
}

/// Replaces an object by the one that the client sent.
pub(crate) fn replace(world: &mut World, call: &Call<'_>, body: Value) -> Result<Written, Refusal> {
    let new = strategy::decode(&call.kind, body)?;
    is_the_one_named(call, &new)?;
    let Some(existing) = world.get(&call.key()).cloned() else {
        if call.kind.is_created_by_update() {
            return create(world, call, new, How::Replaced);
        }
        return Err(Refusal::not_found(&call.kind, &call.request.name));
    };
    update(world, call, &existing, new, How::Replaced)
}

/// Refuses an object that is not the one in the URL.
pub(crate) fn is_the_one_named(call: &Call<'_>, new: &Value) -> Result<(), Refusal> {
    let (name, wanted) = (object::name(new), &call.request.name);
    if name != wanted {
        let message = if name.is_empty() {
            format!("name must be provided: the name of the object is required (must be {wanted})")
        } else {
            format!("the name of the object ({name}) does not match the name on the URL ({wanted})")
        };
        return Err(Refusal::bad_request(message));
    }
    match object::namespace(new) {
        "" => Ok(()),
        namespace if namespace == call.request.namespace => Ok(()),
        _ => Err(Refusal::bad_request(WRONG_NAMESPACE)),
    }
}

/// Stores a changed object, as far as the client may change it.
pub(crate) fn update(
    world: &mut World,
    call: &Call<'_>,
    existing: &Arc<Value>,
    mut new: Value,
    how: How,
) -> Result<Written, Refusal> {
    let (kind, name) = (&call.kind, &call.request.name);
    let uid = object::meta(existing, "uid").unwrap_or_default();
    if how == How::Replaced
        && let Some(wanted) = object::meta(&new, "uid").filter(|wanted| *wanted != uid)
    {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}",
            storage_key(call)
        );
        return Err(Refusal::conflict(kind, name, &why));
    }
    let current = object::meta(existing, "resourceVersion");
    match object::meta(&new, "resourceVersion") {
        None if kind.takes_unconditional_updates() => {}
        None => {
            let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
            return Err(Refusal::unversioned(kind, name, &cause));
        }
        version if version == current => {}
        Some(_) => return Err(Refusal::stale(kind, name)),
    }

    keep_the_other_part(call, existing, &mut new);
    meta::carry(existing, &mut new);
    strategy::set_defaults(kind, &mut new);
    if how != How::Applied {
        fields::note_update(kind, existing, &mut new, &call.ownership(world));
    }
    strategy::complete(kind, &mut new);
    let mut causes = meta::changed_complaints(kind, existing, &new);
    causes.extend(strategy::complaints(kind, &new, &call.request.subresource));
    causes.extend(strategy::changed_complaints(kind, existing, &new));
    Refusal::invalid(kind, name, &causes)?;
    meta_mut(&mut new).insert("resourceVersion".to_owned(), current.unwrap_or_default().into());

    if kind.custom && differs_beside_metadata_and_status(existing, &new) {
        let generation = existing["metadata"]["generation"].as_i64().unwrap_or(1);
        meta_mut(&mut new).insert("generation".to_owned(), (generation + 1).into());
    }
    if new == **existing && !world.is_without_defaults(&call.key()) {
        return Ok(Written::Updated(existing.clone()));
    }
    if object::is_deleting(&new) && object::finalizers(&new).is_empty() && !kind.is("namespaces") {
        world.remove(&call.key());
        return Ok(Written::Updated(Arc::new(new)));
    }
    Ok(Written::Updated(world.put(call.key(), new)))
}

fn storage_key(call: &Call<'_>) -> String {
    let Call { kind, request, .. } = call;
    let group = if kind.group.is_empty() || kind.group == "coordination.k8s.io" || kind.group == "events.k8s.io" {
        String::new()
    } else {
        format!("{}/", kind.group)
    };
    format!("/registry/{group}{}/{}/{}", kind.plural, request.namespace, request.name)
}

/// A write of status changes status alone, and a write of the rest leaves it.
fn keep_the_other_part(call: &Call<'_>, existing: &Value, new: &mut Value) {
    if !call.kind.has_status {
        return;
    }
    if call.request.subresource == "status" {
        let status = new.get("status").cloned();
        let mut kept = existing.clone();
        set(map_of(&mut kept), "status", status);
        let owned = new["metadata"].get("managedFields").cloned();
        if call.kind.custom {
            set(meta_mut(&mut kept), "managedFields", owned);
        } else {
            kept["metadata"] = new["metadata"].clone();
        }
        *new = kept;
    } else {
        set(map_of(new), "status", existing.get("status").cloned());
    }
}

fn differs_beside_metadata_and_status(one: &Value, other: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        let map = map_of(&mut object);
        map.remove("metadata");
        map.remove("status");
        object
    };
    rest(one) != rest(other)
}

/// Deletes an object, or marks it where finalizers hold it.
pub(crate) fn delete(world: &mut World, call: &Call<'_>, options: &Value) -> Result<Written, Refusal> {
    let existing = call.existing(world)?;
    preconditions(call, &existing, &options["preconditions"])?;
    let policy = options["propagationPolicy"].as_str().or(call.request.parameter("propagationPolicy"));
    let mut new = (*existing).clone();
    let held_by_dependents = match policy {
        Some("Foreground") => Some("foregroundDeletion"),
        Some("Orphan") => Some("orphan"),
        _ => None,
    };
    if let Some(finalizer) = held_by_dependents
        && !object::is_deleting(&existing)
        && !object::finalizers(&existing).contains(&finalizer)
    {
        let mut all: Vec<Value> = object::finalizers(&existing).into_iter().map(Value::from).collect();
        all.push(finalizer.into());
        meta_mut(&mut new).insert("finalizers".to_owned(), all.into());
    }
    let held = !object::finalizers(&new).is_empty() || strategy::is_held(&call.kind, &new);
    if !held {
        world.remove(&call.key());
        return Ok(Written::Gone(existing));
    }
    if !object::is_deleting(&existing) {
        let now = world.timestamp();
        let meta = meta_mut(&mut new);
        meta.insert("deletionTimestamp".to_owned(), now);
        if !call.kind.is("namespaces") {
            meta.insert("deletionGracePeriodSeconds".to_owned(), 0.into());
        }
        if let Some(generation) = meta.get("generation").and_then(Value::as_i64) {
            meta.insert("generation".to_owned(), (generation + 1).into());
        }
        strategy::mark_deleting(&call.kind, &mut new);
    }
    if new == *existing {
        return Ok(Written::Updated(existing));
    }
    Ok(Written::Updated(world.put(call.key(), new)))
}

fn preconditions(call: &Call<'_>, existing: &Value, wanted: &Value) -> Result<(), Refusal> {
    let differs = |field: &str| {
        let (wanted, is) = (wanted[field].as_str()?, object::meta(existing, field).unwrap_or_default());
        (wanted != is).then(|| (wanted.to_owned(), is.to_owned()))
    };
    let why = if let Some((wanted, is)) = differs("uid") {
        format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({is}). \
             The object might have been deleted and then recreated"
        )
    } else if let Some((wanted, is)) = differs("resourceVersion") {
        format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({is}). \
             The object might have been modified"
        )
    } else {
        return Ok(());
    };
    Err(Refusal::broken_precondition(&call.kind, &call.request.name, &why))
}
