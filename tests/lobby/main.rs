//! The real lobby on loopback, with relays that only speak the link.
#![allow(unreachable_pub, reason = "the modules of a test binary share what they like")]

mod api;
mod control;
mod cors;
mod fake_relay;
mod guests;
mod keys;
mod links;
#[path = "../support/mmdb.rs"]
mod mmdb;
mod origins;
mod placing;
#[path = "../store/server.rs"]
mod redis;
mod regions;
mod relays;
mod routing;
mod waiting;
mod world;
