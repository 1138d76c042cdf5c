//! The real lobby on loopback, with relays that only speak the link.
#![allow(unreachable_pub, reason = "the modules of a test binary share what they like")]

mod support;
#[path = "support/relay.rs"]
mod support_relay;

#[path = "lobby/api.rs"]
mod api;
#[path = "lobby/links.rs"]
mod links;
#[path = "lobby/placing.rs"]
mod placing;
