//! The shell around the rules: watches fill caches, events wake objects, and each pass goes
//! `observe → domain::decide → apply`.
//!
//! Holds no rule of behaviour. One bad object harms only itself: what cannot be parsed is skipped and reported, what
//! panics is caught, what hangs is cut off.

mod apply;
mod cache;
mod compare;
mod connection;
mod connections;
mod context;
mod error;
mod gate;
mod guard;
mod index;
mod look;
mod memory;
mod news;
mod pass;
mod patch;
mod queue;
mod secrets;
mod survey;
mod sweep;
mod target;
mod turns;
mod wants;
mod watches;
mod write;

pub use connections::Connections;
pub use context::{Ctx, Places, Waker, Wakers};
pub use error::Error;
pub use index::Index;
pub use memory::Memories;
pub use secrets::SecretCache;
pub use sweep::{Organization, Sweeps};
pub use watches::{Setup, run};
