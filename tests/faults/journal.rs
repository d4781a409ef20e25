//! What the simulator was asked for, read as it grows, so that many can wait for it at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use kit::Simulator;
use reqwest::Method;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Between two readings.
const PACE: Duration = Duration::from_millis(100);

/// How long a create may be carried out after it was answered.
const LATEST_COMMIT: SignedDuration = SignedDuration::from_secs(30);

/// One request for a secret.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entry {
    seq: u64,
    /// When it had been read.
    pub(crate) at: Timestamp,
    /// The number of its TCP connection.
    #[serde(default)]
    pub(crate) connection: u64,
    operation: Option<String>,
    secret_id: Option<String>,
    query: Option<String>,
    /// The version in the path, or the one created.
    pub(crate) version_id: Option<String>,
    /// Of the body, in hexadecimal.
    pub(crate) body_sha256: Option<String>,
    /// Whether it was answered, or its connection closed.
    pub(crate) finished: bool,
    /// Whether something was changed for it.
    pub(crate) committed: bool,
}

impl Entry {
    /// Whether it is this call.
    pub(crate) fn is(&self, operation: &str) -> bool {
        self.operation.as_deref() == Some(operation)
    }

    /// Whether it asks for no change.
    pub(crate) fn is_read(&self) -> bool {
        self.operation
            .as_deref()
            .is_some_and(|operation| operation.starts_with("get_") || operation.starts_with("list_"))
    }

    /// Whether it is one page of an organization.
    pub(crate) fn is_page(&self) -> bool {
        self.is("list_secrets") && self.query.as_deref().is_some_and(|query| query.contains("limit=100"))
    }

    /// Whether it is one with what the secrets hold, for those who wait for it.
    pub(crate) fn is_page_of_values(&self) -> bool {
        self.is_page() && self.query.as_deref().is_some_and(|query| query.contains("return_secret_value=True"))
    }

    /// Whether a look over the pages of an organization begins with it.
    fn is_sweep(&self) -> bool {
        self.is_page() && self.query.as_deref().is_some_and(|query| query.contains("offset=0&"))
    }

    /// Whether nothing of it can change any more.
    fn is_final(&self, now: Timestamp) -> bool {
        let awaited = self.is("create_version") && !self.committed && now.duration_since(self.at) < LATEST_COMMIT;
        self.finished && !awaited
    }
}

/// The requests for one secret, oldest first.
pub(crate) type Requests = BTreeMap<u64, Entry>;

#[derive(Debug, Default)]
struct Seen {
    by_secret: BTreeMap<String, Requests>,
    readings: usize,
}

impl Seen {
    /// How often a secret was looked at, by itself or with all of its organization.
    fn looks(&self, secret: &str) -> usize {
        let of = |secret: &str| self.by_secret.get(secret).into_iter().flat_map(BTreeMap::values);
        of(secret).count() + of("").filter(|entry| entry.is_sweep()).count()
    }
}

/// The journal of one simulator.
#[derive(Debug)]
pub(crate) struct Journal {
    seen: watch::Receiver<Seen>,
    reader: JoinHandle<()>,
}

impl Journal {
    /// Reads from now on.
    pub(crate) fn follow(simulator: Arc<Simulator>) -> Self {
        let (tell, seen) = watch::channel(Seen::default());
        Self { seen, reader: tokio::spawn(read(simulator, tell)) }
    }

    /// Waits until the requests for a secret are as asked for.
    pub(crate) async fn until(
        &self,
        within: Duration,
        what: &str,
        secret: &str,
        condition: impl Fn(&Requests) -> bool,
    ) -> Result<()> {
        let mut seen = self.seen.clone();
        let reached = seen.wait_for(|seen| seen.by_secret.get(secret).is_some_and(&condition));
        timeout(within, reached).await.with_context(|| format!("waited {within:?} in vain until {what}"))??;
        Ok(())
    }

    /// Waits until a secret was looked at so many times from now on, by itself or with all of its organization.
    pub(crate) async fn until_looked_at(&self, within: Duration, secret: &str, times: usize) -> Result<()> {
        let mut seen = self.seen.clone();
        let enough = fresh(&mut seen).await?.looks(secret) + times;
        let reached = seen.wait_for(|seen| seen.looks(secret) >= enough);
        timeout(within, reached).await.with_context(|| format!("waited {within:?} in vain for a refresh"))??;
        Ok(())
    }

    /// How many requests there were in all.
    pub(crate) fn total(&self) -> usize {
        self.seen.borrow().by_secret.values().map(BTreeMap::len).sum()
    }

    /// Everything that was asked for a secret until now.
    pub(crate) async fn of(&self, secret: &str) -> Result<Vec<Entry>> {
        let mut seen = self.seen.clone();
        let seen = fresh(&mut seen).await?;
        Ok(seen.by_secret.get(secret).into_iter().flat_map(BTreeMap::values).cloned().collect())
    }

    /// Everything that was asked until now, by secret.
    pub(crate) async fn all(&self) -> Result<BTreeMap<String, Requests>> {
        let mut seen = self.seen.clone();
        Ok(fresh(&mut seen).await?.by_secret.clone())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Waits for a reading that began after this call.
async fn fresh(seen: &mut watch::Receiver<Seen>) -> Result<watch::Ref<'_, Seen>> {
    // The next one may have begun already.
    let enough = seen.borrow().readings + 2;
    Ok(seen.wait_for(|seen| seen.readings >= enough).await?)
}

async fn read(simulator: Arc<Simulator>, tell: watch::Sender<Seen>) {
    #[derive(Deserialize)]
    struct Page {
        last_seq: u64,
        entries: Vec<Entry>,
    }
    let mut since = 0;
    loop {
        let page = simulator.control(Method::GET, &format!("/journal?since={since}"), None).await;
        // One that does not answer is asked again: who waits for it has a timeout.
        if let Ok(Ok(page)) = page.map(serde_json::from_value::<Page>) {
            let now = Timestamp::now();
            let open = page.entries.iter().filter(|entry| !entry.is_final(now)).map(|entry| entry.seq - 1).min();
            since = open.unwrap_or(page.last_seq);
            tell.send_modify(|seen| {
                seen.readings += 1;
                for entry in page.entries {
                    let secret = entry.secret_id.clone().unwrap_or_default();
                    seen.by_secret.entry(secret).or_default().insert(entry.seq, entry);
                }
            });
        }
        sleep(PACE).await;
    }
}
