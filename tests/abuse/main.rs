//! Attacks on a relay process (and on a lobby, where they apply to it), on loopback, bounded in number and time: what is
//! refused is told and counted, memory stays flat, and honest people lose nothing. Each file is one kind of abuse.
//!
//! `make bench-abuse` runs [`honest`], which measures what honest people feel of it.

#![expect(clippy::panic, reason = "a test fails by panicking")]

mod drain;
mod floods;
mod forge;
mod honest;
mod messages;
mod origins;
mod pivot;
mod quotas;
mod readers;
mod site;
mod slow;
#[path = "../relay/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each test binary uses a part")]
mod support;
mod tls;
mod tokens;
#[path = "../lobby/world.rs"]
#[allow(unreachable_pub, reason = "the modules of a test binary share what they like")]
mod world;
