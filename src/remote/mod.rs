//! The ABEJA Platform Secret Manager as a client: seven calls, bytes in and out, one error enum.
//!
//! | module | owns |
//! | --- | --- |
//! | `client` | the calls |
//! | `http` | one request and its answer: timeouts, caps, what failed; nothing is sent twice here |
//! | `retry` | when a safe request is sent again, and after how long |
//! | `list` | when a list that was read in pages is complete; pure |
//! | `round` | how far a look over an organization's secrets goes, page by page; pure |
//! | `allowance` | what one connection may send |
//! | `limiter` | the budget of requests |
//! | `auth` | credentials as a header |
//! | `path` | ids as parts of a URL |
//! | `tls` | which certificates are trusted |
//! | `wire` | the shapes of answers |
//! | `version` | what an answer is to the rest of the operator |
//! | `words` | what may be repeated of the remote's own words |
//! | `error` | what can go wrong |
//!
//! Nothing here knows Kubernetes, decides what to do next, or remembers anything between calls.

mod allowance;
mod auth;
mod client;
mod error;
mod http;
mod limiter;
mod list;
mod path;
mod retry;
mod round;
mod tls;
mod version;
mod wire;
mod words;

pub use allowance::Allowance;
pub use auth::Credential;
pub use client::{Client, ClientConfig, Observe};
pub use error::Error;
pub use limiter::Limiter;
pub use path::base_url;
pub use round::{Next, Round};
pub use version::{SecretInfo, SecretsPage, ServedValue, Values, Version};

pub use crate::api::v1alpha1::VersionState;
