//! The target Secret: read, compared with what it should be, and written, without ever taking what is somebody else's.
//!
//! Created by POST, which fails where something exists; changed by a merge patch guarded by UID and resource version, so
//! that only our own fields move; merged by server-side apply, never forced. Why is in
//! `docs/adr/0004-target-writes.md`.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, Patch, PostParams};
use kube::{Resource, core::ObjectMeta};
use serde_json::{Map, Value, json};

use crate::api::ADOPT;
use crate::api::v1alpha1::{CreationPolicy, ObjectSeen, SecretVersion};
use crate::domain::observed::{Meta, Side, TargetSight};
use crate::domain::projection::TargetView;
use crate::domain::reason::Reason;
use crate::ops::events::EventKind;
use crate::remote::ServedValue;

use super::error::Error;
use super::look::seen;
use super::memory::lock;
use super::pass::Pass;
use super::patch::{self, FIELD_MANAGER};

type Data = BTreeMap<String, Vec<u8>>;

/// Looks at the target beside what the version's value makes of it.
pub(super) async fn look(pass: &mut Pass<'_>, version_id: &str) -> Result<(), Error> {
    let desired = match desired(pass, version_id) {
        Ok(desired) => desired,
        Err(sight) => {
            pass.observed.seen.target = Some((version_id.to_owned(), sight));
            return Ok(());
        }
    };
    let sight = match current(pass).await {
        Ok(None) => TargetSight::Absent,
        Ok(Some(secret)) => {
            let sight = judge(pass, &secret, &desired);
            pass.target = Some(secret.metadata);
            sight
        }
        Err(error) => {
            pass.observed.seen.trouble = Some(error.trouble(Side::Target));
            return Ok(());
        }
    };
    if let TargetSight::Matches(object) = &sight {
        lock(&pass.memory).target_checked = Some(object.clone());
        pass.remember();
    }
    pass.observed.seen.target = Some((version_id.to_owned(), sight));
    Ok(())
}

fn desired(pass: &Pass<'_>, version_id: &str) -> Result<Data, TargetSight> {
    let Some(ServedValue::Bytes(bytes)) = pass.values.get(version_id) else { return Err(TargetSight::NotServed) };
    TargetView::of(&pass.observed.cr).project(bytes.as_slice()).map_err(TargetSight::Unprojectable)
}

async fn current(pass: &Pass<'_>) -> Result<Option<Secret>, Error> {
    // A create fails where the cache is wrong, so its word is enough; but what was here before is looked for first, lest a
    // cache that lags cost a write in vain each time.
    let name = TargetView::of(&pass.observed.cr).name();
    let was_here = pass.last_target(&lock(&pass.memory)).is_some_and(|target| target.name == name);
    if pass.observed.target_meta == Meta::Absent && !pass.read_target && !was_here {
        return Ok(None);
    }
    api(pass).get_opt(name).await.map_err(|e| Error::kube("reading the target", e))
}

fn api(pass: &Pass<'_>) -> Api<Secret> {
    Api::namespaced(pass.ctx.client.clone(), pass.namespace())
}

fn judge(pass: &Pass<'_>, secret: &Secret, desired: &Data) -> TargetSight {
    let cr = &pass.observed.cr;
    let view = TargetView::of(cr);
    let object = seen(secret);
    if view.policy() != CreationPolicy::Merge {
        if secret.metadata.deletion_timestamp.is_some() {
            return TargetSight::Leftover;
        }
        if !is_owned(secret, cr) && !is_handed_over(secret, cr) {
            return if is_leftover(pass, secret) { TargetSight::Leftover } else { TargetSight::NotOwned };
        }
        let kind = secret.type_.as_deref().unwrap_or_default();
        if kind != view.secret_type() {
            return TargetSight::Invalid(format!("its type is {kind}, and a type cannot be changed"));
        }
    }
    if matches(secret, cr, desired) {
        return TargetSight::Matches(object);
    }
    if secret.immutable == Some(true) {
        return TargetSight::Invalid("it is immutable".to_owned());
    }
    TargetSight::Differs(object)
}

/// Whether the resource is the Secret's controller.
pub(super) fn is_owned(secret: &Secret, cr: &SecretVersion) -> bool {
    let uid = cr.metadata.uid.as_deref().unwrap_or_default();
    secret.metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid)
}

/// Whether the Secret says that this resource may have it. What Orphan makes says so itself.
fn is_handed_over(secret: &Secret, cr: &SecretVersion) -> bool {
    let named = secret.metadata.annotations.as_ref().and_then(|a| a.get(ADOPT));
    named.is_some() && named == cr.metadata.name.as_ref() && !has_other_controller(secret, cr)
}

fn has_other_controller(secret: &Secret, cr: &SecretVersion) -> bool {
    let uid = cr.metadata.uid.as_deref().unwrap_or_default();
    secret.metadata.owner_references.iter().flatten().any(|o| o.controller == Some(true) && o.uid != uid)
}

/// Whether the Secret belongs to an earlier resource of the same kind and name, which is gone.
fn is_leftover(pass: &Pass<'_>, secret: &Secret) -> bool {
    secret.metadata.owner_references.iter().flatten().any(|owner| {
        owner.kind == SecretVersion::kind(&())
            && owner.name == pass.name()
            && owner.api_version.starts_with(crate::api::GROUP)
    })
}

fn matches(secret: &Secret, cr: &SecretVersion, desired: &Data) -> bool {
    let view = TargetView::of(cr);
    let data = secret.data.as_ref();
    let same_data = desired.iter().all(|(k, v)| data.and_then(|d| d.get(k)).is_some_and(|have| have.0 == *v));
    if view.policy() == CreationPolicy::Merge {
        return same_data;
    }
    let has = |have: Option<&BTreeMap<String, String>>, want: &BTreeMap<String, String>| {
        want.iter().all(|(k, v)| have.and_then(|h| h.get(k)) == Some(v))
    };
    let (meta, labels, annotations) = (&secret.metadata, labels(cr), annotations(cr));
    same_data
        && is_owned(secret, cr) == (view.policy() == CreationPolicy::Owner)
        && has(meta.labels.as_ref(), &labels)
        && has(meta.annotations.as_ref(), &annotations)
        && stale(meta, DATA, desired).is_empty()
        && stale(meta, LABELS, &labels).is_empty()
        && stale(meta, ANNOTATIONS, &annotations).is_empty()
}

fn labels(cr: &SecretVersion) -> BTreeMap<String, String> {
    cr.spec.target.as_ref().map(|t| t.labels.clone()).unwrap_or_default()
}

fn annotations(cr: &SecretVersion) -> BTreeMap<String, String> {
    let mut all = cr.spec.target.as_ref().map(|t| t.annotations.clone()).unwrap_or_default();
    if TargetView::of(cr).policy() == CreationPolicy::Orphan {
        all.insert(ADOPT.to_owned(), cr.metadata.name.clone().unwrap_or_default());
    }
    all
}

/// Where managed fields are, by field manager.
const DATA: &[&str] = &["f:data"];
const LABELS: &[&str] = &["f:metadata", "f:labels"];
const ANNOTATIONS: &[&str] = &["f:metadata", "f:annotations"];

/// Keys that we wrote once and that are no longer asked for.
fn stale<T>(meta: &ObjectMeta, place: &[&str], desired: &BTreeMap<String, T>) -> Vec<String> {
    let ours = meta.managed_fields.iter().flatten().filter(|f| f.manager.as_deref() == Some(FIELD_MANAGER));
    ours.filter_map(|f| place.iter().try_fold(&f.fields_v1.as_ref()?.0, |fields, part| fields.get(part))?.as_object())
        .flat_map(Map::keys)
        .filter_map(|field| field.strip_prefix("f:"))
        .filter(|key| !desired.contains_key(*key))
        .map(str::to_owned)
        .collect()
}

/// What a merge patch sets, and what it takes away.
fn with_stale(wanted: Map<String, Value>, stale: Vec<String>) -> Value {
    wanted.into_iter().chain(stale.into_iter().map(|key| (key, Value::Null))).collect()
}

fn owner_references(cr: &SecretVersion) -> Option<Vec<OwnerReference>> {
    (TargetView::of(cr).policy() == CreationPolicy::Owner).then(|| cr.controller_owner_ref(&()).into_iter().collect())
}

/// Writes the target. Where the cache or another writer came between, the next look is live.
pub(super) async fn write(pass: &mut Pass<'_>, version_id: &str, policy: CreationPolicy) -> Result<(), Error> {
    let desired = match desired(pass, version_id) {
        Ok(desired) => desired,
        Err(sight) => {
            pass.observed.seen.target = Some((version_id.to_owned(), sight));
            return Ok(());
        }
    };
    let name = TargetView::of(&pass.observed.cr).name().to_owned();
    let created = matches!(pass.observed.seen.target, Some((_, TargetSight::Absent)));
    let written = if policy == CreationPolicy::Merge {
        merge(pass, &name, &desired).await
    } else if created {
        create(pass, &name, &desired).await
    } else {
        change(pass, &name, &desired).await
    };
    match written {
        Ok(secret) => {
            let object = seen(&secret);
            lock(&pass.memory).target_checked = Some(object.clone());
            pass.remember();
            pass.observed.target_meta = Meta::Present(object.clone());
            pass.observed.seen.target_written = Some(object.clone());
            pass.observed.seen.target = Some((version_id.to_owned(), TargetSight::Matches(object)));
            if created {
                let reason = Reason::TargetWritten.as_str();
                let object = pass.observed.cr.object_ref(&());
                pass.ctx.mention(object, EventKind::Normal, reason, &format!("wrote Secret {name}"));
            }
        }
        Err(kube::Error::Api(status)) if policy == CreationPolicy::Merge && status.code == 409 => {
            let Some(who) = other_manager(&status) else { return again(pass) };
            pass.observed.seen.target = Some((version_id.to_owned(), TargetSight::Conflict(who)));
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return again(pass),
        Err(kube::Error::Api(status)) if status.code == 422 || status.code == 413 => {
            let why = format!("the apiserver refuses it ({})", status.reason);
            pass.observed.seen.target = Some((version_id.to_owned(), TargetSight::Invalid(why)));
        }
        Err(error) => pass.observed.seen.trouble = Some(Error::kube("writing the target", error).trouble(Side::Target)),
    }
    Ok(())
}

/// The world was not as it was seen: look again, live.
fn again(pass: &mut Pass<'_>) -> Result<(), Error> {
    if pass.read_target {
        return Err(Error::Conflict);
    }
    pass.read_target = true;
    pass.observed.seen.target = None;
    Ok(())
}

async fn create(pass: &Pass<'_>, name: &str, desired: &Data) -> kube::Result<Secret> {
    let cr = &pass.observed.cr;
    let some = |map: BTreeMap<String, String>| (!map.is_empty()).then_some(map);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: cr.metadata.namespace.clone(),
            labels: some(labels(cr)),
            annotations: some(annotations(cr)),
            owner_references: owner_references(cr),
            ..ObjectMeta::default()
        },
        type_: Some(TargetView::of(cr).secret_type().to_owned()),
        data: Some(desired.iter().map(|(k, v)| (k.clone(), ByteString(v.clone()))).collect()),
        ..Secret::default()
    };
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    api(pass).create(&params, &secret).await
}

async fn change(pass: &Pass<'_>, name: &str, desired: &Data) -> kube::Result<Secret> {
    let cr = &pass.observed.cr;
    let Some(now) = &pass.target else { return create(pass, name, desired).await };
    let text = |map: &BTreeMap<String, String>| map.iter().map(|(key, text)| (key.clone(), json!(text))).collect();
    let (labels, annotations) = (labels(cr), annotations(cr));
    // What is owned by nobody from now on must not go with this resource.
    let uid = cr.metadata.uid.as_deref();
    let others = now.owner_references.iter().flatten().filter(|o| Some(o.uid.as_str()) != uid).cloned();
    let owners: Vec<OwnerReference> = others.chain(owner_references(cr).into_iter().flatten()).collect();
    let body = json!({
        "metadata": {
            "uid": now.uid, "resourceVersion": now.resource_version, "ownerReferences": owners,
            "labels": with_stale(text(&labels), stale(now, LABELS, &labels)),
            "annotations": with_stale(text(&annotations), stale(now, ANNOTATIONS, &annotations)),
        },
        "data": with_stale(encode(desired), stale(now, DATA, desired)),
    });
    api(pass).patch(name, &patch::params(), &Patch::Merge(&body)).await
}

async fn merge(pass: &Pass<'_>, name: &str, desired: &Data) -> kube::Result<Secret> {
    let Some((_, TargetSight::Differs(seen))) = &pass.observed.seen.target else {
        return api(pass).get(name).await;
    };
    api(pass).patch(name, &patch::params(), &Patch::Apply(merged(name, seen, desired))).await
}

/// What an apply of our keys sends. Of a Secret that was made anew since it was looked at, the apiserver says so by the
/// resource version (409); by the UID alone it would call the apply invalid.
fn merged(name: &str, seen: &ObjectSeen, desired: &Data) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "uid": seen.uid, "resourceVersion": seen.resource_version},
        "data": encode(desired),
    })
}

fn encode(data: &Data) -> Map<String, Value> {
    data.iter().map(|(key, bytes)| (key.clone(), json!(ByteString(bytes.clone())))).collect()
}

/// Who holds a field that a merge asked for, if that is what the apiserver complains of.
fn other_manager(status: &kube::core::Status) -> Option<String> {
    let causes = &status.details.as_ref()?.causes;
    let cause = causes.iter().find(|c| c.reason == "FieldManagerConflict")?;
    Some(cause.message.split('"').nth(1).map_or_else(|| "another field manager".to_owned(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_is_guarded_like_every_write_and_names_our_keys_alone() {
        let (uid, resource_version) = (Some("uid".to_owned()), Some("7".to_owned()));
        let seen = ObjectSeen { name: "shared".into(), uid, resource_version };
        let body = merged("shared", &seen, &Data::from([("ours".to_owned(), b"a".to_vec())]));
        assert_eq!(body["metadata"], json!({"name": "shared", "uid": "uid", "resourceVersion": "7"}));
        assert_eq!(body["data"], json!({"ours": "YQ=="}));
    }
}
