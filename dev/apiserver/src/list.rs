//! Lists, in pages of one snapshot.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::http::shown;
use crate::object;
use crate::refusal::{Cause, Refusal};
use crate::select::Selection;
use crate::store::{Key, World};
use crate::write::Call;

/// Where a next page begins, and of which revision.
struct Continue {
    revision: u64,
    after: String,
}

impl Continue {
    fn token(&self) -> String {
        BASE64_URL_SAFE_NO_PAD
            .encode(json!({"v": "meta.k8s.io/v1", "rv": self.revision, "start": self.after}).to_string())
    }

    fn parse(token: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::bad_request("invalid continue token: continue key is not valid");
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        let (revision, after) = (value["rv"].as_u64(), value["start"].as_str());
        Ok(Self { revision: revision.ok_or_else(wrong)?, after: after.ok_or_else(wrong)?.to_owned() })
    }
}

/// One page of a list.
pub(crate) fn list(world: &World, call: &Call<'_>) -> Result<Value, Refusal> {
    let request = call.request;
    let selection = Selection::of(&call.kind, request)?;
    let limit = request.parameter("limit").and_then(|limit| limit.parse::<usize>().ok()).filter(|limit| *limit > 0);
    let version = request.parameter("resourceVersion");
    let exact = request.parameter("resourceVersionMatch").map(|wanted| wanted == "Exact");
    if exact.is_some() && version.is_none() {
        let cause = Cause::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        );
        return Err(Refusal::bad_options("ListOptions", &cause));
    }
    let next = request.parameter("continue").map(Continue::parse).transpose()?;
    let wanted = version.map(revision).transpose()?.unwrap_or_default();
    if wanted > world.revision {
        return Err(Refusal::too_large_version(wanted, world.revision));
    }
    let at = match &next {
        Some(next) => next.revision,
        None if exact == Some(true) => wanted,
        None => world.revision,
    };
    if at < world.compacted {
        let message = if next.is_some() {
            "The provided continue parameter is too old to display a consistent list result. \
             You must start a new list without the continue parameter."
        } else {
            "The resourceVersion for the provided list is too old."
        };
        return Err(Refusal::expired(message));
    }
    let all: Vec<(Key, Arc<Value>)> = if at == world.revision {
        world.of_kind(call.index).map(|(key, object)| (key.clone(), object.clone())).collect()
    } else {
        world.at_revision(call.index, at).into_iter().collect()
    };
    let mut found: Vec<(Key, Arc<Value>)> = all
        .into_iter()
        .filter(|(key, object)| next.as_ref().is_none_or(|next| key.path > next.after) && selection.matches(object))
        .collect();
    // A list of any version comes from a cache, which knows no pages.
    let limit = limit.filter(|_| version != Some("0"));
    let left = found.len().saturating_sub(limit.unwrap_or(usize::MAX));
    found.truncate(limit.unwrap_or(usize::MAX));

    let mut metadata = json!({"resourceVersion": at.to_string()});
    if let Some((last, _)) = found.last().filter(|_| left > 0) {
        metadata["continue"] = Continue { revision: at, after: last.path.clone() }.token().into();
        if !selection.is_narrowed() {
            metadata["remainingItemCount"] = left.into();
        }
    }
    let items: Vec<Value> = found.iter().map(|(_, object)| item(call, object)).collect();
    let (kind, version) = if request.metadata_only {
        ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned())
    } else {
        (format!("{}List", call.kind.name), call.kind.api_version())
    };
    Ok(json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}))
}

/// An item of a list. Lists of Kubernetes' own kinds name the kind once, for all.
fn item(call: &Call<'_>, object: &Value) -> Value {
    let mut item = shown(object, call.request.metadata_only);
    if !call.kind.custom && !call.request.metadata_only {
        object::fields(&mut item).remove("kind");
        object::fields(&mut item).remove("apiVersion");
    }
    item
}

/// A resource version as the number that it is.
pub(crate) fn revision(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| {
        let why = format!("Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax");
        Refusal::bad_request(format!("invalid resource version: resourceVersion: {why}"))
    })
}
