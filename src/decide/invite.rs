//! A join link and what follows from it. `<lobby>/j/<session>#1.<pin>.<secret>`: the part behind `#` is sent to no server.
//!
//! The pin is the SHA-256 of the host's certificate. The secret has 256 bits; of it are derived, each one way, the join
//! key that the lobby knows by its hash, and the key of the proof that the guest gives inside TLS. So a lobby that lets
//! somebody in as a guest cannot give it the proof.

use aws_lc_rs::{constant_time, digest, hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Length of pin and secret in bytes.
pub const KEY_BYTES: usize = 32;
/// Longest link that is read, in bytes.
pub const MAX_LINK: usize = 2048;
/// Before the session in the path of a link.
const PATH: &str = "/j/";
/// Version of the fragment.
const VERSION: &str = "1";

/// What a link holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// Base URL of the lobby, without a slash at its end.
    pub lobby: String,
    /// Session id.
    pub session: String,
    /// SHA-256 of the host's certificate (DER).
    pub pin: [u8; KEY_BYTES],
    /// The secret.
    pub secret: Secret,
}

impl std::fmt::Debug for Invite {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Invite")
            .field("lobby", &self.lobby)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// What a guest of a session knows and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; KEY_BYTES]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// What was given is not a join link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// It does not begin as one.
    #[error("not a join link: it must look like https://lobby.example/j/<session>#1.<pin>.<secret>")]
    Form,
    /// The part behind `#` is missing or cut off.
    #[error(
        "the join link is cut off: the part behind # is missing or not whole; copy all of it, in quotes for a shell"
    )]
    Fragment,
    /// The part behind `#` has another version.
    #[error("the join link is of another version: take the same version of convene as the host")]
    Version,
}

impl Invite {
    /// Reads a link.
    pub fn parse(link: &str) -> Result<Self, BadLink> {
        let link = link.trim();
        if link.len() > MAX_LINK || !(link.starts_with("http://") || link.starts_with("https://")) {
            return Err(BadLink::Form);
        }
        let (address, fragment) = link.split_once('#').unwrap_or((link, ""));
        let (lobby, session) = address.rsplit_once(PATH).ok_or(BadLink::Form)?;
        let known = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        if session.is_empty() || !session.chars().all(known) || lobby.contains(['?', ' ']) {
            return Err(BadLink::Form);
        }
        let mut parts = fragment.split('.');
        let (version, pin, secret) = (parts.next(), parts.next(), parts.next());
        if version.is_none_or(str::is_empty) {
            return Err(BadLink::Fragment);
        }
        if version != Some(VERSION) {
            // The lobby's own join keys, of links for other clients, have no dots.
            return Err(if pin.is_some() { BadLink::Version } else { BadLink::Fragment });
        }
        let key = |text: Option<&str>| URL_SAFE_NO_PAD.decode(text?).ok()?.try_into().ok();
        let (Some(pin), Some(secret), None) = (key(pin), key(secret), parts.next()) else {
            return Err(BadLink::Fragment);
        };
        Ok(Self { lobby: lobby.to_owned(), session: session.to_owned(), pin, secret: Secret(secret) })
    }

    /// The link, from the one without fragment that the lobby gave.
    pub fn link(bare: &str, pin: &[u8; KEY_BYTES], secret: &Secret) -> String {
        format!("{bare}#{VERSION}.{}.{}", URL_SAFE_NO_PAD.encode(pin), URL_SAFE_NO_PAD.encode(secret.0))
    }
}

/// The pin of a certificate.
pub fn pin(certificate: &[u8]) -> [u8; KEY_BYTES] {
    let mut pin = [0; KEY_BYTES];
    pin.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    pin
}

/// Whether a certificate has this pin.
pub fn has_pin(certificate: &[u8], expected: &[u8; KEY_BYTES]) -> bool {
    constant_time::verify_slices_are_equal(&pin(certificate), expected).is_ok()
}

impl Secret {
    /// Of 256 random bits.
    pub const fn new(random: [u8; KEY_BYTES]) -> Self {
        Self(random)
    }

    /// What the lobby knows by its hash.
    pub fn join_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.derive(b"convene join key 1"))
    }

    /// The proof that whoever is at the other end of a TLS connection knows the secret. `exporter` is that connection's
    /// own value, so that a proof is of no use in another.
    pub fn proof(&self, exporter: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.proof_key(), exporter))
    }

    /// Whether a proof is right; takes the same time for every wrong one.
    pub fn proves(&self, proof: &str, exporter: &[u8]) -> bool {
        let Ok(tag) = URL_SAFE_NO_PAD.decode(proof) else { return false };
        hmac::verify(&self.proof_key(), exporter, &tag).is_ok()
    }

    fn proof_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.derive(b"convene guest proof 1"))
    }

    fn derive(&self, purpose: &[u8]) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        let purposes = [purpose];
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"convene").extract(&self.0);
        let filled = prk.expand(&purposes, hkdf::HKDF_SHA256).and_then(|output| output.fill(&mut key));
        filled.expect("32 bytes are what HKDF with SHA-256 gives");
        key
    }
}

/// The code that both sides show: equal if and only if both are at the ends of one connection. Twelve digits: whoever
/// sits between the two with a link of its own would have to try 2^39 handshakes while one is going on.
pub fn security_code(exporter: &[u8], pin: &[u8; KEY_BYTES]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [b"convene security code 1".as_slice(), pin, exporter] {
        context.update(part);
    }
    let hash = context.finish();
    let number = hash.as_ref().iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let code = number % 1_000_000_000_000;
    format!("{:04} {:04} {:04}", code / 100_000_000, code / 10_000 % 10_000, code % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; KEY_BYTES])
    }

    #[test]
    fn a_link_survives_its_way() {
        let link = Invite::link("https://lobby.example/base/j/AbC-_1", &[7; KEY_BYTES], &secret(9));
        let invite = Invite::parse(&format!(" {link}\n")).expect("a link");
        assert_eq!((invite.lobby.as_str(), invite.session.as_str()), ("https://lobby.example/base", "AbC-_1"));
        assert_eq!((invite.pin, &invite.secret), ([7; KEY_BYTES], &secret(9)));
        let shown = format!("{invite:?}");
        assert!(!shown.contains(&URL_SAFE_NO_PAD.encode([9; KEY_BYTES])) && !shown.contains("[9"), "{shown}");
    }

    #[test]
    fn what_is_no_link_says_why() {
        let whole = Invite::link("http://l/j/s", &[7; KEY_BYTES], &secret(9));
        let cases = [
            ("", BadLink::Form),
            ("ftp://l/j/s#1.a.b", BadLink::Form),
            ("http://l/s#1.a.b", BadLink::Form),
            ("http://l/j/#1.a.b", BadLink::Form),
            ("http://l/j/a b#1.a.b", BadLink::Form),
            ("http://l/j/s", BadLink::Fragment),
            ("http://l/j/s#", BadLink::Fragment),
            ("http://l/j/s#lobbys-own-key", BadLink::Fragment),
            ("http://l/j/s#1.a.b", BadLink::Fragment),
            (&whole[..whole.len() - 1], BadLink::Fragment),
            (&format!("{whole}.x"), BadLink::Fragment),
            (&whole.replace("#1.", "#2."), BadLink::Version),
            (&format!("{whole}{}", "x".repeat(MAX_LINK)), BadLink::Form),
        ];
        for (link, why) in cases {
            assert_eq!(Invite::parse(link).err(), Some(why), "{link}");
        }
    }

    #[test]
    fn a_proof_is_good_for_its_secret_and_its_connection_only() {
        let proof = secret(1).proof(b"this connection");
        assert!(secret(1).proves(&proof, b"this connection"));
        assert!(!secret(1).proves(&proof, b"another"));
        assert!(!secret(2).proves(&proof, b"this connection"));
        assert!(!secret(1).proves("", b"this connection") && !secret(1).proves("%", b"this connection"));
        // What the lobby may learn is no proof, nor does it lead to one.
        assert!(!secret(1).proves(&secret(1).join_key(), b"this connection"));
        assert_ne!(secret(1).join_key(), secret(2).join_key());
        assert_eq!(secret(1).join_key().len(), 43);
    }

    #[test]
    fn the_code_depends_on_connection_and_pin() {
        let code = security_code(b"a", &[1; KEY_BYTES]);
        assert_eq!(code.len(), 14, "{code}");
        assert_ne!(code, security_code(b"b", &[1; KEY_BYTES]));
        assert_ne!(code, security_code(b"a", &[2; KEY_BYTES]));
    }
}
