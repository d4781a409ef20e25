//! The rules, pure: no client, clock, random numbers or runtime. Effects are data.

pub mod class;
pub mod place;
