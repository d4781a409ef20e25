//! Plain HTTP to processes of this run on the loopback interface.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, bail};
use reqwest::Client;

/// The one client. Its URLs are all `http`, yet reqwest will not be built
/// without a TLS provider where another crate has turned TLS on.
pub(crate) fn client() -> Result<&'static Client> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client);
    }
    install_provider();
    let client = Client::builder()
        // Proxies of the environment are for the world, not for loopback.
        .no_proxy()
        // No connection outlives the runtime of the test that opened it.
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(30))
        .build()?;
    Ok(CLIENT.get_or_init(|| client))
}

/// A client for an apiserver with its own authority. It has no timeout: watches last.
pub(crate) fn client_trusting(ca: &[u8]) -> Result<Client> {
    install_provider();
    let authority = reqwest::Certificate::from_pem_bundle(ca)?;
    Ok(Client::builder().no_proxy().tls_certs_only(authority).build()?)
}

/// An error means that the caller's program has installed its own.
fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The text of a page; any status but success is an error.
pub(crate) async fn get_text(url: &str) -> Result<String> {
    let response = client()?.get(url).send().await?;
    let status = response.status();
    if !status.is_success() {
        bail!("GET {url} answered {status}");
    }
    Ok(response.text().await?)
}
