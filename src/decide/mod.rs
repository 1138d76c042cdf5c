//! Decisions: plain functions of values and `now`.
//!
//! Nothing here is async, holds a client, reads a clock, or is random; `tests/architecture.rs` holds that.

pub mod token;
