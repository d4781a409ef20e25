//! The store from outside: its history thrown away, and its alarm that it is full.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use crate::http;

/// The store of a control plane, asked through its own JSON gateway.
#[derive(Debug)]
pub struct Etcd {
    url: String,
}

impl Etcd {
    pub(crate) fn new(url: String) -> Self {
        Self { url }
    }

    /// Throws all history away. An apiserver that runs still has its own: restarted, it answers 410 to who asks for more.
    pub async fn compact(&self) -> Result<()> {
        let revision = self.header("revision").await?;
        self.ask("kv/compaction", &json!({ "revision": revision, "physical": true })).await?;
        Ok(())
    }

    /// Has it refuse every write, as when its quota is used up; or lets it write again.
    pub async fn set_full(&self, full: bool) -> Result<()> {
        let action = if full { "ACTIVATE" } else { "DEACTIVATE" };
        let member = self.header("member_id").await?;
        self.ask("maintenance/alarm", &json!({ "action": action, "memberID": member, "alarm": "NOSPACE" })).await?;
        Ok(())
    }

    async fn header(&self, field: &str) -> Result<Value> {
        let answer = self.ask("kv/range", &json!({ "key": "AA==", "limit": 1 })).await?;
        answer["header"].get(field).cloned().with_context(|| format!("etcd's answer has no {field}"))
    }

    async fn ask(&self, call: &str, body: &Value) -> Result<Value> {
        let request = http::client()?.request(Method::POST, format!("{}/v3/{call}", self.url)).body(body.to_string());
        let text = request.send().await?.error_for_status()?.text().await?;
        serde_json::from_str(&text).with_context(|| format!("etcd answered {call} with no JSON"))
    }
}
