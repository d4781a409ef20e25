//! Which kinds there are: a few of Kubernetes' own, and those of the definitions that a test installs.

mod builtin;

use std::sync::Arc;

use serde_json::{Value, json};

/// One kind at one version.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) name: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    /// Whether `status` is a subresource.
    pub(crate) has_status: bool,
    /// Whether it was defined by a `CustomResourceDefinition`.
    pub(crate) custom: bool,
    /// An `OpenAPI` schema of the whole object, in the words of a `CustomResourceDefinition`.
    pub(crate) schema: Value,
    /// Paths that field selectors may name, beside name and namespace.
    pub(crate) selectable: Vec<String>,
}

impl Kind {
    /// `plural.group`, as messages name it.
    pub(crate) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether a write may leave the resource version out.
    pub(crate) fn takes_unconditional_updates(&self) -> bool {
        matches!(self.plural.as_str(), "secrets" | "configmaps" | "namespaces" | "events")
    }

    /// Whether a replacement of what does not exist creates it.
    pub(crate) fn is_created_by_update(&self) -> bool {
        matches!(self.plural.as_str(), "leases" | "events")
    }

    pub(crate) fn is(&self, plural: &str) -> bool {
        !self.custom && self.plural == plural
    }
}

/// The kinds of one server. A kind is known by its place in the list.
#[derive(Debug, Clone)]
pub(crate) struct Kinds(Vec<Arc<Kind>>);

impl Kinds {
    pub(crate) fn builtin() -> Self {
        Self(builtin::kinds().into_iter().map(Arc::new).collect())
    }

    /// Adds what a `CustomResourceDefinition` defines, or puts it in the place of what an earlier one did.
    pub(crate) fn define(&mut self, definition: &Value) {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for version in spec["versions"].as_array().into_iter().flatten().filter(|v| v["served"] == true) {
            let paths = version["selectableFields"].as_array().into_iter().flatten();
            let kind = Kind {
                group: text(&spec["group"]),
                version: text(&version["name"]),
                name: text(&spec["names"]["kind"]),
                plural: text(&spec["names"]["plural"]),
                namespaced: spec["scope"] == "Namespaced",
                has_status: version["subresources"].get("status").is_some(),
                custom: true,
                schema: with_metadata(version["schema"]["openAPIV3Schema"].clone()),
                selectable: paths.map(|path| text(&path["jsonPath"]).trim_start_matches('.').to_owned()).collect(),
            };
            match self.0.iter_mut().find(|k| k.resource() == kind.resource() && k.version == kind.version) {
                Some(old) => *old = Arc::new(kind),
                None => self.0.push(Arc::new(kind)),
            }
        }
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<(usize, Arc<Kind>)> {
        let found = self.0.iter().position(|k| k.group == group && k.version == version && k.plural == plural)?;
        Some((found, self.0[found].clone()))
    }

    pub(crate) fn named(&self, resource: &str) -> Option<(usize, Arc<Kind>)> {
        let found = self.0.iter().position(|kind| kind.resource() == resource)?;
        Some((found, self.0[found].clone()))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, &Arc<Kind>)> {
        self.0.iter().enumerate()
    }
}

/// A schema of our own, or of a definition, with what every object has.
fn with_metadata(mut schema: Value) -> Value {
    schema["type"] = "object".into();
    schema["properties"]["apiVersion"] = json!({"type": "string"});
    schema["properties"]["kind"] = json!({"type": "string"});
    schema["properties"]["metadata"] = builtin::metadata();
    schema
}
