//! The key under which a control port speaks to the operator, from what stands in its Secret.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::{Invalid, Owner, is_ours, text_of};
use crate::api::condition::Reason;
use crate::decide::authority::{ControlCertificates, ControlKey};
use crate::decide::plan::names::CONTROL_KEY;
use crate::decide::token::SigningKey;

/// What there is of a control port's key, and what a new one and certificates are made of.
#[derive(Clone)]
pub struct ControlInputs<'a> {
    /// The Secret with the private key, if there is one.
    pub secret: Option<&'a Secret>,
    /// A fresh key, for an owner that has none.
    pub fresh: ControlKey,
    /// Certificates under this key: the one that is published, where it is still good, else a new one; or why this key can
    /// have none.
    pub certify: &'a (dyn Fn(&ControlKey) -> Result<ControlCertificates, String> + Send + Sync),
}

impl std::fmt::Debug for ControlInputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ControlInputs")
    }
}

/// How a control port and the operator know one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// What is published.
    pub certificates: ControlCertificates,
    /// The key, where there is none yet.
    pub new_key: Option<ControlKey>,
}

/// What is published, and the key that is to be made for an owner that has none.
pub(super) fn control(owner: &Owner, inputs: &ControlInputs<'_>) -> Result<Control, Invalid> {
    let ControlInputs { secret, fresh, certify } = inputs;
    let Some(secret) = secret else {
        // A key of our own can be certified.
        let certificates = certify(fresh).map_err(|why| Invalid::new(Reason::SecretInvalid, why))?;
        return Ok(Control { certificates, new_key: Some(fresh.clone()) });
    };
    is_ours(secret, owner)?;
    let broken = |what: String| {
        let (name, of) = (secret.name_any(), &owner.name);
        let message = format!(
            "Secret {name} of {of}: {what}. Restore it, or delete it to have a new key made (the operator then hears of these processes again within minutes; sessions go on)"
        );
        Invalid::new(Reason::SecretInvalid, message)
    };
    let key = text_of(secret, CONTROL_KEY)
        .ok_or_else(|| broken(format!("key `{CONTROL_KEY}` is missing, empty or not text")))?;
    SigningKey::from_pem(&key).map_err(|error| broken(format!("key `{CONTROL_KEY}` is {error}")))?;
    let certificates = certify(&ControlKey(key)).map_err(broken)?;
    Ok(Control { certificates, new_key: None })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::super::{LobbyInputs, PoolInputs, Software};
    use super::*;
    use crate::decide::fixtures::{self, SIGNING_KEY};
    use crate::decide::valid;

    /// What comes of this Secret, for a lobby and for a pool.
    fn both(secret: Option<&Secret>) -> [Result<Control, Invalid>; 2] {
        let labels = BTreeMap::new();
        let (lobby, pool) = (fixtures::lobby("n", "hub", json!({})), fixtures::pool("n", "hub", json!({})));
        let keys = fixtures::published_keys();
        let of_lobby =
            LobbyInputs { control: fixtures::control_inputs(secret), ..fixtures::lobby_inputs(&lobby, &labels) };
        let of_pool = PoolInputs {
            control: fixtures::control_inputs(secret),
            ..fixtures::inputs(&pool, Some(&lobby), Some(&keys), &labels)
        };
        let control = |software| match software {
            Software::Convene { control, .. } => control,
            Software::Custom(_) => panic!("its relays are Convene's own"),
        };
        [valid::lobby(of_lobby).map(|lobby| lobby.control), valid::pool(&of_pool).map(|pool| control(pool.software))]
    }

    fn secret(owner_uid: &str, key: &[u8]) -> Secret {
        let mut secret = Secret::default();
        secret.metadata.name = Some("control".to_owned());
        let owner = json!({"apiVersion": "convene.dev/v1alpha1", "kind": "Lobby", "name": "hub", "uid": owner_uid});
        secret.metadata.owner_references = Some(vec![serde_json::from_value(owner).expect("a reference")]);
        secret.data = Some([(CONTROL_KEY.to_owned(), ByteString(key.to_vec()))].into());
        secret
    }

    #[test]
    fn a_key_is_made_once_and_certified_each_time() {
        for made in both(None) {
            assert_eq!(made.expect("valid").new_key, Some(ControlKey(SIGNING_KEY.to_owned())));
        }
        for kept in both(Some(&secret("uid-of-hub", SIGNING_KEY.as_bytes()))) {
            let kept = kept.expect("valid");
            assert_eq!((kept.new_key, kept.certificates.server.as_str()), (None, "control"));
        }
    }

    #[test]
    fn what_is_broken_or_somebody_elses_is_said() {
        let foreign = secret("uid-of-somebody", SIGNING_KEY.as_bytes());
        for refused in both(Some(&foreign)) {
            assert_eq!(refused.expect_err("refused").reason, Reason::NameConflict);
        }
        for key in [&b""[..], b"no key", b"\xff"] {
            for refused in both(Some(&secret("uid-of-hub", key))) {
                let Invalid { reason, message } = refused.expect_err("refused");
                assert_eq!(reason, Reason::SecretInvalid);
                assert!(message.contains("Secret control") && message.contains("tls.key"), "{message}");
            }
        }
    }
}
