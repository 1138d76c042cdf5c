//! What all processes share: the clock, serving with limits, health, telemetry, metrics, shutdown.

pub mod clock;
pub mod health;
pub mod http;
pub mod metrics;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
