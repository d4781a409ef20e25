//! Tests on a real control plane. One control plane serves them all, each in a namespace of its own.

mod admission;
mod examples;
mod installation;
mod rights;
