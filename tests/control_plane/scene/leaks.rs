//! Values and credentials of the tests all hold one word. Nobody may tell it: not in logs at any level, not in events, not
//! in status, not in metrics, neither as it is nor as base64.

use std::fs;

use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::Scene;

/// The word, then what it becomes in base64, whatever comes before it: the parts that follow from it alone.
const TELLTALES: [&str; 4] = ["canary", "Y2FuYXJ5", "NhbmFye", "jYW5hcn"];

impl Scene {
    pub(super) async fn find_leaks(&self) {
        let log = fs::read(self.world.operator.process().log()).unwrap();
        let log = String::from_utf8_lossy(&log[self.log_from..]);
        assert!(log.contains(&self.namespace), "the log tells nothing of this scene, so its silence proves nothing");
        assert_silent("log", &log);
        assert_silent("metrics", &self.world.operator.metrics().await.unwrap());
        let events: Api<Event> = Api::all(self.client.clone());
        let events = events.list(&ListParams::default()).await.unwrap();
        assert_silent("events", &serde_json::to_string(&events.items).unwrap());
        for kind in ["SecretVersion", "AbejaConnection", "ClusterAbejaConnection"] {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("secrets.abeja.io", "v1alpha1", kind));
            let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            for object in all.list(&ListParams::default()).await.unwrap() {
                assert_silent(kind, &object.data.get("status").unwrap_or(&Value::Null).to_string());
            }
        }
    }
}

/// Fails where a text tells the word.
pub(crate) fn assert_silent(what: &str, text: &str) {
    for line in text.lines() {
        let leak = TELLTALES.iter().find(|word| line.contains(**word));
        assert!(leak.is_none(), "a secret was told in the {what}: {line}");
    }
}

#[test]
fn the_word_is_found_in_base64_at_every_offset() {
    use base64::Engine as _;
    for before in ["", "a", "ab", "abc"] {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}canary-1"));
        assert!(TELLTALES.iter().any(|word| text.contains(word)), "{text}");
    }
}
