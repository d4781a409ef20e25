//! From a patch to an object.

use serde_json::Value;

use crate::fields;
use crate::object;
use crate::refusal::{Cause, Refusal};
use crate::store::World;
use crate::strategy;
use crate::write::{Call, How, Written, create, is_the_one_named, update};

/// Changes an object by whatever kind of patch was sent.
pub(crate) fn patch(world: &mut World, call: &Call<'_>) -> Result<Written, Refusal> {
    let content_type = call.request.content_type.split(';').next().unwrap_or_default().trim();
    match content_type {
        "application/merge-patch+json" => {
            let existing = call.existing(world)?;
            let change = call.request.json()?;
            let mut new = (*existing).clone();
            json_patch::merge(&mut new, &change);
            changed(world, call, &new)
        }
        "application/json-patch+json" => {
            let existing = call.existing(world)?;
            let change: json_patch::Patch = serde_json::from_value(call.request.json()?)
                .map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))?;
            let mut new = (*existing).clone();
            json_patch::patch(&mut new, &change)
                .map_err(|_| Refusal::of_fault(422).with_details(Value::Object(serde_json::Map::new())))?;
            changed(world, call, &new)
        }
        "application/apply-patch+yaml" => apply(world, call),
        other => Err(Refusal::not_modelled(&format!("patches of type {other}"))),
    }
}

/// Server-side apply: the client says what it wants to own, and what that should be.
fn apply(world: &mut World, call: &Call<'_>) -> Result<Written, Refusal> {
    if call.request.parameter("fieldManager").is_none() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(Refusal::bad_options("PatchOptions", &cause));
    }
    let text = String::from_utf8_lossy(&call.request.body);
    let wanted: Value = serde_json::from_str(&text)
        .or_else(|_| serde_saphyr::from_str(&text))
        .map_err(|error| Refusal::bad_request(format!("error decoding YAML: {error}")))?;
    if object::at(&wanted, &["metadata", "managedFields"]).is_some() {
        return Err(Refusal::bad_request("metadata.managedFields must be nil"));
    }
    let wanted = strategy::decode_as_sent(&call.kind, wanted)?;
    let force = call.request.parameter("force") == Some("true");
    let live = world.get(&call.key()).cloned();
    let Some(existing) = live else {
        let uid = object::meta(&wanted, "uid").map(str::to_owned);
        if let Some(uid) = uid {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(Refusal::conflict(&call.kind, &call.request.name, &why));
        }
        let new = fields::apply(&call.kind, &Value::Null, &wanted, &call.ownership(world), force)?;
        is_the_one_named(call, &new)?;
        return create(world, call, new, How::Applied);
    };
    let new = fields::apply(&call.kind, &existing, &wanted, &call.ownership(world), force)?;
    let new = strategy::decode(&call.kind, new)?;
    is_the_one_named(call, &new)?;
    update(world, call, &existing, new, How::Applied)
}

fn changed(world: &mut World, call: &Call<'_>, new: &Value) -> Result<Written, Refusal> {
    let existing = call.existing(world)?;
    let new = strategy::decode(&call.kind, new.clone()).map_err(|refusal| {
        let typed = refusal.code == 400 && !call.kind.custom;
        if typed { Refusal::unreadable_patch(new) } else { refusal }
    })?;
    is_the_one_named(call, &new)?;
    update(world, call, &existing, new, How::Patched)
}
