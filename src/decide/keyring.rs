//! The keys of one lobby process: which of them count, and which signs for a relay.

use std::sync::Arc;

use super::token::{KeyError, SigningKey, VerifyKeys};
use crate::wire::keys::KeySet;

/// Private keys that count, in the order in which they are preferred, and all public ones.
#[derive(Debug, Default)]
pub struct Keyring {
    signing: Vec<Arc<SigningKey>>,
    public: KeySet,
    verify: VerifyKeys,
}

impl Keyring {
    /// Of the private keys `own`, those that stand in `published` count, in its order. Where nothing is published all
    /// count, in their own order.
    pub fn new(own: &[Arc<SigningKey>], published: Option<&KeySet>) -> Result<Self, KeyError> {
        let Some(published) = published else {
            let keys = own.iter().map(|key| key.public().clone()).collect();
            let public = KeySet { version: 0, keys };
            return Ok(Self { signing: own.to_vec(), verify: VerifyKeys::from_set(&public)?, public });
        };
        let signing = published.kids().filter_map(|kid| own.iter().find(|key| key.kid() == kid)).cloned().collect();
        Ok(Self { signing, verify: VerifyKeys::from_set(published)?, public: published.clone() })
    }

    /// The key that signs for a relay which has the keys `has`: the most preferred of those. A relay that has not said
    /// (none) is taken to have what everybody has. Nothing if it has none of ours.
    pub fn signer(&self, has: &[String]) -> Option<&SigningKey> {
        let known = |key: &&Arc<SigningKey>| has.is_empty() || has.iter().any(|kid| kid == key.kid());
        self.signing.iter().find(known).map(AsRef::as_ref)
    }

    /// How many private keys count.
    pub fn signing(&self) -> usize {
        self.signing.len()
    }

    /// What everybody may know.
    pub fn public(&self) -> &KeySet {
        &self.public
    }

    /// For records that come back.
    pub fn verify(&self) -> &VerifyKeys {
        &self.verify
    }

    /// Whether another ring has the same keys in the same order, private ones and public ones.
    pub fn is_same(&self, other: &Self) -> bool {
        let kids = |ring: &Self| ring.signing.iter().map(|key| key.kid().to_owned()).collect::<Vec<_>>();
        self.public == other.public && kids(self) == kids(other)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use proptest::prelude::*;

    use super::*;
    use crate::decide::token::pkcs8_pem;

    fn key() -> Arc<SigningKey> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Arc::new(SigningKey::from_pem(&pkcs8_pem(&pair).expect("PEM")).expect("our own"))
    }

    fn set(keys: &[&Arc<SigningKey>]) -> KeySet {
        KeySet { version: 1, keys: keys.iter().map(|key| key.public().clone()).collect() }
    }

    fn kids(keys: &[&Arc<SigningKey>]) -> Vec<String> {
        keys.iter().map(|key| key.kid().to_owned()).collect()
    }

    #[test]
    fn a_new_key_signs_only_for_relays_that_have_it() {
        let (old, new, next) = (key(), key(), key());
        let own = [Arc::clone(&old), Arc::clone(&new), Arc::clone(&next)];
        let ring = Keyring::new(&own, Some(&set(&[&new, &old, &next]))).expect("good keys");
        let signs = |has: &[&Arc<SigningKey>]| ring.signer(&kids(has)).map(|key| key.kid().to_owned());
        assert_eq!(signs(&[&old]).as_deref(), Some(old.kid()));
        assert_eq!(signs(&[&next, &old, &new]).as_deref(), Some(new.kid()));
        assert_eq!(signs(&[&next]).as_deref(), Some(next.kid()));
        assert_eq!(signs(&[&key()]), None);
        assert_eq!(signs(&[]).as_deref(), Some(new.kid()), "a relay that does not say");
    }

    #[test]
    fn what_is_not_published_signs_nothing_and_what_is_not_here_only_verifies() {
        let (revoked, mine, far) = (key(), key(), key());
        let own = [Arc::clone(&revoked), Arc::clone(&mine)];
        let ring = Keyring::new(&own, Some(&set(&[&far, &mine]))).expect("good keys");
        assert_eq!(ring.signer(&kids(&[&revoked, &far, &mine])).map(SigningKey::kid), Some(mine.kid()));
        assert_eq!((ring.verify().len(), ring.public().keys.len()), (2, 2));
        let all = Keyring::new(&own, None).expect("good keys");
        assert_eq!(all.signer(&[]).map(SigningKey::kid), Some(revoked.kid()));
        assert!(!ring.is_same(&all) && all.is_same(&Keyring::new(&own, None).expect("good keys")));
    }

    #[test]
    fn a_broken_set_is_refused() {
        let broken = KeySet { version: 1, keys: vec![serde_json::json!({"kid": "x"})] };
        assert!(Keyring::new(&[key()], Some(&broken)).is_err());
    }

    proptest! {
        #[test]
        fn whoever_signs_is_known_to_the_relay_and_to_everybody(own in 0..8_u8, published in 0..8_u8, has in 0..8_u8) {
            let all = [key(), key(), key()];
            let pick = |bits: u8| all.iter().enumerate().filter(move |(i, _)| bits >> i & 1 == 1).map(|(_, key)| key);
            let own: Vec<_> = pick(own).cloned().collect();
            let published: Vec<_> = pick(published).collect();
            let has: Vec<_> = pick(has).collect();
            let ring = Keyring::new(&own, Some(&set(&published))).expect("good keys");
            let possible = |key: &Arc<SigningKey>| {
                published.iter().any(|p| p.kid() == key.kid()) && (has.is_empty() || has.iter().any(|h| h.kid() == key.kid()))
            };
            match ring.signer(&kids(&has)) {
                Some(signer) => prop_assert!(own.iter().any(|key| key.kid() == signer.kid() && possible(key))),
                None => prop_assert!(!own.iter().any(possible)),
            }
        }
    }
}
