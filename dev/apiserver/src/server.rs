//! The server as a test sees it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::watch as news;
use tokio::time::Instant;

use crate::client::Client;
use crate::fault::{self, Fault, Faults, WatchFault};
use crate::http::{Request, Verb, gone, shown};
use crate::journal::Entry;
use crate::kinds::{Kind, Kinds};
use crate::refusal::Refusal;
use crate::store::{Key, World};
use crate::watch::{self, Watch};
use crate::write::{self, Call, How, Written};
use crate::{garbage, list, object, patch};

/// When time begins, unless a test brings its own clock: 2026-01-01T00:00:00Z.
const EPOCH: i64 = 1_767_225_600;

/// An apiserver. Clones are the same server.
#[derive(Debug, Clone)]
pub struct ApiServer {
    shared: Arc<Shared>,
}

/// Kinds, read once for many servers.
#[derive(Debug, Clone)]
pub struct Definitions(Kinds);

impl Definitions {
    /// Reads `CustomResourceDefinitions`, as [`Builder::definitions`] does.
    pub fn read(yaml: &[String]) -> Self {
        Self(yaml.iter().fold(ApiServer::builder(), |builder, yaml| builder.definitions(yaml)).kinds)
    }
}

/// What can be chosen about a server.
pub struct Builder {
    kinds: Kinds,
    namespaces: Vec<String>,
    clock: Option<Box<dyn Fn() -> Timestamp + Send>>,
    uid: Option<Box<dyn FnMut() -> String + Send>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("namespaces", &self.namespaces).finish_non_exhaustive()
    }
}

impl Builder {
    /// Installs `CustomResourceDefinitions`, from YAML of one document or of many. What cannot be read is left out.
    #[must_use]
    pub fn definitions(mut self, yaml: &str) -> Self {
        for definition in serde_saphyr::from_multiple::<Value>(yaml).into_iter().flatten() {
            self.kinds.define(&definition);
        }
        self
    }

    /// Has the kinds that were read before, in place of any other.
    #[must_use]
    pub fn defined(mut self, definitions: &Definitions) -> Self {
        self.kinds = definitions.0.clone();
        self
    }

    /// Has a namespace from the beginning, beside `default`.
    #[must_use]
    pub fn namespace(mut self, name: &str) -> Self {
        self.namespaces.push(name.to_owned());
        self
    }

    /// Takes times from here. Without it they follow tokio's clock, from the first second of 2026 on.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> Timestamp + Send + 'static) -> Self {
        self.clock = Some(Box::new(now));
        self
    }

    /// Takes UIDs from here. Without it they are counted.
    #[must_use]
    pub fn uids(mut self, next: impl FnMut() -> String + Send + 'static) -> Self {
        self.uid = Some(Box::new(next));
        self
    }

    /// Starts the server.
    pub fn start(self) -> ApiServer {
        let clock = self.clock.unwrap_or_else(|| Box::new(counted_clock()));
        let uid = self.uid.unwrap_or_else(|| Box::new(counted_uids()));
        let mut world = World::new(self.kinds, clock, uid);
        world.seed_namespace("default");
        self.namespaces.iter().for_each(|name| world.seed_namespace(name));
        let revision = world.revision;
        let shared = Shared {
            world: Mutex::new(world),
            faults: Mutex::new(Box::new(fault::None)),
            revision: news::Sender::new(revision),
        };
        ApiServer { shared: Arc::new(shared) }
    }
}

fn counted_clock() -> impl Fn() -> Timestamp {
    let (begin, zero) = (Instant::now(), Timestamp::from_second(EPOCH).unwrap_or_default());
    move || zero + SignedDuration::try_from(begin.elapsed()).unwrap_or_default()
}

fn counted_uids() -> impl FnMut() -> String {
    let mut last = 0_u64;
    move || {
        last += 1;
        format!("00000000-0000-4000-8000-{last:012}")
    }
}

impl ApiServer {
    /// A server with the kinds of Kubernetes that are modelled.
    pub fn builder() -> Builder {
        Builder { kinds: Kinds::builtin(), namespaces: Vec::new(), clock: None, uid: None }
    }

    /// A new client. Two of the same name are two processes, of which each can be cut off by itself.
    pub fn client(&self, name: &str) -> Client {
        Client::new(self.shared.clone(), name)
    }

    /// From now on, these decide what goes wrong.
    pub fn set_faults(&self, faults: impl Faults + 'static) {
        *self.shared.faults() = Box::new(faults);
    }

    /// From now on, nothing goes wrong.
    pub fn clear_faults(&self) {
        self.set_faults(fault::None);
    }

    /// All requests so far, in the order of their arrival.
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.with(|world| world.journal.clone())
    }

    /// The current revision.
    pub fn revision(&self) -> u64 {
        self.shared.with(|world| world.revision)
    }

    /// Forgets all history: who is behind has to list anew.
    pub fn compact(&self) {
        self.shared.change(|world| world.compact(world.revision));
    }

    /// Installs `CustomResourceDefinitions`, or newer ones in place of those installed.
    pub fn define(&self, yaml: &str) {
        let definitions = serde_saphyr::from_multiple::<Value>(yaml).unwrap_or_default();
        self.shared.change(|world| definitions.iter().for_each(|definition| world.kinds.define(definition)));
    }

    /// Deletes objects whose owners are gone, as the garbage collector does, until nothing is left to do. Answers how many
    /// writes that took.
    pub fn collect_garbage(&self) -> usize {
        self.shared.change(garbage::collect)
    }

    /// Empties namespaces that are being deleted, and removes those that are empty, as the namespace controller does.
    /// Answers how many writes that took.
    pub fn finalize_namespaces(&self) -> usize {
        self.shared.change(garbage::finalize_namespaces)
    }

    /// An object as it is stored; `resource` is `plural.group`, or `plural` of the core.
    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.shared.with(|world| {
            let (index, _) = world.kinds.named(resource)?;
            world.get(&Key::new(index, namespace, name)).map(|object| (**object).clone())
        })
    }

    /// All objects of a resource, in the order of lists.
    pub fn objects(&self, resource: &str) -> Vec<Value> {
        self.shared.with(|world| {
            let Some((index, _)) = world.kinds.named(resource) else { return Vec::new() };
            world.of_kind(index).map(|(_, object)| (**object).clone()).collect()
        })
    }
}

/// What clients and watches share.
pub(crate) struct Shared {
    world: Mutex<World>,
    faults: Mutex<Box<dyn Faults>>,
    revision: news::Sender<u64>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// What the server answers.
#[derive(Debug)]
pub(crate) enum Answer {
    Whole { code: u16, body: Value, retry_after: Option<u32> },
    Watch(Box<Watch>),
    NoSuchPath,
}

impl Answer {
    fn ok(code: u16, body: Value) -> Self {
        Self::Whole { code, body, retry_after: None }
    }

    pub(crate) fn refusal(status: u16, retry_after: Option<u32>) -> Self {
        Self::Whole { code: status, body: Refusal::of_fault(status).status(), retry_after }
    }

    fn code(&self) -> u16 {
        match self {
            Self::Whole { code, .. } => *code,
            Self::Watch(_) => 200,
            Self::NoSuchPath => 404,
        }
    }
}

impl Shared {
    fn faults(&self) -> MutexGuard<'_, Box<dyn Faults>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fault(&self, request: &Request) -> Fault {
        self.faults().request(request)
    }

    pub(crate) fn watch_fault(&self, watch: &Request, kind: &str, object: &Value) -> WatchFault {
        self.faults().event(watch, kind, object)
    }

    /// Looks at the world.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the world, and tells the watches.
    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let (outcome, revision) = {
            let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = change(&mut world);
            (outcome, world.revision)
        };
        self.revision.send_replace(revision);
        outcome
    }

    /// Tells of new revisions.
    pub(crate) fn news(&self) -> news::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Notes a request that a fault refuses.
    pub(crate) fn refuse(&self, request: Request, status: u16, retry_after: Option<u32>) -> Answer {
        let entry = Entry { at: Instant::now(), request, status: Some(status), wrote: None };
        self.with_mut(|world| world.journal.push(entry));
        Answer::refusal(status, retry_after)
    }

    fn with_mut(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Serves a request, in one step.
    pub(crate) fn handle(&self, request: Request) -> Answer {
        let is_read = matches!(request.verb, Verb::Get | Verb::List | Verb::Watch);
        let serve = |world: &mut World| {
            let before = world.revision;
            let answer = answer(world, &request);
            let wrote = (world.revision > before).then_some(world.revision);
            let status = Some(answer.code());
            world.journal.push(Entry { at: Instant::now(), request, status, wrote });
            answer
        };
        if is_read {
            let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
            serve(&mut world)
        } else {
            self.change(serve)
        }
    }
}

fn answer(world: &mut World, request: &Request) -> Answer {
    let Some((index, kind)) = world.kinds.find(&request.group, &request.version, &request.resource) else {
        return Answer::NoSuchPath;
    };
    let known = match request.subresource.as_str() {
        "" => true,
        "status" => kind.has_status,
        _ => false,
    };
    if !known || (!kind.namespaced && !request.namespace.is_empty()) {
        return Answer::NoSuchPath;
    }
    let call = Call { request, index, kind };
    execute(world, &call).unwrap_or_else(|refusal| Answer::ok(refusal.code, refusal.status()))
}

/// The longest body that is read.
const LONGEST_BODY: usize = 3 * 1024 * 1024;

fn execute(world: &mut World, call: &Call<'_>) -> Result<Answer, Refusal> {
    let request = call.request;
    if request.body.len() > LONGEST_BODY {
        return Err(Refusal::too_large(LONGEST_BODY));
    }
    let written = match request.verb {
        Verb::Get => {
            let object = call.existing(world)?;
            return Ok(Answer::ok(200, shown(&object, request.metadata_only)));
        }
        Verb::List => return Ok(Answer::ok(200, list::list(world, call)?)),
        Verb::Watch => return Ok(Answer::Watch(Box::new(watch::begin(world, call)?))),
        Verb::Create => write::create(world, call, request.json()?, How::Replaced)?,
        Verb::Update => write::replace(world, call, request.json()?)?,
        Verb::Patch => patch::patch(world, call)?,
        Verb::Delete => write::delete(world, call, &request.json()?)?,
    };
    Ok(match written {
        Written::Created(object) => Answer::ok(201, shown(&object, request.metadata_only)),
        Written::Updated(object) => Answer::ok(200, shown(&object, request.metadata_only)),
        Written::Gone(object) => Answer::ok(200, gone(&call.kind, &object)),
    })
}

/// A reference from a dependent to its owner, resolved as far as the world knows the kind.
pub(crate) fn owner_exists(world: &World, namespace: &str, owner: &Value) -> bool {
    let text = |field| object::text(owner, &[field]).unwrap_or_default();
    let of_kind = |kind: &Kind| kind.api_version() == text("apiVersion") && kind.name == text("kind");
    let Some((index, kind)) = world.kinds.all().find(|(_, kind)| of_kind(kind)) else { return true };
    let namespace = if kind.namespaced { namespace } else { "" };
    let found = world.get(&Key::new(index, namespace, text("name")));
    found.is_some_and(|found| object::meta(found, "uid") == Some(text("uid")))
}
