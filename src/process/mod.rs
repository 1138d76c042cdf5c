//! What all processes share: the clock, who is believed, serving with limits, TLS, the control port, open files, where is listened, the relay table's way in, health, telemetry, metrics, shutdown.

pub mod callers;
pub mod clock;
pub mod control;
pub mod files;
pub mod geoip;
pub mod health;
pub mod http;
pub mod listen;
pub mod metrics;
pub mod peers;
pub mod secret;
pub mod shutdown;
pub mod sse;
pub mod table;
pub mod telemetry;
pub mod tls;
