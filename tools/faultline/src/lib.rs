//! A proxy before a Kubernetes API server that makes faults where a plan says so, and writes down what went through.
//!
//! A controller is pointed at a [`Door`] of the [`Proxy`]; its own token goes on to the server, so its rights are tested
//! too. [`plan`] decides what happens to a request or an event; [`target`] reads what a request is about; [`log`] is the
//! evidence. Only [`proxy`] and what it uses do I/O.

mod answer;
pub mod control;
mod door;
mod held;
pub mod log;
pub mod plan;
mod proxy;
#[cfg(test)]
mod proxy_tests;
mod recordings;
pub mod target;
mod upstream;
mod watch;

pub use door::{Door, Scope};
pub use held::{Held, Release};
pub use log::{Entry, Log};
pub use plan::{Fault, Plan, Rule, Side, When};
pub use proxy::Proxy;
pub use target::{Target, Verb};
pub use upstream::{Authority, Upstream};
