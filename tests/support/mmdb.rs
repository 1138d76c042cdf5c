//! Writes databases of places in MaxMind's format, as small as a test wants them.

#![allow(clippy::panic, reason = "a database that cannot be made is a fault of the test")]
#![allow(dead_code, reason = "each layer uses its part")]

use std::net::IpAddr;

/// Bits of a record in the tree, of which a node has two.
const RECORD_BYTES: usize = 3;
/// Behind the tree, and before the records' values.
const SEPARATOR: [u8; 16] = [0; 16];
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// How a record says where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `{location: {latitude, longitude}}`, as MaxMind and DB-IP write.
    Nested,
    /// `{latitude, longitude}`, in small floats.
    Flat,
    /// A country and no coordinates.
    Country,
    /// The number of an autonomous system, as MaxMind and DB-IP write.
    System(u32),
}

/// A database, IPv6 with IPv4 at its beginning, of networks and their coordinates.
pub(crate) fn database(style: Style, built_at: u64, networks: &[(&str, f64, f64)]) -> Vec<u8> {
    let mut tree = Tree(vec![[None; 2]]);
    let mut data = Vec::new();
    for (network, latitude, longitude) in networks {
        let (address, bits) = network.split_once('/').expect("a network");
        let (bits_of, length) = match address.parse().expect("an address") {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 96 + bits.parse::<usize>().expect("a length")),
            IpAddr::V6(v6) => (v6.to_bits(), bits.parse().expect("a length")),
        };
        tree.insert(bits_of, length, data.len());
        record(&mut data, style, *latitude, *longitude);
    }
    let nodes = tree.0.len();
    let mut bytes = tree.bytes();
    bytes.extend(SEPARATOR);
    bytes.extend(data);
    bytes.extend(MARKER);
    metadata(&mut bytes, nodes, built_at);
    bytes
}

/// Where a branch of a node leads.
#[derive(Clone, Copy)]
enum To {
    Node(usize),
    Data(usize),
}

struct Tree(Vec<[Option<To>; 2]>);

impl Tree {
    fn insert(&mut self, address: u128, length: usize, data: usize) {
        let mut node = 0;
        for depth in 0..length {
            let bit = usize::from(address >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                self.0[node][bit] = Some(To::Data(data));
                return;
            }
            node = match self.0[node][bit] {
                Some(To::Node(next)) => next,
                Some(To::Data(_)) => panic!("networks must not lie in one another"),
                None => {
                    self.0.push([None; 2]);
                    let next = self.0.len() - 1;
                    self.0[node][bit] = Some(To::Node(next));
                    next
                }
            };
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let count = self.0.len();
        let value = |to: &Option<To>| match to {
            None => count,
            Some(To::Node(node)) => *node,
            Some(To::Data(at)) => count + SEPARATOR.len() + at,
        };
        let records = self.0.iter().flatten().map(value);
        records
            .flat_map(|record| {
                u32::try_from(record).expect("a small tree").to_be_bytes().into_iter().skip(4 - RECORD_BYTES)
            })
            .collect()
    }
}

fn record(out: &mut Vec<u8>, style: Style, latitude: f64, longitude: f64) {
    let point = |out: &mut Vec<u8>| {
        map(out, 2);
        for (name, value) in [("latitude", latitude), ("longitude", longitude)] {
            text(out, name);
            if style == Style::Flat {
                head(out, 15, 4);
                #[expect(clippy::cast_possible_truncation, reason = "that is what such databases do")]
                out.extend((value as f32).to_be_bytes());
            } else {
                head(out, 3, 8);
                out.extend(value.to_be_bytes());
            }
        }
    };
    match style {
        Style::Flat => point(out),
        Style::Nested => {
            map(out, 1);
            text(out, "location");
            point(out);
        }
        Style::Country => {
            map(out, 1);
            text(out, "country");
            text(out, "NZ");
        }
        Style::System(number) => {
            map(out, 1);
            text(out, "autonomous_system_number");
            head(out, 6, 4);
            out.extend(number.to_be_bytes());
        }
    }
}

fn metadata(out: &mut Vec<u8>, nodes: usize, built_at: u64) {
    map(out, 9);
    for (name, kind, value) in [
        ("binary_format_major_version", 5, 2),
        ("binary_format_minor_version", 5, 0),
        ("build_epoch", 9, built_at),
        ("ip_version", 5, 6),
        ("node_count", 6, nodes as u64),
        ("record_size", 5, RECORD_BYTES as u64 * 8),
    ] {
        text(out, name);
        let bytes = value.to_be_bytes();
        let skipped = bytes.iter().take_while(|byte| **byte == 0).count();
        head(out, kind, 8 - skipped);
        out.extend(&bytes[skipped..]);
    }
    text(out, "database_type");
    text(out, "Test-City");
    text(out, "description");
    map(out, 1);
    text(out, "en");
    text(out, "Made by a test");
    text(out, "languages");
    head(out, 11, 0);
}

fn map(out: &mut Vec<u8>, entries: usize) {
    head(out, 7, entries);
}

fn text(out: &mut Vec<u8>, text: &str) {
    head(out, 2, text.len());
    out.extend(text.as_bytes());
}

/// The byte before a value, or two: its kind and its size.
fn head(out: &mut Vec<u8>, kind: u8, size: usize) {
    let size = u8::try_from(size).ok().filter(|size| *size < 29).unwrap_or_else(|| panic!("too long a value"));
    if kind < 8 {
        out.push(kind << 5 | size);
    } else {
        out.extend([size, kind - 7]);
    }
}
