//! Which request is meant, and what becomes of it.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::{mpsc, oneshot};

use super::Request;

/// Before a request reaches the apiserver, or after the apiserver has answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The apiserver does not know of the request.
    Before,
    /// The request has taken effect, and the client does not know.
    After,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It waits for the test, which is told of it by [`Armed::hit`].
    Hold(Moment),
    /// The connection is closed without an answer.
    Drop(Moment),
    /// It goes on later. The time runs before it is forwarded.
    Delay(Duration),
    /// It is answered with this status and a Kubernetes `Status`, forwarded or not.
    Answer {
        /// [`Moment::Before`]: it is not forwarded. [`Moment::After`]: it took effect, whatever the answer says.
        moment: Moment,
        /// The HTTP status.
        status: u16,
        /// Seconds for the header Retry-After.
        retry_after: Option<u32>,
    },
    /// It is not forwarded, but answered with status 200 and this JSON: what was true once, for one.
    Replay(String),
    /// A list is forwarded with this page size, whatever the client asked for.
    PageSize(u32),
}

type Predicate = Box<dyn Fn(&Request) -> bool + Send + Sync>;

/// Requests, by what they ask for. Without more, the first that matches.
#[must_use = "a rule acts once it is added to a proxy"]
pub struct Rule {
    /// Absent: any.
    call: Option<(String, String)>,
    predicates: Vec<Predicate>,
    first: usize,
    every: usize,
    times: usize,
}

impl Rule {
    /// Requests with a verb, such as `patch`, for a resource with its subresource, such as `secretversions/status`.
    pub fn on(verb: &str, resource: &str) -> Self {
        Self { call: Some((verb.to_owned(), resource.to_owned())), ..Self::any() }
    }

    /// Requests that ask for a change, but for those of Leases: a leader that cannot renew its own ends.
    pub fn on_writes() -> Self {
        Self::any().when(|request| request.is_write() && request.resource != "leases")
    }

    fn any() -> Self {
        Self { call: None, predicates: Vec::new(), first: 1, every: 1, times: 1 }
    }

    /// Only in this namespace.
    pub fn namespace(self, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        self.when(move |request| request.namespace == namespace)
    }

    /// Only for the object of this name.
    pub fn name(self, name: &str) -> Self {
        let name = name.to_owned();
        self.when(move |request| request.name == name)
    }

    /// Only where `predicate` is true of the request.
    pub fn when(mut self, predicate: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.predicates.push(Box::new(predicate));
        self
    }

    /// Not the first match, but the `n`th, counted from 1.
    pub fn nth(mut self, n: usize) -> Self {
        self.first = n;
        self
    }

    /// Of the matches only each `n`th, beginning with the first, or the [`nth`](Rule::nth).
    pub fn every(mut self, n: usize) -> Self {
        self.every = n;
        self
    }

    /// This many matches, not one.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Every match from the first, or the [`nth`](Rule::nth), on.
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    pub(super) fn arm(self, action: Action) -> (Scripted, Armed) {
        let (tell, hits) = mpsc::unbounded_channel();
        let what = self
            .call
            .as_ref()
            .map_or_else(|| "any request".to_owned(), |(verb, resource)| format!("{verb} {resource}"));
        let armed = Armed { hits, what };
        (Scripted { rule: self, action, matched: 0, tell }, armed)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("call", &self.call)
            .field("first", &self.first)
            .field("every", &self.every)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

/// A rule in force.
#[derive(Debug)]
pub(super) struct Scripted {
    rule: Rule,
    action: Action,
    matched: usize,
    tell: mpsc::UnboundedSender<Held>,
}

impl Scripted {
    /// Whether it acts on this request, which is counted.
    pub(super) fn strikes(&mut self, request: &Request) -> bool {
        let rule = &self.rule;
        let called = |(verb, resource): &(String, String)| *verb == request.verb && *resource == request.resource;
        if !rule.call.as_ref().is_none_or(called) || !rule.predicates.iter().all(|predicate| predicate(request)) {
            return false;
        }
        self.matched += 1;
        let Some(since) = self.matched.checked_sub(rule.first) else { return false };
        since.is_multiple_of(rule.every) && since / rule.every < rule.times
    }

    pub(super) fn verdict(&self) -> Verdict {
        Verdict { action: self.action.clone(), tell: self.tell.clone() }
    }
}

/// What becomes of one request, and who is told.
pub(super) struct Verdict {
    pub(super) action: Action,
    tell: mpsc::UnboundedSender<Held>,
}

impl Verdict {
    /// Tells the test of the request. Whatever the action, so that a test can wait for any of them.
    pub(super) fn tell(&self, request: &Request) -> Release {
        let (release, released) = oneshot::channel();
        // A test that has dropped its rule does not want to know; the request is then cut.
        let _ = self.tell.send(Held { request: request.clone(), release });
        Release(released)
    }
}

/// The test's answer, to come.
pub(super) struct Release(oneshot::Receiver<()>);

impl Release {
    /// Whether the request goes on; it is cut where not.
    pub(super) async fn goes_on(self) -> bool {
        self.0.await.is_ok()
    }
}

/// A rule in force, as its test sees it.
#[derive(Debug)]
#[must_use = "a held request is cut when nobody can be told of it"]
pub struct Armed {
    hits: mpsc::UnboundedReceiver<Held>,
    what: String,
}

impl Armed {
    /// Waits for the next request that the rule acts on: at its arrival, or once the apiserver has answered where the
    /// action comes after that. For ever where none comes, so put a timeout around it.
    pub async fn hit(&mut self) -> Result<Held> {
        self.hits.recv().await.with_context(|| format!("the rule on {} is no longer in force", self.what))
    }

    /// The next request that the rule has acted on already, if there is one.
    pub fn try_hit(&mut self) -> Option<Held> {
        self.hits.try_recv().ok()
    }
}

/// A request that a rule acts on. Where the action is [`Action::Hold`] it waits; dropped, it is cut.
#[derive(Debug)]
pub struct Held {
    request: Request,
    release: oneshot::Sender<()>,
}

impl Held {
    /// What it asks for.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Lets it go on: to the apiserver, or back to the client.
    pub fn release(self) {
        // The client may have died meanwhile.
        let _ = self.release.send(());
    }

    /// Closes its connection. One that was held before the apiserver saw it never reaches it.
    pub fn cut(self) {
        drop(self);
    }
}
