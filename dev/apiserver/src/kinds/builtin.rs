//! Schemas of Kubernetes' own kinds, as far as they are modelled.

use serde_json::{Value, json};

use super::{Kind, with_metadata};

pub(super) fn kinds() -> Vec<Kind> {
    let kind = |group: &str, kind: &str, plural: &str, schema: Value| Kind {
        group: group.to_owned(),
        version: "v1".to_owned(),
        name: kind.to_owned(),
        plural: plural.to_owned(),
        namespaced: kind != "Namespace",
        has_status: kind == "Namespace",
        custom: false,
        schema: with_metadata(schema),
        selectable: if kind == "Secret" { vec!["type".to_owned()] } else { Vec::new() },
    };
    vec![
        kind("", "Namespace", "namespaces", namespace()),
        kind("", "Secret", "secrets", secret()),
        kind("", "ConfigMap", "configmaps", config_map()),
        kind("coordination.k8s.io", "Lease", "leases", lease()),
        kind("events.k8s.io", "Event", "events", event()),
    ]
}

fn text() -> Value {
    json!({"type": "string"})
}

fn integer() -> Value {
    json!({"type": "integer"})
}

fn object(properties: Value) -> Value {
    let mut object = json!({"type": "object"});
    object["properties"] = properties;
    object
}

fn map() -> Value {
    json!({"type": "object", "additionalProperties": text()})
}

/// A map of which one writer owns all.
fn atomic(mut object: Value) -> Value {
    object["x-kubernetes-map-type"] = "atomic".into();
    object
}

fn list_of_maps(key: &str, items: &Value) -> Value {
    json!({"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]})
}

pub(super) fn metadata() -> Value {
    let owner = atomic(object(json!({
        "apiVersion": text(), "kind": text(), "name": text(), "uid": text(),
        "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"},
    })));
    object(json!({
        "name": text(), "generateName": text(), "namespace": text(), "selfLink": text(), "uid": text(),
        "resourceVersion": text(), "generation": integer(), "creationTimestamp": text(), "deletionTimestamp": text(),
        "deletionGracePeriodSeconds": integer(), "labels": map(), "annotations": map(),
        "ownerReferences": list_of_maps("uid", &owner),
        "finalizers": {"type": "array", "items": text(), "x-kubernetes-list-type": "set"},
        "managedFields": {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    }))
}

fn namespace() -> Value {
    let condition = object(json!({
        "type": text(), "status": text(), "reason": text(), "message": text(), "lastTransitionTime": text(),
    }));
    object(json!({
        "spec": object(json!({"finalizers": {"type": "array", "items": text()}})),
        "status": object(json!({"phase": text(), "conditions": list_of_maps("type", &condition)})),
    }))
}

fn secret() -> Value {
    object(json!({"data": map(), "stringData": map(), "type": text(), "immutable": {"type": "boolean"}}))
}

fn config_map() -> Value {
    object(json!({"data": map(), "binaryData": map(), "immutable": {"type": "boolean"}}))
}

fn lease() -> Value {
    object(json!({"spec": object(json!({
        "holderIdentity": text(), "leaseDurationSeconds": integer(), "acquireTime": text(), "renewTime": text(),
        "leaseTransitions": integer(), "strategy": text(), "preferredHolder": text(),
    }))}))
}

fn event() -> Value {
    let reference = atomic(object(json!({
        "kind": text(), "namespace": text(), "name": text(), "uid": text(), "apiVersion": text(),
        "resourceVersion": text(), "fieldPath": text(),
    })));
    let source = object(json!({"component": text(), "host": text()}));
    object(json!({
        "eventTime": text(), "reportingController": text(), "reportingInstance": text(), "action": text(),
        "reason": text(), "regarding": reference, "related": reference, "note": text(), "type": text(),
        "series": object(json!({"count": integer(), "lastObservedTime": text()})),
        "deprecatedCount": integer(), "deprecatedFirstTimestamp": text(), "deprecatedLastTimestamp": text(),
        "deprecatedSource": source,
    }))
}
