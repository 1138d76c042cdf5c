//! Names of the DNS as they are compared: labels in lower case. What it must not do: know which names there are.

use std::fmt;

/// Longest name that is written, in characters (RFC 1035: 255 octets with lengths and the root).
const MAX_NAME: usize = 253;
/// Longest label.
const MAX_LABEL: usize = 63;
/// Longest zone: the names of relays below it have two labels more, of up to 63 characters each.
pub const MAX_ZONE: usize = MAX_NAME - 2 * (MAX_LABEL + 1);

/// A name without its root: `["relays", "example", "com"]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Vec<String>);

/// What is wrong with a name in the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name of the DNS: labels of 1 to 63 letters, digits, dashes and underscores, with dots between them, 253 characters in all"
)]
pub struct BadName(String);

impl Name {
    /// Reads a name as people write it, with or without the dot at its end.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        let labels: Vec<&str> = bare.split('.').collect();
        if bare.len() > MAX_NAME || !labels.iter().all(|label| is_label(label)) {
            return Err(BadName(text.chars().take(MAX_NAME).collect()));
        }
        Ok(Self(labels.into_iter().map(str::to_ascii_lowercase).collect()))
    }

    /// A name as it came over the wire. Its labels may hold any bytes; what is no text equals no name of ours.
    pub fn of_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let text = |label: &[u8]| String::from_utf8_lossy(label).to_ascii_lowercase();
        Self(labels.into_iter().map(text).collect())
    }

    /// Its labels, the one that is farthest from the root first.
    pub fn labels(&self) -> &[String] {
        &self.0
    }

    /// The labels before `zone`, if this is the zone or below it.
    pub fn below(&self, zone: &Self) -> Option<&[String]> {
        self.0.strip_suffix(zone.0.as_slice())
    }

    /// The name of `labels` below this one.
    #[must_use]
    pub fn child(&self, labels: &[&str]) -> Self {
        Self(labels.iter().map(|label| label.to_ascii_lowercase()).chain(self.0.iter().cloned()).collect())
    }
}

impl fmt::Display for Name {
    /// With the dot at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|label| write!(f, "{label}."))
    }
}

/// Whether this can be one label of a name here.
pub fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_without_regard_to_case_and_the_last_dot() {
        let name = Name::parse("Relays.Example.COM.").expect("a name");
        assert_eq!(name, Name::parse("relays.example.com").expect("a name"));
        assert_eq!(name.to_string(), "relays.example.com.");
        assert_eq!(name, Name::of_labels([b"RELAYS".as_slice(), b"example", b"com"]));
        for wrong in ["", ".", "..", "a..b", "a b", "ä.example", &"a".repeat(64), &["a"; 128].join(".")] {
            assert!(Name::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn below_a_zone_is_what_ends_with_all_of_its_labels() {
        let zone = Name::parse("relays.example.com").expect("a name");
        let below = |text: &str| Name::parse(text).expect("a name").below(&zone).map(<[String]>::to_vec);
        assert_eq!(below("relays.example.com"), Some(vec![]));
        assert_eq!(below("a.b.relays.example.com"), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(below("xrelays.example.com"), None);
        assert_eq!(below("example.com"), None);
        assert_eq!(zone.child(&["A", "b"]).to_string(), "a.b.relays.example.com.");
    }
}
