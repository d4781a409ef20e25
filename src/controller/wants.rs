//! Resources that wait for what the remote serves, where one page may answer many of them: who waits, and what came for whom.
//!
//! A pass that waits holds no place: it ends, and its resource is woken when its answer is here.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::v1alpha1::RefreshMode;
use crate::domain::class::Class;
use crate::remote::{self, Next, Round, SecretInfo, Values};

use super::context::Ctx;
use super::index::Key;
use super::memory::lock;
use super::sweep::{self, Look, Organization};

/// How long those who ask wait for others; and again while others come and more wait for their turn, as at a start: the more of
/// them are waited for, the fewer pages are read twice.
const GATHER: Duration = Duration::from_millis(20);

/// How long those who ask wait for others at the most.
const LONGEST_GATHER: Duration = Duration::from_secs(5);

/// Answers that may wait to be fetched while the next page is read: those of a page.
const ROOM: usize = 100;

/// How long answers are kept that nobody fetches.
const LONGEST_KEPT: Duration = Duration::from_secs(10);

/// Waiting longer than this for the remote's budget is worth saying so.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// What the remote serves of the secret with this id.
    Secret(String),
    /// The ids of the secrets with this name.
    Name(String),
}

/// What somebody who asks is told.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// What a page said of a secret, and when the page was asked for.
    Secret(Arc<SecretInfo>, Instant),
    /// The ids of all secrets with the name.
    Ids(Arc<[String]>),
    /// Why the list failed that would have answered.
    Failed(remote::Error),
    /// To come again when woken.
    Wait,
    /// The remote wants to be left alone until then.
    Throttled(Instant),
    /// To ask the remote by himself.
    Alone,
}

/// One organization's.
#[derive(Debug, Default)]
pub(super) struct Wants {
    inner: Mutex<Inner>,
    /// Told when somebody begins to wait.
    asked: Notify,
    /// Told when an answer was fetched.
    fetched: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// The resources that wait, by what for and UID.
    waiting: BTreeMap<(Wanted, String), Key>,
    /// What they asked for and are told, by UID.
    answers: BTreeMap<String, (Wanted, Answer)>,
}

impl Wants {
    /// Asks for something.
    pub(super) fn ask(&self, uid: &str, key: &Key, wanted: &Wanted) -> Answer {
        let mut inner = lock(&self.inner);
        if let Some((asked, answer)) = inner.answers.remove(uid) {
            drop(inner);
            self.fetched.notify_one();
            return if asked == *wanted { answer } else { Answer::Alone };
        }
        inner.waiting.insert((wanted.clone(), uid.to_owned()), key.clone());
        drop(inner);
        self.asked.notify_one();
        Answer::Wait
    }

    /// What is waited for.
    fn wanted(&self) -> Vec<Wanted> {
        let mut all: Vec<Wanted> = lock(&self.inner).waiting.keys().map(|(wanted, _)| wanted.clone()).collect();
        all.dedup();
        all
    }

    /// Whether nobody waits, nor is to fetch an answer.
    pub(super) fn is_idle(&self) -> bool {
        let inner = lock(&self.inner);
        inner.waiting.is_empty() && inner.answers.is_empty()
    }

    /// Answers that were not fetched yet.
    fn unfetched(&self) -> usize {
        lock(&self.inner).answers.len()
    }

    /// Answers all who wait for something. Gives those to wake.
    fn answer(&self, wanted: &Wanted, answer: &Answer) -> Vec<Key> {
        let mut inner = lock(&self.inner);
        // No UID comes before an empty one.
        let from = inner.waiting.range((wanted.clone(), String::new())..);
        let told: Vec<(Wanted, String)> =
            from.map(|(who, _)| who).take_while(|(what, _)| what == wanted).cloned().collect();
        let mut wake = Vec::with_capacity(told.len());
        for who in told {
            wake.extend(inner.waiting.remove(&who));
            inner.answers.insert(who.1, (who.0, answer.clone()));
        }
        wake
    }

    /// Forgets answers that nobody fetches: their resources went.
    fn forget_answers(&self) {
        lock(&self.inner).answers.clear();
    }
}

/// Serves who waits, as many at once as one look may answer.
pub(super) async fn serve(ctx: &Ctx, organization: &Organization, wants: &Wants) {
    loop {
        if tokio::time::timeout(LONGEST_KEPT, wants.asked.notified()).await.is_err() {
            wants.forget_answers();
            continue;
        }
        let (secrets, names) = split(gather(ctx, wants).await);
        if !names.is_empty() {
            // Whoever asked alone would read the same list.
            let told = resolve(ctx, organization, wants, &names).await;
            answer_all(ctx, wants, names.into_iter().map(Wanted::Name), &told);
        }
        let by_page = ctx.sweeps.mode(organization) == Some(RefreshMode::ByPage);
        // One by itself costs less than a page.
        let told =
            if by_page && secrets.len() > 1 { fetch(ctx, organization, wants, &secrets).await } else { Answer::Alone };
        answer_all(ctx, wants, secrets.into_iter().map(Wanted::Secret), &told);
    }
}

fn answer_all(ctx: &Ctx, wants: &Wants, all: impl Iterator<Item = Wanted>, answer: &Answer) {
    all.for_each(|wanted| ctx.wake_resources(wants.answer(&wanted, answer)));
}

/// Ids and names that are asked for.
fn split(all: Vec<Wanted>) -> (Vec<String>, Vec<String>) {
    let (mut ids, mut names) = (Vec::new(), Vec::new());
    for wanted in all {
        match wanted {
            Wanted::Secret(id) => ids.push(id),
            Wanted::Name(name) => names.push(name),
        }
    }
    (ids, names)
}

/// Waits while a crowd asks, but not for long. Gives what is asked for.
async fn gather(ctx: &Ctx, wants: &Wants) -> Vec<Wanted> {
    let until = Instant::now() + LONGEST_GATHER;
    let mut all = wants.wanted();
    loop {
        tokio::time::sleep(GATHER).await;
        let before = std::mem::replace(&mut all, wants.wanted());
        let is_crowd = all.len() > before.len() && ctx.backlog.load(Ordering::Relaxed) > 0;
        if !is_crowd || Instant::now() >= until {
            return all;
        }
    }
}

/// Finds what names mean, by one list of all secrets. Answers what to tell whom it does not.
async fn resolve(ctx: &Ctx, organization: &Organization, wants: &Wants, names: &[String]) -> Answer {
    let Some(client) = ctx.connections.client(&organization.connection) else { return Answer::Alone };
    let all = match client.list_secrets(&organization.id, Values::Omit).await {
        Ok(all) => all,
        Err(error) => return throttled(error.class()).unwrap_or(Answer::Failed(error)),
    };
    let mut ids: BTreeMap<&str, Vec<String>> = names.iter().map(|name| (name.as_str(), Vec::new())).collect();
    for secret in all {
        if let Some(ids) = ids.get_mut(secret.name.as_str()) {
            ids.push(secret.id);
        }
    }
    for (name, ids) in ids {
        ctx.wake_resources(wants.answer(&Wanted::Name(name.to_owned()), &Answer::Ids(ids.into())));
    }
    Answer::Alone
}

/// Reads pages with values, no faster than their readers take them. Answers what to tell those that no page did.
async fn fetch(ctx: &Ctx, organization: &Organization, wants: &Wants, secrets: &[String]) -> Answer {
    let mut round = Round::new(secrets.iter().cloned());
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
        let page = match sweep::page(ctx, organization, offset, Values::Include, PATIENCE).await {
            Ok(page) => page,
            Err(Look::Throttled(after)) => return throttled(Class::Throttled(after)).unwrap_or(Answer::Alone),
            Err(_) => return Answer::Alone,
        };
        let next = round.page(page.secrets.iter().map(|secret| secret.id.as_str()), page.has_next);
        for secret in page.secrets {
            let wanted = Wanted::Secret(secret.id.clone());
            ctx.wake_resources(wants.answer(&wanted, &Answer::Secret(Arc::new(secret), at)));
        }
        let Next::Page(next) = next else { return Answer::Alone };
        offset = next;
    }
}

/// Where the remote wants to be left alone, nobody needs to find that out by himself.
fn throttled(class: Class) -> Option<Answer> {
    match class {
        Class::Throttled(after) => Some(Answer::Throttled(Instant::now() + after)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(id: &str) -> Wanted {
        Wanted::Secret(id.into())
    }

    fn page(id: &str) -> Answer {
        let info = SecretInfo { id: id.into(), name: "n".into(), versions: Vec::new() };
        Answer::Secret(Arc::new(info), Instant::now())
    }

    #[test]
    fn one_answer_serves_all_who_wait_for_it_and_each_fetches_it_once() {
        let wants = Wants::default();
        let keys = ["a", "b"].map(|name| Key::new("n", name));
        for (uid, key) in ["1", "2"].iter().zip(&keys) {
            assert!(matches!(wants.ask(uid, key, &secret("s")), Answer::Wait));
        }
        assert_eq!(wants.wanted(), [secret("s")]);
        assert!(wants.answer(&secret("other"), &page("other")).is_empty());
        assert!(wants.answer(&Wanted::Name("s".into()), &Answer::Alone).is_empty(), "an id is no name");
        assert_eq!(wants.answer(&secret("s"), &page("s")), keys);
        assert_eq!(wants.unfetched(), 2);
        assert!(matches!(wants.ask("1", &keys[0], &secret("s")), Answer::Secret(info, _) if info.id == "s"));
        assert!(matches!(wants.ask("1", &keys[0], &secret("s")), Answer::Wait), "it was used up");
        assert!(matches!(wants.ask("2", &keys[1], &secret("another")), Answer::Alone), "the spec moved on");
        assert_eq!(wants.unfetched(), 0);
        assert!(!wants.is_idle(), "the first waits again");
    }

    #[test]
    fn who_is_told_to_see_for_himself_is_told_so_once() {
        let wants = Wants::default();
        let key = Key::new("n", "a");
        wants.ask("1", &key, &secret("s"));
        assert_eq!(wants.answer(&secret("s"), &Answer::Alone), std::slice::from_ref(&key));
        assert!(wants.wanted().is_empty());
        assert!(!wants.is_idle(), "what he was told is still there");
        assert!(matches!(wants.ask("1", &key, &secret("s")), Answer::Alone));
        assert!(wants.is_idle());
        assert!(matches!(wants.ask("1", &key, &secret("s")), Answer::Wait));
    }
}
