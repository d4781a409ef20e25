//! Resources that wait for what the remote serves, where one page may answer many of them: who waits, and what came for whom.
//!
//! A pass that waits holds no place: it ends, and its resource is woken when its answer is here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::v1alpha1::RefreshMode;
use crate::remote::{Next, Round, SecretInfo, Values};

use super::context::Ctx;
use super::index::Key;
use super::memory::lock;
use super::sweep::{self, Organization};

/// How long nobody new must ask until those who do are served.
const GATHER: Duration = Duration::from_millis(20);

/// How long those who ask wait for others at the most.
const LONGEST_GATHER: Duration = Duration::from_millis(250);

/// Answers that may wait to be fetched while the next page is read: those of a page.
const ROOM: usize = 100;

/// How long answers are kept that nobody fetches.
const LONGEST_KEPT: Duration = Duration::from_secs(10);

/// What somebody who asks is told.
#[derive(Debug)]
pub(super) enum Answer {
    /// What a page said, and when the page was asked for.
    Page(Arc<SecretInfo>, Instant),
    /// To come again when woken.
    Wait,
    /// To ask the remote by himself.
    Alone,
}

/// One organization's.
#[derive(Debug, Default)]
pub(super) struct Wants {
    inner: Mutex<Inner>,
    /// Told when somebody begins to wait.
    pub(super) asked: Notify,
    /// Told when an answer was fetched.
    pub(super) fetched: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// By remote secret: the resources that wait for it, by UID.
    waiting: BTreeMap<String, BTreeMap<String, Key>>,
    /// By UID.
    answers: BTreeMap<String, Told>,
}

#[derive(Debug)]
enum Told {
    Page(Arc<SecretInfo>, Instant),
    Alone,
}

impl Wants {
    /// Asks for what the remote says of a secret.
    pub(super) fn ask(&self, uid: &str, key: &Key, secret: &str) -> Answer {
        let mut inner = lock(&self.inner);
        if let Some(told) = inner.answers.remove(uid) {
            drop(inner);
            self.fetched.notify_one();
            return match told {
                Told::Page(info, at) if info.id == secret => Answer::Page(info, at),
                _ => Answer::Alone,
            };
        }
        inner.waiting.entry(secret.to_owned()).or_default().insert(uid.to_owned(), key.clone());
        drop(inner);
        self.asked.notify_one();
        Answer::Wait
    }

    /// The secrets that are waited for.
    pub(super) fn secrets(&self) -> Vec<String> {
        lock(&self.inner).waiting.keys().cloned().collect()
    }

    /// Whether nobody waits, for a page or to fetch what one said.
    pub(super) fn is_idle(&self) -> bool {
        let inner = lock(&self.inner);
        inner.waiting.is_empty() && inner.answers.is_empty()
    }

    /// Answers that were not fetched yet.
    pub(super) fn unfetched(&self) -> usize {
        lock(&self.inner).answers.len()
    }

    /// Answers all who wait for a secret. Gives those to wake.
    pub(super) fn answer(&self, info: SecretInfo, at: Instant) -> Vec<Key> {
        let mut inner = lock(&self.inner);
        let Some(waiting) = inner.waiting.remove(&info.id) else { return Vec::new() };
        let info = Arc::new(info);
        let told = |_: &String| Told::Page(info.clone(), at);
        inner.answers.extend(waiting.keys().map(|uid| (uid.clone(), told(uid))));
        waiting.into_values().collect()
    }

    /// Lets all who still wait see for themselves. Gives those to wake.
    pub(super) fn send_away(&self) -> Vec<Key> {
        let mut inner = lock(&self.inner);
        let waiting: Vec<(String, Key)> = std::mem::take(&mut inner.waiting).into_values().flatten().collect();
        inner.answers.extend(waiting.iter().map(|(uid, _)| (uid.clone(), Told::Alone)));
        waiting.into_iter().map(|(_, key)| key).collect()
    }

    /// Forgets answers that nobody fetches: their resources went.
    pub(super) fn forget_answers(&self) {
        lock(&self.inner).answers.clear();
    }
}

/// Serves who waits, as many at once as one page may answer.
pub(super) async fn serve(ctx: &Ctx, organization: &Organization, wants: &Wants) {
    loop {
        if tokio::time::timeout(LONGEST_KEPT, wants.asked.notified()).await.is_err() {
            wants.forget_answers();
            continue;
        }
        let secrets = gather(wants).await;
        // One by itself costs less than a page.
        if secrets.len() > 1 && ctx.sweeps.mode(organization) == Some(RefreshMode::ByPage) {
            fetch(ctx, organization, wants, secrets).await;
        }
        // Whom no page answered.
        ctx.wake_resources(wants.send_away());
    }
}

/// Waits until nobody new asks for a moment, but not for long. Gives what is asked for.
async fn gather(wants: &Wants) -> Vec<String> {
    let until = Instant::now() + LONGEST_GATHER;
    let mut secrets = wants.secrets();
    loop {
        tokio::time::sleep(GATHER).await;
        let before = std::mem::replace(&mut secrets, wants.secrets());
        if before.len() == secrets.len() || Instant::now() >= until {
            return secrets;
        }
    }
}

/// Reads pages with values, no faster than their readers take them.
async fn fetch(ctx: &Ctx, organization: &Organization, wants: &Wants, secrets: Vec<String>) {
    let mut round = Round::new(secrets);
    let mut offset = 0;
    loop {
        let room = async {
            while wants.unfetched() > ROOM {
                wants.fetched.notified().await;
            }
        };
        if tokio::time::timeout(LONGEST_KEPT, room).await.is_err() {
            wants.forget_answers();
        }
        let at = Instant::now();
        let Ok(page) = sweep::page(ctx, organization, offset, Values::Include).await else { return };
        let next = round.page(page.secrets.iter().map(|secret| secret.id.as_str()), page.has_next);
        for secret in page.secrets {
            ctx.wake_resources(wants.answer(secret, at));
        }
        let Next::Page(next) = next else { return };
        offset = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: &str) -> SecretInfo {
        SecretInfo { id: id.into(), name: "n".into(), versions: Vec::new() }
    }

    #[test]
    fn one_answer_serves_all_who_wait_for_it_and_each_fetches_it_once() {
        let wants = Wants::default();
        let keys = ["a", "b"].map(|name| Key::new("n", name));
        for (uid, key) in ["1", "2"].iter().zip(&keys) {
            assert!(matches!(wants.ask(uid, key, "s"), Answer::Wait));
        }
        assert_eq!(wants.secrets(), ["s"]);
        assert!(wants.answer(info("other"), Instant::now()).is_empty());
        assert_eq!(wants.answer(info("s"), Instant::now()), keys);
        assert_eq!(wants.unfetched(), 2);
        assert!(matches!(wants.ask("1", &keys[0], "s"), Answer::Page(info, _) if info.id == "s"));
        assert!(matches!(wants.ask("1", &keys[0], "s"), Answer::Wait), "it was used up");
        assert!(matches!(wants.ask("2", &keys[1], "another"), Answer::Alone), "the spec moved on");
        assert_eq!(wants.unfetched(), 0);
        assert!(!wants.is_idle(), "the first waits again");
    }

    #[test]
    fn who_is_sent_away_sees_for_himself_once() {
        let wants = Wants::default();
        let key = Key::new("n", "a");
        wants.ask("1", &key, "s");
        assert_eq!(wants.send_away(), std::slice::from_ref(&key));
        assert!(wants.secrets().is_empty());
        assert!(!wants.is_idle(), "what he was told is still there");
        assert!(matches!(wants.ask("1", &key, "s"), Answer::Alone));
        assert!(wants.is_idle());
        assert!(matches!(wants.ask("1", &key, "s"), Answer::Wait));
    }
}
