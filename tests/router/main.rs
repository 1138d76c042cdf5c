//! The real router on loopback, asked by `dig`, through a real resolver, and by whoever means no good.
#![allow(unreachable_pub, reason = "the modules of a test binary share what they like")]

mod answers;
mod bad;
#[path = "../support/mmdb.rs"]
mod mmdb;
mod process;
mod redirects;
mod resolver;
mod sources;
mod world;
