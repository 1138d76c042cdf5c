//! Answers for clients that know only a name: which relays a name means, for whoever asks.
//!
//! One zone is answered for, and in it: the zone itself and services below it (the nearest pool's relays), each region and
//! pool by its name, and each relay by its own. Which pool is nearest is [`super::route`]'s choice, the same as for a
//! session. What it must not do: read or write messages (that is the router's), keep time, or know sockets.
//!
//! Whatever is not known is left out of the choice and never stands for "full" or "gone": while any relay takes new sessions
//! of those to which the lobby's rules let an asker overflow, the zone's name has an address.

mod addresses;
mod answer;
mod atlas;
mod endpoint;
mod limit;
mod name;
mod subnet;

pub use addresses::Addresses;
pub use answer::{Answer, Asker, Code, Data, Kind, Nameserver, Record, Zone, answer};
pub use atlas::{Atlas, Load, Need, Regions, Target, Views};
pub use endpoint::{Endpoint, Host};
pub use limit::{Due, due};
pub use name::{BadName, MAX_ZONE, Name, is_label};
pub use subnet::{Malformed, Subnet, coarse};

#[cfg(test)]
mod tests;
