//! How a lobby chooses among its pools: part of the relay table ([`super::table`]).

use serde::{Deserialize, Serialize};

/// A lobby's settings of routing. What is not said is as if the whole was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Routing {
    /// For whom a session of several parties is placed.
    pub strategy: Strategy,
    /// Where sessions go that find no room where it is best.
    pub overflow: Overflow,
    /// Which relay of a pool they go to.
    pub inside: Inside,
    /// How far pools may be for a request that still waits, step by step; beyond the last step, any distance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<Cap>,
    /// What holds for single regions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionRule>,
}

impl Routing {
    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What holds for a region.
    pub fn rule(&self, region: &str) -> Option<&RegionRule> {
        self.regions.iter().find(|rule| rule.name == region)
    }

    /// Whether any region has this residency.
    pub fn has_residency(&self, residency: &str) -> bool {
        self.regions.iter().any(|rule| rule.residency.as_deref() == Some(residency))
    }
}

/// For whom a session of several parties is placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// The party with the longest round trip.
    #[default]
    Worst,
    /// All parties alike: the average round trip.
    Average,
    /// The host alone.
    Host,
}

/// Where sessions go that find no room where it is best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// To the next best pool.
    #[default]
    Nearest,
    /// To the next best pool of the same residency; where the best one has none, of its region.
    SameResidency,
    /// To no other region.
    Never,
}

/// Which relay of a pool sessions go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inside {
    /// The fullest that has room.
    #[default]
    Pack,
    /// The emptier of two that chance names.
    Spread,
}

/// How far a pool may be for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cap {
    /// Largest estimated round trip, in milliseconds.
    pub at_most_ms: u32,
    /// For how many seconds of waiting.
    pub for_seconds: u32,
}

/// What holds for one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionRule {
    /// Name of the region.
    pub name: String,
    /// Where its sessions reside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<String>,
    /// Regions of a higher number are used only when no region of a lower one has room.
    #[serde(default)]
    pub priority: u32,
    /// How far it counts, in percent of what is estimated.
    #[serde(default = "as_far_as_it_is")]
    pub distance_percent: u32,
}

fn as_far_as_it_is() -> u32 {
    100
}
