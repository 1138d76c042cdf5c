//! The Redis store against a real Redis: that it does what the session book does, and that no seat is given twice
//! whatever the server loses.
#![allow(unreachable_pub, reason = "the modules of a test binary share what they like")]

mod address;
mod failing;
mod model;
mod planned;
mod pressure;
mod server;
mod shelf;
mod values;
