//! The calls. Each checks that the answer is about what was asked for before anybody sees it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use super::VersionState;
use super::allowance::Allowance;
use super::auth::Credential;
use super::error::Error;
use super::http::{Body, Http, Line, Request};
use super::list::{self, Next, Page, Reading};
use super::path;
use super::retry::Budget;
use super::version::{Asked, SecretInfo, SecretsPage, Values, Version};
use super::wire::{self, Acknowledged, SecretBody, SecretPage, VersionBody, VersionPage};
use crate::domain::budget::Standing;
use crate::host::Carry;
use crate::secret::SecretBytes;

/// The largest answer about one version, in bytes. The remote's own limit for a value is far below.
const ONE: usize = 2 * 1024 * 1024;
/// The largest page of a list, in bytes.
const MANY: usize = 16 * 1024 * 1024;
/// The longest that a whole list may take, all its passes and pages together.
const LIST_TIME: Duration = Duration::from_mins(2);
/// How long a list that moved is left to come to rest.
const LIST_PAUSE: Duration = Duration::from_millis(250);

/// The longest that a call waits for its share of the budget.
const LONGEST_PACE: Duration = Duration::from_secs(2);

/// What a client needs to know.
#[derive(Clone)]
pub struct ClientConfig {
    /// Base URL of the remote.
    pub url: String,
    /// Who the operator is to the remote.
    pub credential: Credential,
    /// Certificates to trust beside the system's, in PEM.
    pub ca_bundle: Option<Vec<u8>>,
    /// How long one request may take, connecting and reading included.
    pub timeout: Duration,
    /// How often a request that may be sent twice is sent again. A create never is.
    pub max_retries: u32,
    /// Whether `http://` is allowed: for development alone.
    pub allow_insecure: bool,
    /// What the operator calls itself.
    pub user_agent: String,
    /// The budgets that every request is taken from. A create takes its share and never waits for it, nor does a request that is
    /// sent again.
    pub allowance: Allowance,
    /// What carries requests in place of sockets.
    pub carrier: Option<Arc<dyn Carry>>,
    /// Who is told of every request.
    pub observer: Option<Arc<dyn Observe>>,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Is told of every request that was made, each attempt by itself.
pub trait Observe: Send + Sync {
    /// A request of the call `op` ended after `elapsed`. `op` and `outcome` are words of closed sets.
    fn request(&self, op: &'static str, outcome: &'static str, elapsed: Duration);
}

/// One connection to the remote: an endpoint with a credential. Cheap to clone; clones share their sockets.
///
/// Dropping the future of a call gives the call up at once. What it sent may still be carried out.
#[derive(Clone)]
pub struct Client {
    http: Http,
    url: Arc<str>,
    timeout: Duration,
    max_retries: u32,
    allowance: Allowance,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Client {
    /// A client for one connection. Connects to nothing yet.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        Ok(Self {
            url: path::base_url(&config.url, config.allow_insecure)?.into(),
            timeout: config.timeout,
            max_retries: config.max_retries,
            allowance: config.allowance.clone(),
            http: Http::new(config)?,
        })
    }

    /// The base URL, as `base_url` writes it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many requests the remote is sent.
    pub fn standing(&self) -> Standing {
        self.allowance.standing()
    }

    /// Creates a version with one request, which is sent once or not at all: on a connection of its own, without retry
    /// or redirect.
    ///
    /// Unless an error says that nothing was sent (`not_connected`) or that the API refused (`is_api_error`, `status`),
    /// the version may exist.
    pub async fn create_version(
        &self,
        organization: &str,
        secret: &str,
        value: &SecretBytes,
    ) -> Result<Version, Error> {
        let op = "create_version";
        // What was made durable must be sent within seconds: others wait for it instead.
        self.allowance.take();
        let request = Request {
            op,
            method: Method::POST,
            url: self.under(op, &["organizations", organization, "secrets", secret, "versions"], FLAG)?,
            body: Some(value_body(value)),
            limit: ONE,
            value: Some(value),
        };
        let body = self.send(&request, Line::Fresh, self.timeout).await?;
        let version = parse::<VersionBody>(op, &body)?;
        Asked { op, organization, values: Values::Include }.version(version, secret, None)
    }

    /// One version.
    pub async fn get_version(
        &self,
        organization: &str,
        secret: &str,
        version_id: &str,
        values: Values,
    ) -> Result<Version, Error> {
        let op = "get_version";
        let segments = ["organizations", organization, "secrets", secret, "versions", version_id];
        let url = self.under(op, &segments, flag(values))?;
        let body = self.repeatable(Method::GET, url, None, op, ONE).await?;
        let version = parse::<VersionBody>(op, &body)?;
        Asked { op, organization, values }.version(version, secret, Some(version_id))
    }

    /// All versions of a secret, by number. A list that does not come to rest is an error, never a part of it.
    pub async fn list_versions(&self, organization: &str, secret: &str, values: Values) -> Result<Vec<Version>, Error> {
        let op = "list_versions";
        let segments = ["organizations", organization, "secrets", secret, "versions"];
        let asked = Asked { op, organization, values };
        let mut versions = self
            .list(op, &segments, values, |body| {
                let page = parse::<VersionPage>(op, body)?;
                let rows = page.versions.into_iter().map(|version| asked.version(version, secret, None));
                Ok(Page {
                    rows: rows.map(|row| row.map(|row| (row.id.clone(), row))).collect::<Result<_, _>>()?,
                    has_next: page.pagination.has_next,
                    count: Some(page.pagination.count),
                    bytes: body.len(),
                })
            })
            .await?;
        versions.sort_by_key(|version| version.number);
        Ok(versions)
    }

    /// Switches a version on or off. Doing so twice is the same as once.
    pub async fn set_version_state(
        &self,
        organization: &str,
        secret: &str,
        version_id: &str,
        state: VersionState,
    ) -> Result<Version, Error> {
        let op = "update_version";
        let segments = ["organizations", organization, "secrets", secret, "versions", version_id];
        let body = match state {
            VersionState::Active => r#"{"status": "active"}"#,
            VersionState::Inactive => r#"{"status": "inactive"}"#,
        };
        let url = self.under(op, &segments, "")?;
        let body = self.repeatable(Method::PATCH, url, Some(Bytes::from_static(body.as_bytes())), op, ONE).await?;
        let version = parse::<VersionBody>(op, &body)?;
        Asked { op, organization, values: Values::Omit }.version(version, secret, Some(version_id))
    }

    /// Deletes a version. A 404 of the API may mean that an attempt before was carried out and its answer lost.
    pub async fn delete_version(&self, organization: &str, secret: &str, version_id: &str) -> Result<(), Error> {
        let op = "delete_version";
        let segments = ["organizations", organization, "secrets", secret, "versions", version_id];
        let url = self.under(op, &segments, "")?;
        let body = self.repeatable(Method::DELETE, url, None, op, ONE).await?;
        // A page of something in between must not pass for the API's word that the version is gone.
        if !body.is_empty() {
            parse::<Acknowledged>(op, &body)?;
        }
        Ok(())
    }

    /// All secrets of an organization, with the versions that the remote embeds.
    pub async fn list_secrets(&self, organization: &str, values: Values) -> Result<Vec<SecretInfo>, Error> {
        let op = "list_secrets";
        let asked = Asked { op, organization, values };
        self.list(op, &["organizations", organization, "secrets"], values, |body| {
            let page = parse::<SecretPage>(op, body)?;
            asked.organization(page.organization_id.as_deref())?;
            let rows = page.secrets.into_iter().map(|secret| asked.secret(secret, None));
            Ok(Page {
                rows: rows.map(|row| row.map(|row| (row.id.clone(), row))).collect::<Result<_, _>>()?,
                has_next: page.has_next,
                count: None,
                bytes: body.len(),
            })
        })
        .await
    }

    /// One page of an organization's secrets, from `offset` on. Pages are cut by offset, so between two of them a row may be
    /// missed or come twice: what one lacks is not known to be gone.
    pub async fn list_secrets_page(
        &self,
        organization: &str,
        offset: u64,
        values: Values,
    ) -> Result<SecretsPage, Error> {
        let op = "list_secrets";
        let query = format!("offset={offset}&limit={}&{}", list::PAGE, flag(values));
        let url = self.under(op, &["organizations", organization, "secrets"], &query)?;
        let body = self.repeatable(Method::GET, url, None, op, MANY).await?;
        let page = parse::<SecretPage>(op, &body)?;
        let asked = Asked { op, organization, values };
        asked.organization(page.organization_id.as_deref())?;
        let secrets = page.secrets.into_iter().map(|secret| asked.secret(secret, None)).collect::<Result<_, _>>()?;
        Ok(SecretsPage { secrets, has_next: page.has_next })
    }

    /// Whether the credential is accepted, found out by asking for the smallest page of secrets.
    ///
    /// A credential that may not list secrets is accepted all the same: what it may do shows in what it is used for. Where the
    /// budget does not allow a request (`OverBudget`) it was not found out.
    pub async fn probe(&self, organization: &str) -> Result<(), Error> {
        let op = "probe";
        let url =
            self.under(op, &["organizations", organization, "secrets"], "offset=0&limit=1&return_secret_value=False")?;
        match self.repeatable(Method::GET, url, None, op, ONE).await {
            Err(error) if matches!(error.status(), Some(403 | 405)) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// One secret, with the versions that the remote embeds.
    pub async fn get_secret(&self, organization: &str, secret: &str, values: Values) -> Result<SecretInfo, Error> {
        let op = "get_secret";
        let url = self.under(op, &["organizations", organization, "secrets", secret], flag(values))?;
        let body = self.repeatable(Method::GET, url, None, op, MANY).await?;
        let found = parse::<SecretBody>(op, &body)?;
        Asked { op, organization, values }.secret(found, Some(secret))
    }

    fn under(&self, op: &'static str, segments: &[&str], query: &str) -> Result<Url, Error> {
        path::under(op, &self.url, segments, query)
    }

    /// A request that may be sent again.
    async fn repeatable(
        &self,
        method: Method,
        url: Url,
        body: Option<Bytes>,
        op: &'static str,
        limit: usize,
    ) -> Result<Body, Error> {
        self.pace(op, LONGEST_PACE).await?;
        let deadline = Instant::now() + 2 * self.timeout;
        self.until(deadline, &Request { op, method, url, body, limit, value: None }).await
    }

    /// Waits until the budget allows a request, where that is soon enough. Whoever would wait longer is to come back, and hold no
    /// place meanwhile.
    async fn pace(&self, op: &'static str, patience: Duration) -> Result<(), Error> {
        let wait = self.allowance.admit(patience).map_err(|after| Error::OverBudget { op, after })?;
        tokio::time::sleep(wait).await;
        Ok(())
    }

    async fn until(&self, deadline: Instant, request: &Request<'_>) -> Result<Body, Error> {
        let budget = Budget { retries: self.max_retries, deadline };
        let mut again = false;
        let attempt = || {
            // Whoever sends again has waited already: others wait for it instead.
            if std::mem::replace(&mut again, true) {
                self.allowance.take();
            }
            self.send(request, Line::Shared, budget.left(self.timeout))
        };
        budget.spend(attempt).await
    }

    /// Sends a request once, and lets the budget know what the remote said to it.
    async fn send(&self, request: &Request<'_>, line: Line, timeout: Duration) -> Result<Body, Error> {
        let answer = self.http.send(request, line, timeout).await;
        match &answer {
            Err(error) if error.status() == Some(429) => self.allowance.refused(error.retry_after()),
            _ => self.allowance.answered(),
        }
        answer
    }

    /// Reads a list by the rule of `list`.
    async fn list<T>(
        &self,
        op: &'static str,
        segments: &[&str],
        values: Values,
        read: impl Fn(&[u8]) -> Result<Page<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        let end = Instant::now() + LIST_TIME;
        let mut reading = Reading::new();
        let mut offset = 0;
        loop {
            if Instant::now() >= end {
                return Err(Error::Timeout { op });
            }
            let query = format!("offset={offset}&limit={}&{}", list::PAGE, flag(values));
            let url = self.under(op, segments, &query)?;
            let request = Request { op, method: Method::GET, url, body: None, limit: MANY, value: None };
            // What was read already would have to be read again, and no sooner.
            let patience = if offset == 0 { LONGEST_PACE } else { end.saturating_duration_since(Instant::now()) };
            self.pace(op, patience).await?;
            let deadline = end.min(Instant::now() + 2 * self.timeout);
            // What was answered is not kept over the pause: it may hold one of the few places for large answers.
            let page = read(&self.until(deadline, &request).await?)?;
            match reading.page(page) {
                Next::Page(next) => offset = next,
                Next::Confirm => offset = 0,
                Next::Again => {
                    tokio::time::sleep(LIST_PAUSE).await;
                    offset = 0;
                }
                Next::Complete(rows) => return Ok(rows),
                Next::Restless => return Err(Error::Incomplete { op }),
                Next::TooLarge => return Err(Error::TooLarge { op }),
            }
        }
    }
}

/// The query by which values are asked for, spelled as the platform's own client spells it.
const FLAG: &str = "return_secret_value=True";

/// The flag is always there: what its absence means is not documented.
fn flag(values: Values) -> &'static str {
    match values {
        Values::Include => FLAG,
        Values::Omit => "return_secret_value=False",
    }
}

/// The body of a create, byte for byte as the platform's own client writes it, in memory that is wiped.
fn value_body(value: &SecretBytes) -> Bytes {
    const BEFORE: &str = r#"{"value": ""#;
    const BEHIND: &str = r#""}"#;
    let base64 = value.encode();
    let mut body = Zeroizing::new(Vec::with_capacity(BEFORE.len() + base64.len() + BEHIND.len()));
    for part in [BEFORE, &base64, BEHIND] {
        body.extend_from_slice(part.as_bytes());
    }
    Bytes::from_owner(Wiped(body))
}

/// `Zeroizing` gives no slice of bytes by the trait that `Bytes` asks for.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn parse<T: serde::de::DeserializeOwned>(op: &'static str, body: &[u8]) -> Result<T, Error> {
    wire::parse(body).map_err(|what| Error::Malformed { op, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_create_is_json_of_the_value() {
        let body = value_body(&SecretBytes::from(vec![0x00, 0xff, 0x0a]));
        assert_eq!(&body[..], br#"{"value": "AP8K"}"#);
    }
}
