//! The state of a running simulator behind one lock. It decides nothing.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::auth::Credentials;
use crate::fault::{FaultError, Faults, Strike};
use crate::journal::{Entry, Journal};
use crate::seed::{Seed, SeedError};
use crate::store::Store;
use crate::{api, server};

/// All that requests read and change.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) credentials: Credentials,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
    /// Counts resets. What a request left to do later is dropped where this has moved on.
    pub(crate) generation: u64,
}

/// A simulator; clones are handles to the same one.
#[derive(Clone)]
pub struct Simulator {
    world: Arc<Mutex<World>>,
    keep_raw: bool,
    clock: Clock,
}

/// The wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").finish_non_exhaustive()
    }
}

/// Why a simulator could not take a seed.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// The seed contradicts itself.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// A fault in it is impossible.
    #[error(transparent)]
    Fault(#[from] FaultError),
}

impl Simulator {
    /// A simulator that holds what the seed says. With `keep_raw` its journal keeps bodies and
    /// credentials too.
    pub fn new(seed: &Seed, keep_raw: bool) -> Result<Self, ResetError> {
        Self::with_clock(seed, keep_raw, Arc::new(Timestamp::now))
    }

    /// The same with a wall clock of the caller's. Delays are always those of tokio's clock.
    pub fn with_clock(seed: &Seed, keep_raw: bool, clock: Clock) -> Result<Self, ResetError> {
        let world = World {
            store: Store::new(seed, clock())?,
            credentials: Credentials::new(&seed.credentials),
            faults: Faults::new(&seed.faults)?,
            journal: Journal::default(),
            generation: 0,
        };
        Ok(Self { world: Arc::new(Mutex::new(world)), keep_raw, clock })
    }

    /// Replaces everything but the journal.
    pub fn reset(&self, seed: &Seed) -> Result<(), ResetError> {
        let store = Store::new(seed, self.now())?;
        let faults = Faults::new(&seed.faults)?;
        let mut world = self.lock();
        world.store = store;
        world.credentials = Credentials::new(&seed.credentials);
        world.faults = faults;
        world.generation += 1;
        Ok(())
    }

    /// Serves connections until told to stop, then lets running requests end, for a few seconds.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        server::serve(listener, api::router(self.clone()), shutdown).await;
    }

    /// Answers a request in the caller's own process, under faults of the caller's own choice. `None`: the connection was
    /// cut. The request is carried out to its end only where this future is.
    pub async fn answer(&self, request: Request<Bytes>, strike: Strike) -> Option<Response<Body>> {
        api::answer(self.clone(), request, strike).await
    }

    /// What is stored, to look at and to change past the API.
    pub fn with_store<T>(&self, f: impl FnOnce(&mut Store) -> T) -> T {
        f(&mut self.lock().store)
    }

    /// Copies the journal.
    pub fn journal(&self) -> Vec<Entry> {
        self.lock().journal.since(0).cloned().collect()
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Whether the journal keeps bodies and credentials.
    pub(crate) fn keeps_raw(&self) -> bool {
        self.keep_raw
    }

    /// A panic under the lock leaves no half-made change behind that would matter more than
    /// answering the next request.
    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Counts connections from 1.
    pub(crate) connection: u64,
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// The caller's own process.
    pub(crate) const HERE: Self =
        Self { connection: 0, address: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0) };
}
