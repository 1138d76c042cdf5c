//! One database in MaxMind's format: what is read of it, and what makes it one that can be used.

use std::collections::HashSet;
use std::net::IpAddr;

use maxminddb::{Reader, WithinOptions};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::wire::session::GeoPoint;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// One database, in memory.
#[derive(Debug)]
pub struct Database {
    reader: Reader<Vec<u8>>,
    /// When it was built, seconds since 1970.
    pub built_at: i64,
    /// Whether any of its records has coordinates.
    pub has_places: bool,
    /// Whether any of its records names an autonomous system.
    pub has_systems: bool,
}

/// Why bytes are no database that is of use here.
#[derive(Debug, thiserror::Error)]
pub enum BadDatabase {
    /// No mmdb, or a broken one.
    #[error("it is broken: {0}")]
    Broken(#[from] maxminddb::MaxMindDbError),
    /// A tree that runs into itself.
    #[error("it is broken: its tree does not end")]
    Endless,
    /// A database of something else.
    #[error(
        "none of its records has coordinates or the number of an autonomous system: {0} says nothing of places or networks"
    )]
    NoPlaces(String),
}

/// What is read of a record: coordinates, as MaxMind writes them, or at its top as other databases do; and the number of an
/// autonomous system, as databases of these have it.
#[derive(Deserialize)]
struct Record {
    autonomous_system_number: Option<u32>,
    location: Option<Location>,
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
}

#[derive(Deserialize)]
struct Location {
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
}

/// A float of either size: asked for one of them, the reader refuses the other.
#[derive(Clone, Copy)]
struct Degrees(f64);

impl<'de> Deserialize<'de> for Degrees {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Degrees(f64::NAN))
    }
}

impl Visitor<'_> for Degrees {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("degrees, a float")
    }

    fn visit_f32<E>(self, value: f32) -> Result<Self, E> {
        Ok(Self(f64::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self, E> {
        Ok(Self(value))
    }
}

impl Record {
    fn point(self) -> Option<GeoPoint> {
        let at_top = self.latitude.zip(self.longitude);
        let at = self.location.and_then(|at| at.latitude.zip(at.longitude)).or(at_top);
        let (Degrees(latitude), Degrees(longitude)) = at?;
        Some(GeoPoint { latitude, longitude })
    }
}

impl Database {
    /// The database of these bytes, each of its records read once: a broken one is told now and not when somebody asks.
    /// (The library's own check also refuses what lacks a description, as good databases do.)
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BadDatabase> {
        let reader = Reader::from_source(bytes)?;
        let metadata = reader.metadata();
        // A tree of so many nodes has fewer networks; one whose branches run into one another has more than one can count.
        let most = usize::try_from(metadata.node_count).unwrap_or(usize::MAX).saturating_mul(3);
        let (mut read, mut has_places, mut has_systems) = (HashSet::new(), false, false);
        for (count, network) in reader.networks(WithinOptions::default())?.enumerate() {
            let network = network?;
            if count > most {
                return Err(BadDatabase::Endless);
            }
            if network.offset().is_some_and(|offset| read.insert(offset))
                && let Some(record) = network.decode::<Record>()?
            {
                has_systems |= record.autonomous_system_number.is_some();
                has_places |= record.point().is_some();
            }
        }
        if !(has_places || has_systems) {
            return Err(BadDatabase::NoPlaces(metadata.database_type.clone()));
        }
        let built_at = i64::try_from(metadata.build_epoch).unwrap_or(i64::MAX);
        Ok(Self { reader, built_at, has_places, has_systems })
    }

    /// Of bytes that nobody has looked at.
    #[cfg(test)]
    pub(super) fn unchecked(bytes: Vec<u8>) -> Result<Self, BadDatabase> {
        Ok(Self { reader: Reader::from_source(bytes)?, built_at: 0, has_places: true, has_systems: true })
    }

    fn record(&self, address: IpAddr) -> Option<Record> {
        // An IPv6 address in a database of IPv4 alone is an error there.
        self.reader.lookup(address.to_canonical()).ok()?.decode::<Record>().ok()?
    }

    /// Where an address is, as it says; the coordinates may be anything. In any case a few microseconds: the tree is as
    /// deep as an address has bits, and the library bounds what is decoded of a record.
    pub fn locate(&self, address: IpAddr) -> Option<GeoPoint> {
        self.record(address)?.point()
    }

    /// The number of the autonomous system of which an address is, as it says.
    pub fn system(&self, address: IpAddr) -> Option<u32> {
        self.record(address)?.autonomous_system_number
    }

    /// Whether it has been built so many days ago; `None` = as old as one likes.
    pub(super) fn is_old(&self, most_days: Option<u32>, now: i64) -> bool {
        most_days.is_some_and(|days| now.saturating_sub(self.built_at) > i64::from(days) * DAY)
    }
}
