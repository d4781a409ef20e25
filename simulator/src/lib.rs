//! The ABEJA Platform Secret Manager as a local HTTP server: for tests, for demonstrations, and for
//! people who want to try a client without an account.
//!
//! | module | owns |
//! | --- | --- |
//! | `seed` | the YAML that a simulator starts from |
//! | `store` | organizations, secrets, versions; pure |
//! | `auth` | credentials and their rights |
//! | `call` | which call a request is |
//! | `wire` | shapes of answers and errors, base64 |
//! | `execute` | one call against the store; pure |
//! | `fault`, `spoil` | faults as data; spoiled answers; pure |
//! | `journal` | what was asked, and what became of it; pure |
//! | `world` | all of the above behind one lock |
//! | `api` | a request's way: journal, fault, execution, answer |
//! | `control` | `/_control`: seed, state, journal, faults, edits |
//! | `server` | sockets: serves connections, and cuts them |
//! | `args` | the command line |

mod api;
pub mod args;
mod auth;
mod call;
mod control;
mod execute;
pub mod fault;
pub mod journal;
pub mod seed;
mod server;
mod spoil;
pub mod store;
pub mod wire;
mod world;

pub use call::{Call, Operation};
pub use world::{Clock, ResetError, Simulator};
