//! The real relay in this process, on loopback, against a lobby that is played by the test: real sockets, real keys,
//! real tokens. Each test has ports and keys of its own.

#![expect(clippy::panic, reason = "a test fails by panicking")]

mod addressed;
mod join;
mod keys;
mod life;
mod link;
mod orders;
mod probes;
mod process;
mod rooms;
mod support;
