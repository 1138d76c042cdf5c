//! Contracts between Convene's own processes and with its clients: serde types, nothing else.
//!
//! Components never import one another; what they agree on stands here.

pub mod admin;
pub mod claims;
pub mod control;
pub mod explain;
pub mod keys;
pub mod link;
pub mod orders;
pub mod regions;
pub mod relay;
pub mod routing;
pub mod session;
pub mod stats;
pub mod table;
pub mod tunnel;
