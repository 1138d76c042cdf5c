//! The real lobby on loopback, with relays that only speak the link.
#![allow(unreachable_pub, reason = "the modules of a test binary share what they like")]

mod api;
mod fake_relay;
mod links;
mod placing;
mod world;
