//! A Kubernetes apiserver within a test's own process.
//!
//! It holds objects as JSON and answers the requests that the operator and its tests make, as the real one does: one
//! suite of cases runs against both. It is deterministic: no wall clock, no random number, no order of a hash map. Times
//! come from tokio's clock, which a test may pause, or from a clock of the test's own; UIDs are counted.
//!
//! ```no_run
//! # async fn example() {
//! use fake_apiserver::ApiServer;
//!
//! let server = ApiServer::builder().definitions("…the YAML of a CustomResourceDefinition…").start();
//! let operator = server.client("operator");
//! let client: kube::Client = operator.kube("default");
//! # drop(client);
//! # }
//! ```
//!
//! What it does not model answers 501, and never pretends: CEL rules, authorization, admission plugins other than the
//! life of namespaces, conversion, protobuf, websockets. Controllers do not run by themselves: a test collects garbage
//! and finalizes namespaces when it wants to ([`ApiServer::collect_garbage`], [`ApiServer::finalize_namespaces`]).
//!
//! | module | owns |
//! | --- | --- |
//! | `server` | the server as a test sees it |
//! | `client` | identities, and the service that a `kube::Client` uses |
//! | `http` | from an HTTP request to a call, from its outcome to an answer |
//! | `kinds` | which kinds there are, and their schemas |
//! | `store` | objects, revisions, history |
//! | `write` | create, update, delete |
//! | `meta` | what the apiserver does to metadata |
//! | `patch` | from a patch to an object |
//! | `fields` | who owns which field; server-side apply |
//! | `list`, `watch`, `select` | reads of many |
//! | `schema`, `strategy` | what is common to all kinds that have a schema, what is particular to one |
//! | `refusal` | answers that say no |
//! | `fault`, `journal` | what goes wrong, and what was asked |

mod client;
mod fault;
mod fields;
mod garbage;
mod http;
mod journal;
mod kinds;
mod list;
mod meta;
mod object;
mod patch;
mod refusal;
mod schema;
mod select;
mod server;
mod store;
mod strategy;
mod watch;
mod write;

pub use client::{Client, Pending};
pub use fault::{Fate, Fault, Faults, Moment, WatchFault};
pub use http::{Request, Verb};
pub use journal::Entry;
pub use server::{ApiServer, Builder, Definitions};
