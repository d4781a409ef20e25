//! The remote as somebody with curl and jq sees it. The requests are made here, because a fresh machine may have neither;
//! what is printed is what the two would print.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The organization of the simulator's seed.
pub(super) const ORGANIZATION: &str = "1410000000000";
/// Its secret `db-password`.
pub(super) const DB_PASSWORD: &str = "3053595942757";
/// Its secret `smtp-relay`.
pub(super) const SMTP_RELAY: &str = "3053595942758";
/// A user with full rights.
pub(super) const USER_ID: &str = "2000000000001";
/// That user's token.
pub(super) const PERSONAL_ACCESS_TOKEN: &str = "demo-personal-access-token";

/// The secrets of the organization, as their owner.
pub(super) struct Remote {
    url: String,
}

#[derive(Deserialize)]
struct Page {
    versions: Vec<Wire>,
}

#[derive(Deserialize)]
struct Wire {
    version: u64,
    status: String,
    value: String,
}

#[derive(Serialize)]
struct Shown {
    version: u64,
    status: String,
    value: String,
}

impl Remote {
    pub(super) fn new(base: &str) -> Self {
        Self { url: format!("{base}/secret-manager/organizations/{ORGANIZATION}/secrets") }
    }

    /// The shell variables that the commands use.
    pub(super) fn variables(&self) -> [String; 2] {
        [format!("SECRETS={}", self.url), format!("LOGIN=user-{USER_ID}:{PERSONAL_ACCESS_TOKEN}")]
    }

    /// The command that lists a secret's versions with their values.
    pub(super) fn list_command(secret: &str) -> String {
        format!(
            "curl -s -u $LOGIN \"$SECRETS/{secret}/versions?return_secret_value=true\" |\n    \
             jq -c '.versions[] | {{version, status, value: (.value | @base64d)}}'"
        )
    }

    /// What it prints.
    pub(super) async fn list(&self, secret: &str) -> Result<String> {
        let url = format!("{}/{secret}/versions?return_secret_value=true", self.url);
        let page: Page = self.ask(client()?.get(url)).await?;
        let lines: Result<Vec<_>> = page.versions.into_iter().map(shown).collect();
        Ok(lines?.join("\n"))
    }

    /// The command that makes a version.
    pub(super) fn create_command(secret: &str, value: &str) -> String {
        let value = STANDARD.encode(value);
        format!(
            "curl -s -u $LOGIN \"$SECRETS/{secret}/versions\" \\\n    --json '{{\"value\": \"{value}\"}}' |\n    \
             jq -c '{{version, status}}'"
        )
    }

    /// What it prints.
    pub(super) async fn create(&self, secret: &str, value: &str) -> Result<String> {
        #[derive(Serialize, Deserialize)]
        struct Created {
            version: u64,
            status: String,
        }
        let body = serde_json::json!({ "value": STANDARD.encode(value) });
        let request = client()?.post(format!("{}/{secret}/versions", self.url)).json(&body);
        Ok(serde_json::to_string(&self.ask::<Created>(request).await?)?)
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T> {
        let user = format!("user-{USER_ID}");
        let response = request.basic_auth(user, Some(PERSONAL_ACCESS_TOKEN)).send().await?.error_for_status()?;
        response.json().await.context("the remote answered in no known shape")
    }
}

fn shown(wire: Wire) -> Result<String> {
    let value = String::from_utf8(STANDARD.decode(wire.value)?)?;
    Ok(serde_json::to_string(&Shown { version: wire.version, status: wire.status, value })?)
}

fn client() -> Result<reqwest::Client> {
    // An error means that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().no_proxy().build()?)
}
