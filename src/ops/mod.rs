//! What the people who run the operator see: logs, metrics, probes, events. Nothing here decides or fails a reconcile.

pub mod events;
pub mod health;
pub mod metrics;
pub mod telemetry;
