//! The rules, pure: no client, clock, random numbers or runtime. Effects are data.
//!
//! [`decide::decide`] maps what was [`observed`] to the next [`step`]: look at something, do something, or rest. Each
//! rule of behaviour lives here, in one place, with its table of tests beside it.

pub mod access;
pub mod backoff;
pub mod budget;
pub mod class;
pub mod condition;
pub mod create;
pub mod decide;
pub mod delete;
pub mod follow;
pub mod hold;
pub mod lane;
pub mod managed;
pub mod moved;
pub mod observed;
pub mod outcome;
pub mod owner;
pub mod place;
pub mod projection;
pub mod protect;
pub mod reason;
pub mod record;
pub mod refresh;
pub mod shard;
pub mod step;
pub mod told;
pub mod twins;

#[cfg(test)]
mod tests;
