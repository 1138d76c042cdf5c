//! The lobby's own keys, read once at start. A Secret that changes is a new rollout, never a surprise in a running lobby.

use std::path::Path;

use anyhow::Context as _;

use crate::decide::token::{SigningKey, VerifyKeys};
use crate::process::secret;

/// Shortest admin token that is taken.
const ADMIN_TOKEN_LENGTH: usize = 16;

/// What the lobby signs with and believes.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) signing: SigningKey,
    pub(super) jwks: serde_json::Value,
    /// For the records that come back.
    pub(super) verify: VerifyKeys,
    pub(super) admin_token_hash: String,
}

impl Keys {
    /// Reads `signing-key.pem` and `admin-token`.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let (pem, path) = read(folder, "signing-key.pem")?;
        let signing = SigningKey::from_pem(&pem).with_context(|| path)?;
        let (token, path) = read(folder, "admin-token")?;
        let token = token.trim();
        anyhow::ensure!(token.len() >= ADMIN_TOKEN_LENGTH, "{path}: shorter than {ADMIN_TOKEN_LENGTH} characters");
        let jwks = signing.jwks();
        let verify = VerifyKeys::from_jwks(&jwks).context("the public half of the signing key")?;
        Ok(Self { signing, jwks, verify, admin_token_hash: secret::hash(token) })
    }
}

fn read(folder: &Path, name: &str) -> anyhow::Result<(String, String)> {
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((text, path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

    use super::*;
    use crate::decide::token::pkcs8_pem;

    #[test]
    fn a_missing_or_broken_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let failure = || format!("{:#}", Keys::read(folder.path()).expect_err("not readable"));
        assert!(failure().contains("signing-key.pem"), "{}", failure());
        std::fs::write(folder.path().join("signing-key.pem"), "no key").expect("written");
        assert!(failure().contains("signing-key.pem") && failure().contains("P-256"), "{}", failure());
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        std::fs::write(folder.path().join("signing-key.pem"), pkcs8_pem(&pair).expect("PEM")).expect("written");
        assert!(failure().contains("admin-token"), "{}", failure());
        std::fs::write(folder.path().join("admin-token"), "short\n").expect("written");
        assert!(failure().contains("admin-token"), "{}", failure());
        std::fs::write(folder.path().join("admin-token"), "0123456789abcdef\n").expect("written");
        let keys = Keys::read(folder.path()).expect("both are there");
        assert!(secret::matches("0123456789abcdef", &keys.admin_token_hash));
    }
}
