//! Convene: a Kubernetes operator and an open data plane for collaboration infrastructure.
//!
//! The arrows between modules, held by `tests/architecture.rs`:
//! `main → {operator, lobby, relay, router, client, kubectl, demo, simulate} → process, decide → wire, api`.
//! Components never import one another; they meet in [`wire`].

/// The Kubernetes contract: kinds, labels, conditions.
pub mod api;
/// The client: shares a port or a terminal, and joins one.
pub mod client;
/// Decisions: plain functions of values and `now`. No async, no client, no clock, no randomness.
pub mod decide;
/// The demo's clients.
pub mod demo;
/// Files generated from the code.
pub mod generate;
/// `kubectl convene`: what people ask of the cluster, and tell relays.
pub mod kubectl;
/// The lobby: creates sessions, picks relays, signs tokens.
pub mod lobby;
/// The operator: Kubernetes I/O around [`decide`].
pub mod operator;
/// What all processes share: serving, telemetry, metrics, shutdown, the clock.
pub mod process;
/// The relay: carries session bytes over WebSocket.
pub mod relay;
/// The router: answers clients that know only a name, by DNS and by redirects.
pub mod router;
/// Replays a scaling policy over a trace of sessions.
pub mod simulate;
/// Lobby and relay in one process, to try things without Kubernetes.
pub mod standalone;
/// Contracts between processes.
pub mod wire;
