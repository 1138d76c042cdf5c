//! Fresh secrets for a lobby that has none.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use crate::decide::token;
use crate::decide::valid::LobbyKeys;
use crate::process::secret;

/// A new signing key and administrator's token.
pub(crate) fn fresh() -> LobbyKeys {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("the library makes keys on P-256");
    LobbyKeys {
        signing_key: token::pkcs8_pem(&pair).expect("a fresh key can be written"),
        admin_token: secret::random_secret(),
    }
}
