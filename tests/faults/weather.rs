//! Faults at random, at both sides: what a bad day is made of. Each is over by itself, or when the weather is cleared.

use anyhow::Result;
use fastrand::Rng;
use kit::proxy::{Action, Moment, Rule};
use serde_json::{Value, json};

use crate::world::World;

/// Requests of the operator to the apiserver, Leases apart: who cannot renew ends, which is a row of its own.
const REQUESTS: [(&str, &str); 9] = [
    ("patch", "secretversions"),
    ("patch", "secretversions/status"),
    ("get", "secretversions"),
    ("list", "secretversions"),
    ("get", "secrets"),
    ("list", "secrets"),
    ("create", "secrets"),
    ("patch", "secrets"),
    ("create", "events"),
];

/// Calls of the operator at the remote.
const CALLS: [&str; 4] = ["list_versions", "get_version", "update_version", "delete_version"];

/// One fault before the apiserver, for a request or two.
pub(crate) fn at_the_apiserver(world: &World<'_>, rng: &mut Rng) {
    let (verb, resource) = any(rng, &REQUESTS);
    let status = any(rng, &[409, 429, 500, 503, 504]);
    // Only these may be the answer to what took effect.
    let moment = if status >= 500 { any(rng, &[Moment::Before, Moment::After]) } else { Moment::Before };
    let action = match rng.u8(..6) {
        0 => Action::Drop(Moment::Before),
        1 | 2 => Action::Drop(Moment::After),
        3 => Action::Delay(std::time::Duration::from_millis(rng.u64(50..1500))),
        _ => Action::Answer { status, retry_after: (status == 429).then_some(1), moment },
    };
    let rule = Rule::on(verb, resource).nth(rng.usize(1..4)).times(rng.usize(1..3));
    // Nobody waits for it.
    drop(world.proxy.add(rule, action));
}

/// One fault at the remote, for the calls on one secret: a create half of the times.
pub(crate) async fn at_the_remote(world: &World<'_>, secret: &str, rng: &mut Rng) -> Result<()> {
    let create = rng.bool();
    let operation = if create { "create_version" } else { any(rng, &CALLS) };
    world.fault(operation, secret, Some(rng.u64(1..3)), &action(rng, create)).await?;
    Ok(())
}

/// What the remote may do to a call. No create is carried out later than the operator waits for it: that is a row of
/// its own.
fn action(rng: &mut Rng, create: bool) -> Value {
    let refusal = any(rng, &[401, 403, 404, 409, 429, 500, 502, 503, 504]);
    // Another code that tells of a commit would be a lie that no client can see through.
    let failure = any(rng, &[409, 500, 502, 503, 504]);
    let cut = any(rng, &["before_commit", "after_commit", "inside_headers", "inside_body"]);
    let side = any(rng, &["before_commit", "after_commit"]);
    let spoiled = any(rng, &["truncated_json", "invalid_json", "empty_body", "wrong_type"]);
    match rng.u8(..7) {
        0 | 1 => json!({ "status": { "code": refusal, "body": any(rng, &["json", "html"]) } }),
        2 if create => json!({ "status": { "code": failure, "committed": true } }),
        3 => json!({ "delay": { "at": side, "duration": "1500ms" } }),
        4 if create => json!({ "late_commit": { "after": "2s", "code": 504 } }),
        5 => json!({ "malformed": spoiled }),
        _ => json!({ "drop": { "at": cut, "reset": rng.bool() } }),
    }
}

fn any<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

/// Clears both sides.
pub(crate) async fn clear(world: &World<'_>) -> Result<()> {
    world.proxy.clear();
    world.simulator.clear_faults().await
}
