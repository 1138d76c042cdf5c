//! The real lobby on loopback, with relays that only speak the link.
#![allow(unreachable_pub, reason = "the modules of a test binary share what they like")]

#[path = "lobby/api.rs"]
mod api;
#[path = "lobby/fake_relay.rs"]
mod fake_relay;
#[path = "lobby/links.rs"]
mod links;
#[path = "lobby/placing.rs"]
mod placing;
#[path = "lobby/world.rs"]
mod world;
