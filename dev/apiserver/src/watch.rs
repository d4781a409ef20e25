//! Watches: what changed since a revision, as a stream of lines.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, stream};
use http::Response;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::{Broken, Identity, Watches};
use crate::fault::WatchFault;
use crate::http::{Body, Request, shown};
use crate::kinds::Kind;
use crate::list::revision;
use crate::refusal::Refusal;
use crate::select::Selection;
use crate::server::Shared;
use crate::store::{Change, World};
use crate::write::Call;

/// How long a watch lasts that names no time.
const LONGEST: Duration = Duration::from_mins(30);
/// How often a watch tells how far it has come.
const BOOKMARKS: Duration = Duration::from_mins(1);

/// A watch that was asked for.
#[derive(Debug)]
pub(crate) struct Watch {
    request: Request,
    index: usize,
    kind: Arc<Kind>,
    selection: Selection,
    /// What is known to the client; everything later is to be told.
    cursor: u64,
    due: VecDeque<Line>,
    expired: bool,
}

#[derive(Debug)]
struct Line {
    kind: &'static str,
    object: Value,
}

/// Begins a watch.
pub(crate) fn begin(world: &World, call: &Call<'_>) -> Result<Watch, Refusal> {
    let request = call.request;
    if request.query.contains_key("sendInitialEvents") {
        return Err(Refusal::not_modelled("streaming lists"));
    }
    let selection = Selection::of(&call.kind, request)?;
    let from = request.parameter("resourceVersion").map(revision).transpose()?.unwrap_or_default();
    let mut watch = Watch {
        request: request.clone(),
        index: call.index,
        kind: call.kind.clone(),
        selection,
        cursor: from,
        due: VecDeque::new(),
        expired: false,
    };
    if from == 0 {
        watch.cursor = world.revision;
        let all = world.of_kind(call.index).map(|(_, object)| object).filter(|object| watch.selection.matches(object));
        watch.due = all.map(|object| watch.line("ADDED", object)).collect();
    }
    Ok(watch)
}

impl Watch {
    fn line(&self, kind: &'static str, object: &Value) -> Line {
        Line { kind, object: shown(object, self.request.metadata_only) }
    }

    /// Takes in what happened since it last looked.
    fn catch_up(&mut self, world: &World) {
        if self.cursor < world.compacted {
            self.expired = true;
            return;
        }
        let lines: Vec<Line> = world
            .since(self.cursor)
            .filter(|change| change.key.kind == self.index)
            .filter_map(|change| self.event(change))
            .collect();
        self.due.extend(lines);
        self.cursor = self.cursor.max(world.revision);
    }

    /// A change as the selection sees it: what leaves it is deleted, what comes into it is added.
    fn event(&self, change: &Change) -> Option<Line> {
        let matches =
            |object: &Option<Arc<Value>>| object.as_ref().is_some_and(|object| self.selection.matches(object));
        let kind = match (matches(&change.before), matches(&change.after)) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        let shown = if kind == "DELETED" { change.last_seen() } else { change.after.clone() };
        shown.map(|object| self.line(kind, &object))
    }

    fn bookmark(&self) -> Line {
        let metadata = json!({"resourceVersion": self.cursor.to_string()});
        let object = json!({"kind": self.kind.name, "apiVersion": self.kind.api_version(), "metadata": metadata});
        self.line("BOOKMARK", &object)
    }
}

/// The end of a watch that cannot go on.
fn gone(watch: &Watch, compacted: u64) -> Line {
    let message = format!("too old resource version: {} ({compacted})", watch.cursor);
    Line { kind: "ERROR", object: Refusal::expired(message).status() }
}

/// The running watch: a stream that the client pulls.
struct Running {
    shared: Arc<Shared>,
    watch: Watch,
    news: watch::Receiver<u64>,
    meddling: watch::Receiver<Watches>,
    _identity: Arc<Identity>,
    cuts: u64,
    ends: Instant,
    next_bookmark: Option<Instant>,
    /// The event that is due has been judged, and is to wait until then.
    delayed_until: Option<Instant>,
    over: bool,
}

/// What to do next.
enum Next {
    Send(Line),
    Wait(Instant),
    Break,
    End,
}

pub(crate) fn answer(shared: Arc<Shared>, identity: Arc<Identity>, watch: Watch) -> Response<Body> {
    let seconds = watch.request.parameter("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
    let lasts = seconds.map_or(LONGEST, Duration::from_secs);
    let bookmarks = watch.request.parameter("allowWatchBookmarks") == Some("true");
    let meddling = identity.watches.subscribe();
    let cuts = meddling.borrow().cuts;
    let running = Running {
        news: shared.news(),
        meddling,
        cuts,
        ends: Instant::now() + lasts,
        next_bookmark: bookmarks.then(|| Instant::now() + BOOKMARKS),
        delayed_until: None,
        over: false,
        _identity: identity,
        shared,
        watch,
    };
    let lines = stream::unfold(running, |mut running| async move {
        if running.over {
            return None;
        }
        let line = running.next().await?;
        Some((line.map(http_body::Frame::data), running))
    });
    let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

impl Running {
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        loop {
            // Seen before looking, so that nothing that comes meanwhile is missed.
            self.news.mark_unchanged();
            self.meddling.mark_unchanged();
            match self.look() {
                Next::Send(line) => {
                    self.over |= line.kind == "ERROR";
                    let mut text = json!({"type": line.kind, "object": line.object}).to_string();
                    text.push('\n');
                    return Some(Ok(Bytes::from(text)));
                }
                Next::Break => {
                    self.over = true;
                    return Some(Err(Broken));
                }
                Next::End => return None,
                Next::Wait(until) => {
                    let (news, meddling) = (self.news.changed().fuse(), self.meddling.changed().fuse());
                    tokio::select! {
                        biased;
                        _ = news => {}
                        _ = meddling => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Next {
        let meddled = *self.meddling.borrow();
        if meddled.cuts > self.cuts {
            return Next::Break;
        }
        let now = Instant::now();
        if now >= self.ends {
            return Next::End;
        }
        if meddled.held {
            return Next::Wait(self.ends);
        }
        self.catch_up();
        let Some(line) = self.watch.due.front() else {
            if self.watch.expired {
                return self.expire();
            }
            return match self.next_bookmark {
                Some(due) if now >= due => {
                    self.next_bookmark = Some(now + BOOKMARKS);
                    Next::Send(self.watch.bookmark())
                }
                due => Next::Wait(due.map_or(self.ends, |due| due.min(self.ends))),
            };
        };
        match self.delayed_until {
            Some(until) if now < until => return Next::Wait(until.min(self.ends)),
            Some(_) => {}
            None => match self.shared.watch_fault(&self.watch.request, line.kind, &line.object) {
                WatchFault::Deliver => {}
                WatchFault::Delay(for_long) => {
                    let until = now + for_long;
                    self.delayed_until = Some(until);
                    return Next::Wait(until.min(self.ends));
                }
                WatchFault::End => return Next::End,
                WatchFault::Break => return Next::Break,
                WatchFault::Expire => return self.expire(),
            },
        }
        self.delayed_until = None;
        self.watch.due.pop_front().map_or(Next::End, Next::Send)
    }

    fn catch_up(&mut self) {
        let watch = &mut self.watch;
        self.shared.with(|world| watch.catch_up(world));
    }

    fn expire(&mut self) -> Next {
        let compacted = self.shared.with(|world| world.compacted);
        Next::Send(gone(&self.watch, compacted))
    }
}
