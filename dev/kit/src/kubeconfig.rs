//! Kubeconfig files, which are JSON here: every YAML reader takes it.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A kubeconfig with one cluster and one user, who has a bearer token.
/// `ca` is PEM.
pub fn with_token(server: &str, ca: &str, token: &str) -> Value {
    let cluster = json!({
        "server": server,
        "certificate-authority-data": STANDARD.encode(ca),
    });
    assemble(&cluster, token)
}

/// The same cluster as in `admin`, with another user's token. `admin` is a
/// kubeconfig with one context, as `kubectl config view --minify` prints it.
pub fn as_other_user(admin: &Value, token: &str) -> Result<Value> {
    let cluster = admin.pointer("/clusters/0/cluster").context("the kubeconfig names no cluster")?;
    Ok(assemble(cluster, token))
}

fn assemble(cluster: &Value, token: &str) -> Value {
    const NAME: &str = "kit";
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": NAME, "user": {"token": token}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
        "current-context": NAME,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_keeps_the_cluster_and_nothing_of_the_first_user() {
        let admin = with_token("https://127.0.0.1:1", "CA", "admin-token");
        let other = as_other_user(&admin, "other-token").unwrap();
        assert_eq!(other["clusters"], admin["clusters"]);
        assert_eq!(other["users"][0]["user"], json!({"token": "other-token"}));
        assert!(!other.to_string().contains("admin-token"));
    }
}
