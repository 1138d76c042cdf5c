//! The lobby of a pool: one of this cluster that admits it, or one of another that it can prove itself to.

use kube::{Resource as _, ResourceExt as _};

use super::{Invalid, Owner, PoolInputs, admits};
use crate::api::condition::{ACCEPTED, Reason};
use crate::api::relay_pool::RemoteLobby;
use crate::api::{Lobby, RelayPool};
use crate::decide::plan::names;
use crate::decide::token::VerifyKeys;
use crate::wire::keys::KeySet;

/// The lobby of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LobbyOf {
    /// Of this cluster.
    Here {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its UID: audience of the relays' own tokens and issuer of those that they take.
        uid: String,
        /// Its public keys, as text.
        jwks: String,
        /// The authority by which relays know it at its link port (PEM).
        authority: String,
    },
    /// Of another cluster.
    Elsewhere {
        /// Its public URL.
        url: String,
        /// Port in that URL.
        port: u16,
        /// Name under which it lists the pool.
        pool: String,
        /// Secret with the pool's key, and with the authority of the lobby's certificate.
        credential: String,
    },
}

/// The lobby that a pool names, if it can work with it.
pub(super) fn resolve(inputs: &PoolInputs<'_>, owner: &Owner) -> Result<LobbyOf, Invalid> {
    let Some(reference) = &inputs.pool.spec.lobby_ref else {
        return Err(Invalid::new(
            Reason::LobbyNotFound,
            "spec.lobbyRef is not set: make a new pool that names a Lobby",
        ));
    };
    if let Some(remote) = &reference.remote {
        return elsewhere(remote, owner, inputs.credential_there);
    }
    let namespace = reference.namespace.clone().unwrap_or_else(|| owner.namespace.clone());
    let name = reference.name.clone().unwrap_or_default();
    let lobby = admitting(inputs, owner, &namespace, &name)?;
    outside_zone(inputs.pool, lobby)?;
    let (jwks, authority) = published(inputs, lobby)?;
    Ok(LobbyOf::Here { uid: lobby.uid().unwrap_or_default(), namespace, name, jwks, authority })
}

fn elsewhere(remote: &RemoteLobby, owner: &Owner, credential_there: bool) -> Result<LobbyOf, Invalid> {
    let (secret, namespace) = (&remote.credential_secret_ref.name, &owner.namespace);
    if !credential_there {
        let message = format!(
            "spec.lobbyRef.remote.credentialSecretRef: there is no Secret {secret} in namespace {namespace}: make it with the pool's private key (key.pem) and the authority of the lobby's certificate (ca.crt). Until then everything stays as it is"
        );
        return Err(Invalid::new(Reason::SecretNotFound, message));
    }
    Ok(LobbyOf::Elsewhere {
        port: port(&remote.url),
        url: remote.url.clone(),
        pool: remote.pool_name.clone().unwrap_or_else(|| owner.name.clone()),
        credential: secret.clone(),
    })
}

/// Port of an https URL.
fn port(url: &str) -> u16 {
    let authority = url.trim_start_matches("https://").split('/').next().unwrap_or_default();
    // The colons of an IPv6 address stand in brackets.
    let after = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
    after.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(443)
}

fn admitting<'a>(
    inputs: &PoolInputs<'a>,
    owner: &Owner,
    lobby_namespace: &str,
    name: &str,
) -> Result<&'a Lobby, Invalid> {
    let foreign = lobby_namespace != owner.namespace;
    let lobby = inputs.lobby.filter(|lobby| lobby.meta().deletion_timestamp.is_none());
    match lobby {
        Some(lobby) if admits(lobby, &owner.namespace, inputs.namespace_labels) => Ok(lobby),
        // One answer for both, so that a pool's author learns nothing about other namespaces.
        _ if foreign => {
            let message = format!(
                "spec.lobbyRef: no Lobby {lobby_namespace}/{name} admits pools of namespace {}: its owner allows that in spec.relayPools",
                owner.namespace
            );
            Err(Invalid::new(Reason::RefNotPermitted, message))
        }
        Some(_) => {
            let message = format!(
                "spec.lobbyRef: Lobby {name} does not admit pools of its own namespace: see its spec.relayPools"
            );
            Err(Invalid::new(Reason::RefNotPermitted, message))
        }
        None => {
            let message = format!(
                "spec.lobbyRef: there is no Lobby {name} in namespace {lobby_namespace}: create it, or name another in a new pool"
            );
            Err(Invalid::new(Reason::LobbyNotFound, message))
        }
    }
}

/// For names in the lobby's zone its routers alone are asked, and they have only those of the relay table: other names of
/// relays would lead nowhere, and the routers would ask themselves where.
fn outside_zone(pool: &RelayPool, lobby: &Lobby) -> Result<(), Invalid> {
    let Some(dns) = lobby.spec.routing.as_ref().and_then(|routing| routing.dns.as_ref()) else { return Ok(()) };
    let zone = dns.zone.as_str();
    let of_tls = pool.spec.tls.as_ref().and_then(|tls| Some(("spec.tls.domain", tls.domain.as_deref()?)));
    let of_ingress = pool.spec.exposure.as_ref().and_then(|exposure| exposure.ingress.as_ref());
    let of_ingress = of_ingress.map(|ingress| ("spec.exposure.ingress.domain", ingress.domain.as_str()));
    let is_in = |domain: &str| domain.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let Some((field, domain)) = [of_tls, of_ingress].into_iter().flatten().find(|(_, domain)| is_in(domain)) else {
        return Ok(());
    };
    let message = format!(
        "{field}: {domain} is in {zone}, the zone that the routers of Lobby {} answer for (its spec.routing.dns), and they know no such names: use a domain outside of it",
        lobby.name_any()
    );
    Err(Invalid::new(Reason::NameInZone, message))
}

/// The lobby's public keys, and the authority by which relays know it.
fn published(inputs: &PoolInputs<'_>, lobby: &Lobby) -> Result<(String, String), Invalid> {
    let name = lobby.name_any();
    let not_ready =
        |why: &str| Invalid::new(Reason::LobbyNotReady, format!("Lobby {name} {why}: see its own conditions"));
    let accepted = lobby.status.as_ref().is_some_and(|status| {
        status.conditions.iter().any(|condition| condition.type_ == ACCEPTED && condition.status == "True")
    });
    if !accepted {
        return Err(not_ready("is not accepted yet"));
    }
    let data = inputs.lobby_config.and_then(|config| config.data.as_ref());
    let text = data.and_then(|data| data.get(names::JWKS)).ok_or_else(|| not_ready("has published no keys yet"))?;
    // None at all is a set as well: the lobby then tells them itself, or all were revoked.
    let usable = serde_json::from_str::<KeySet>(text).is_ok_and(|set| VerifyKeys::from_set(&set).is_ok());
    if !usable {
        return Err(not_ready("publishes no usable keys"));
    }
    let authority = data.and_then(|data| data.get(names::AUTHORITY)).filter(|text| !text.is_empty());
    let authority = authority.ok_or_else(|| not_ready("has published no certificate authority yet"))?;
    Ok((text.clone(), authority.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::decide::fixtures;

    #[test]
    fn relays_have_no_names_in_the_zone_of_their_lobbys_routers() {
        let lobby = |zone: &str| {
            let dns = json!({"zone": zone, "nameservers": [{"name": "ns.example.net"}]});
            fixtures::lobby("here", "hub", json!({"routing": {"dns": dns}}))
        };
        let pool = |spec: Value| fixtures::pool("here", "tokyo", spec);
        let tls = |domain: &str| pool(json!({"tls": {"secretName": "s", "domain": domain}}));
        let ingress = pool(json!({"exposure": {"ingress": {"domain": "x.relays.example.com"}}}));
        for (pool, zone, field) in [
            (tls("relays.example.com"), "relays.example.com", Some("spec.tls.domain")),
            (tls("a.relays.example.com"), "relays.example.com", Some("spec.tls.domain")),
            (ingress, "relays.example.com", Some("spec.exposure.ingress.domain")),
            (tls("xrelays.example.com"), "relays.example.com", None),
            (tls("example.com"), "relays.example.com", None),
            (pool(json!({"tls": {"secretName": "s"}})), "relays.example.com", None),
        ] {
            let refused = outside_zone(&pool, &lobby(zone)).err();
            assert_eq!(refused.as_ref().map(|refused| refused.reason), field.map(|_| Reason::NameInZone), "{field:?}");
            let told = refused.map(|refused| refused.message).unwrap_or_default();
            assert!(field.is_none_or(|field| told.starts_with(field) && told.contains("Lobby hub")), "{told}");
        }
        let without = fixtures::lobby("here", "hub", json!({}));
        assert_eq!(outside_zone(&tls("relays.example.com"), &without), Ok(()));
    }

    #[test]
    fn relays_are_let_out_to_the_port_of_the_url() {
        for (url, expected) in [
            ("https://meet.example.com", 443),
            ("https://meet.example.com/base", 443),
            ("https://meet.example.com:8443", 8443),
            ("https://meet.example.com:8443/a:b", 8443),
            ("https://[2001:db8::1]", 443),
            ("https://[2001:db8::1]:8080/x", 8080),
        ] {
            assert_eq!(port(url), expected, "{url}");
        }
    }
}
