//! From a patch to an object.

use serde_json::Value;

use crate::refusal::Refusal;
use crate::store::World;
use crate::strategy;
use crate::write::{Call, How, Written, is_the_one_named, update};

/// Changes an object by whatever kind of patch was sent.
pub(crate) fn patch(world: &mut World, call: &Call<'_>) -> Result<Written, Refusal> {
    let content_type = call.request.content_type.split(';').next().unwrap_or_default().trim();
    match content_type {
        "application/merge-patch+json" => {
            let existing = call.existing(world)?;
            let change = call.request.json()?;
            let mut new = (*existing).clone();
            json_patch::merge(&mut new, &change);
            changed(world, call, new)
        }
        "application/json-patch+json" => {
            let existing = call.existing(world)?;
            let change: json_patch::Patch = serde_json::from_value(call.request.json()?)
                .map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))?;
            let mut new = (*existing).clone();
            json_patch::patch(&mut new, &change)
                .map_err(|_| Refusal::of_fault(422).with_details(Value::Object(serde_json::Map::new())))?;
            changed(world, call, new)
        }
        other => Err(Refusal::not_modelled(&format!("patches of type {other}"))),
    }
}

fn changed(world: &mut World, call: &Call<'_>, new: Value) -> Result<Written, Refusal> {
    let existing = call.existing(world)?;
    let new = strategy::decode(&call.kind, new)?;
    is_the_one_named(call, &new)?;
    update(world, call, &existing, new, How::Patched)
}
