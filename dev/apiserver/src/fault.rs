//! What goes wrong, decided by the test for each request and for each event of a watch.

use std::time::Duration;

use serde_json::Value;

use crate::http::Request;

/// What becomes of one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fault {
    /// How long the request travels. Once it travels it arrives, even where its sender no longer waits.
    pub travel: Duration,
    /// What happens to it.
    pub fate: Fate,
    /// How long the answer travels.
    pub back: Duration,
}

impl Fault {
    /// A request that meets a fate without delay.
    pub fn of(fate: Fate) -> Self {
        Self { fate, ..Self::default() }
    }
}

/// What happens to a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fate {
    /// It is served.
    #[default]
    Serve,
    /// It is refused, and nothing is changed.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// Seconds for the header Retry-After.
        retry_after: Option<u32>,
    },
    /// It is served, and answered as if it had not been: what a server says whose store answered too late.
    ServeAndRefuse {
        /// The HTTP status.
        status: u16,
    },
    /// The connection breaks.
    Break(Moment),
    /// No answer ever comes.
    Hang(Moment),
    /// It is served, and the connection breaks in the middle of the answer.
    Truncate,
}

/// Before or after a request takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The request never arrives.
    Before,
    /// The request has taken effect.
    After,
}

/// What becomes of one event on its way to one watch. Events of one watch never overtake each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WatchFault {
    /// It arrives.
    #[default]
    Deliver,
    /// It arrives later.
    Delay(Duration),
    /// The watch ends before it, as it would at its timeout.
    End,
    /// The connection breaks before it.
    Break,
    /// The watch says that its resource version is gone: what follows is only seen by a new list.
    Expire,
}

/// Decides what goes wrong. Called in the order in which requests are sent and events come up; must not call the server.
pub trait Faults: Send {
    /// A request is sent.
    fn request(&mut self, request: &Request) -> Fault {
        let _ = request;
        Fault::default()
    }

    /// An event is due: its type, such as `ADDED`, and its object.
    fn event(&mut self, watch: &Request, kind: &str, object: &Value) -> WatchFault {
        let _ = (watch, kind, object);
        WatchFault::default()
    }
}

/// Nothing goes wrong.
pub(crate) struct None;

impl Faults for None {}
