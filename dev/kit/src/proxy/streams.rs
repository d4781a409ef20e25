//! Open watches: what becomes of events that the apiserver has sent and the client has not seen yet.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::lock;

/// Events that a client has not read yet. More stay with the apiserver.
const UNREAD: usize = 16;

/// What becomes of the events of one resource, in watches that are open and in those to come.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    frozen: bool,
    lag: Duration,
}

/// What one open watch is told, once.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Its connection is closed in the middle of the answer.
    Cut,
    /// It ends as a watch ends whose time is over.
    End,
    /// It ends with the event that its history is gone; what was held is thrown away.
    Expire,
    /// Its connection stays open, and nothing comes any more.
    Blackhole,
}

#[derive(Debug)]
struct Open {
    resource: String,
    orders: mpsc::UnboundedSender<Order>,
}

/// All watches of a proxy.
#[derive(Debug, Default)]
pub(super) struct Streams {
    flows: watch::Sender<BTreeMap<String, Flow>>,
    open: Mutex<Vec<Open>>,
}

/// The watches of one resource. Those that are open are told at once; what lasts holds for later ones too.
#[derive(Clone, Debug)]
#[must_use = "this only names watches"]
pub struct Watches<'a> {
    streams: &'a Streams,
    resource: String,
}

impl Watches<'_> {
    /// How many are open.
    pub fn open(&self) -> usize {
        let mut open = lock(&self.streams.open);
        open.retain(|stream| !stream.orders.is_closed());
        open.iter().filter(|stream| stream.resource == self.resource).count()
    }

    /// Closes the connections of those that are open.
    pub fn cut(&self) {
        self.order(Order::Cut);
    }

    /// Ends those that are open, as the apiserver does after a time.
    pub fn end(&self) {
        self.order(Order::End);
    }

    /// Ends those that are open with a 410: the client has to list again. What was held is thrown away.
    pub fn expire(&self) {
        self.order(Order::Expire);
    }

    /// Those that are open stay so, and nothing comes through them any more.
    pub fn blackhole(&self) {
        self.order(Order::Blackhole);
    }

    /// From now on no event arrives; all are held.
    pub fn freeze(&self) {
        self.change(|flow| flow.frozen = true);
    }

    /// What was held arrives, in order, and what comes after it.
    pub fn thaw(&self) {
        self.change(|flow| flow.frozen = false);
    }

    /// From now on each event arrives this much later, in order.
    pub fn lag(&self, by: Duration) {
        self.change(|flow| flow.lag = by);
    }

    fn order(&self, order: Order) {
        for stream in lock(&self.streams.open).iter().filter(|stream| stream.resource == self.resource) {
            // One that has ended needs no order.
            let _ = stream.orders.send(order);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Flow)) {
        self.streams.flows.send_modify(|flows| change(flows.entry(self.resource.clone()).or_default()));
    }
}

impl Streams {
    pub(super) fn of(&self, resource: &str) -> Watches<'_> {
        Watches { streams: self, resource: resource.to_owned() }
    }

    /// The client's side of a watch that the apiserver has begun to answer.
    pub(super) fn begin(&self, resource: &str, answer: reqwest::Response) -> mpsc::Receiver<io::Result<Bytes>> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (events, client) = mpsc::channel(UNREAD);
        let mut open = lock(&self.open);
        open.retain(|stream| !stream.orders.is_closed());
        open.push(Open { resource: resource.to_owned(), orders });
        let stream = Stream {
            resource: resource.to_owned(),
            answer: Some(answer),
            part: BytesMut::new(),
            held: VecDeque::new(),
            events,
        };
        tokio::spawn(stream.run(self.flows.subscribe(), ordered));
        client
    }
}

/// One watch.
struct Stream {
    resource: String,
    /// Absent once the apiserver has ended it.
    answer: Option<reqwest::Response>,
    /// The beginning of an event whose end has not come: to hold or to throw away is always a whole one.
    part: BytesMut,
    /// What has come, and when.
    held: VecDeque<(Instant, io::Result<Bytes>)>,
    events: mpsc::Sender<io::Result<Bytes>>,
}

impl Stream {
    async fn run(
        mut self,
        mut flows: watch::Receiver<BTreeMap<String, Flow>>,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) {
        while self.answer.is_some() || !self.held.is_empty() {
            let Flow { frozen, lag } = flows.borrow_and_update().get(&self.resource).copied().unwrap_or_default();
            let due = self.held.front().filter(|_| !frozen).map(|(came, _)| *came + lag);
            let events = self.events.clone();
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(order) => return self.obey(order).await,
                    None => return,
                },
                () = events.closed() => return,
                // The proxy lives as long as its streams: only a change of another resource brings nothing new.
                _ = flows.changed() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let Some((_, event)) = self.held.pop_front() else { continue };
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                came = next(&mut self.answer), if self.answer.is_some() => self.hold(came),
            }
        }
    }

    /// Takes what came, up to the end of its last event.
    fn hold(&mut self, came: Option<io::Result<Bytes>>) {
        let now = Instant::now();
        match came {
            Some(Ok(bytes)) => {
                self.part.extend_from_slice(&bytes);
                if let Some(end) = self.part.iter().rposition(|byte| *byte == b'\n') {
                    self.held.push_back((now, Ok(self.part.split_to(end + 1).freeze())));
                }
            }
            ended => {
                self.answer = None;
                self.held.extend(ended.map(|error| (now, error)));
            }
        }
    }

    async fn obey(self, order: Order) {
        let last = match order {
            Order::End => return,
            Order::Cut => Err(io::ErrorKind::ConnectionReset.into()),
            Order::Expire => {
                let status = json!({
                    "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
                    "message": "too old resource version: a fault of the test", "reason": "Expired", "code": 410,
                });
                Ok(Bytes::from(format!("{}\n", json!({ "type": "ERROR", "object": status }))))
            }
            Order::Blackhole => return self.events.closed().await,
        };
        // A client that is gone needs no end.
        let _ = self.events.send(last).await;
    }
}

async fn next(answer: &mut Option<reqwest::Response>) -> Option<io::Result<Bytes>> {
    answer.as_mut()?.chunk().await.map_err(io::Error::other).transpose()
}
