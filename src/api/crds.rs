//! The custom resource definitions as they ship: derived from the types, then made to fit what users and tools expect of a
//! schema. Knows nothing of any one field.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::v1alpha1::{AbejaConnection, ClusterAbejaConnection, SecretVersion};

/// The definitions of all our resources, in a fixed order.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [SecretVersion::crd(), AbejaConnection::crd(), ClusterAbejaConnection::crd()].map(shipped).into()
}

/// The definitions as YAML documents, each introduced by `---`. The same types give the same bytes.
///
/// Fails only where a definition cannot be written as YAML, which is a bug.
pub fn crds_yaml() -> Result<String, serde_saphyr::ser::Error> {
    crds().iter().map(|crd| Ok(format!("---\n{}", crd_yaml(crd)?))).collect()
}

/// One definition as a YAML document.
///
/// Fails only where a definition cannot be written as YAML, which is a bug.
pub fn crd_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(crd)
}

fn shipped(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let roots = crd.spec.versions.iter_mut().filter_map(|v| v.schema.as_mut()?.open_api_v3_schema.as_mut());
    for root in roots {
        tidy(root);
        if let Some(status) = root.properties.as_mut().and_then(|p| p.get_mut("status")) {
            // Without it, tools that follow kstatus take a resource that nobody looked at yet for finished.
            status.default = Some(JSON(json!({"observedGeneration": -1})));
        }
    }
    crd
}

/// Removes what the derive adds and the API must not have, here and below.
fn tidy(schema: &mut JSONSchemaProps) {
    // An explicit null is then pruned, like in the built-in kinds, instead of being stored.
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|JSON(value)| !value.is_null());
    }
    // A default is written into stored objects, and GitOps tools then see a difference for ever.
    schema.default = None;
    // The server warns about formats that it does not know.
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    // The name of the Rust type.
    schema.title = None;
    if let Some(description) = &mut schema.description {
        *description = unwrap_lines(description);
    }

    let below = schema.properties.iter_mut().flat_map(|map| map.values_mut());
    below.for_each(tidy);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}

/// Joins the lines of each paragraph: where the source file breaks them is nothing to a reader of `kubectl explain`.
fn unwrap_lines(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
}
