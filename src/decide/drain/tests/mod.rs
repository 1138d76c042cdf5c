//! The machine against tables, chance and every order of events.

mod exploration;
mod explorer;
mod properties;
mod soundness;
mod tables;
mod world;
