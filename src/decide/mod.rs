//! Decisions: plain functions of values and `now`.
//!
//! Nothing here is async, holds a client, reads a clock, or is random; `tests/architecture.rs` holds that.

pub mod address;
pub mod authority;
pub mod backoff;
pub mod cuts;
pub mod dns;
pub mod drain;
pub mod drift;
pub mod events;
pub mod exposition;
#[cfg(test)]
mod fixtures;
pub mod geo;
pub mod grant;
pub mod heard;
pub mod identity;
pub mod invite;
pub mod keyring;
pub mod keys;
pub mod lease;
pub mod listening;
pub mod measure;
pub mod mux;
pub mod name;
pub mod networks;
pub mod plan;
pub mod presence;
pub mod quota;
pub mod regions;
pub mod relays;
pub mod replay;
pub mod room;
pub mod route;
pub mod sampled;
pub mod scale;
pub mod seats;
pub mod selector;
pub mod sessions;
pub mod status;
pub mod token;
pub mod valid;
pub mod waiting;
