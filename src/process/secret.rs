//! Random secrets and their hashes. Secrets are compared in constant time and only as hashes.

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A random secret of 256 bits, base64url without padding (43 characters).
pub fn random_secret() -> String {
    random(32)
}

/// A random identifier of 128 bits, base64url without padding (22 characters).
pub fn random_id() -> String {
    random(16)
}

/// A random number in 0..1, to spread what would otherwise happen at once.
pub fn random_fraction() -> f64 {
    let mut buffer = [0_u8; 4];
    rand::fill(&mut buffer).expect("the operating system gives random bytes");
    f64::from(u32::from_le_bytes(buffer)) / (f64::from(u32::MAX) + 1.0)
}

/// A random number, to tell apart what several processes make without asking one another.
pub fn random_number() -> u64 {
    let mut buffer = [0_u8; 8];
    rand::fill(&mut buffer).expect("the operating system gives random bytes");
    u64::from_le_bytes(buffer)
}

/// Random bytes, for a key.
pub fn random_bytes<const BYTES: usize>() -> [u8; BYTES] {
    let mut buffer = [0; BYTES];
    rand::fill(&mut buffer).expect("the operating system gives random bytes");
    buffer
}

fn random(bytes: usize) -> String {
    let mut buffer = vec![0_u8; bytes];
    rand::fill(&mut buffer).expect("the operating system gives random bytes");
    URL_SAFE_NO_PAD.encode(buffer)
}

/// SHA-256 of a secret, base64url without padding.
pub fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}

/// Whether this is what [`hash`] could have made.
pub fn is_hash(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == digest::SHA256_OUTPUT_LEN)
}

/// Whether `secret` has this hash; takes the same time for every wrong secret.
pub fn matches(secret: &str, expected_hash: &str) -> bool {
    constant_time::verify_slices_are_equal(hash(secret).as_bytes(), expected_hash.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_its_own_hash_only() {
        let secret = random_secret();
        assert_eq!(secret.len(), 43);
        assert!(matches(&secret, &hash(&secret)));
        assert!(!matches(&random_secret(), &hash(&secret)));
        assert!(!matches("", &hash(&secret)));
        assert!(is_hash(&hash(&secret)) && !is_hash("") && !is_hash(&hash(&secret)[1..]) && !is_hash(&"=".repeat(43)));
    }
}
