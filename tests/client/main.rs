//! `convene share` and `convene join` through a real lobby and real relays, all in this process.
#![allow(unreachable_pub, reason = "the modules of a test binary share what they like")]
#![allow(dead_code, reason = "what is shared with other test binaries is used in part")]

mod approval;
mod database;
mod handoff;
mod measuring;
mod moving;
mod parties;
mod programs;
#[path = "../data_plane/relay.rs"]
mod relay;
mod scene;
mod secrets;
mod standalone;
mod streams;
mod tap;
mod terminals;
mod times;
mod tls;
#[path = "../lobby/world.rs"]
mod world;
