//! Who dials the relay link: a relay of this cluster, that the table names and a service-account token speaks for; or one of
//! another cluster, that its pool's own key speaks for. Whoever is neither is refused in one way.

use std::sync::PoisonError;

use http::HeaderMap;

use super::extract::bearer;
use super::state::{Lobby, admitted};
use super::table::Table;
use crate::decide::identity::PodIdentity;
use crate::decide::replay::Sight;
use crate::decide::sessions::{Home, View, is_of};
use crate::decide::token::kid_of;
use crate::process::clock;
use crate::wire::claims::RelayClaims;
use crate::wire::session::GeoPoint;
use crate::wire::table::MAX_RELAYS;

/// Longest URL and name that a relay of another cluster may give itself.
const MAX_URL: usize = 512;
const MAX_NAME: usize = 63;

/// A relay that has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Of this cluster.
    Here(PodIdentity),
    /// Of another.
    Remote {
        /// Who it is.
        claims: RelayClaims,
        /// Id of the key that says so.
        key: String,
    },
}

/// Who shows these headers.
pub(super) fn identify(lobby: &Lobby, headers: &HeaderMap) -> Option<Caller> {
    let table = lobby.table()?;
    let (token, now) = (bearer(headers)?, clock::unix_seconds());
    let (issuer, audience) = (&table.table.cluster.issuer, &table.table.lobby_uid);
    if let Ok(pod) = table.proofs.cluster.verify(token, issuer, audience, now) {
        return admitted(&table, &pod).is_some().then_some(Caller::Here(pod));
    }
    let url = table.table.url.trim_end_matches('/');
    let key = kid_of(token)?;
    let claims = table.proofs.remote.iter().find_map(|(pool, keys)| keys.verify_relay(token, pool, url, now).ok())?;
    let mut shown = lobby.shown.lock().unwrap_or_else(PoisonError::into_inner);
    if shown.look(&claims.jti, now) != Sight::First || claims.relay.len() > MAX_NAME {
        return None;
    }
    shown.remember(&claims.jti, claims.exp);
    Some(Caller::Remote { claims, key })
}

impl Caller {
    /// What stands for it in the store.
    pub(super) fn uid(&self) -> &str {
        match self {
            Self::Here(pod) => &pod.uid,
            Self::Remote { claims, .. } => &claims.sub,
        }
    }

    /// Its name, for people.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Here(pod) => &pod.name,
            Self::Remote { claims, .. } => &claims.relay,
        }
    }

    /// Its namespace, or its pool in another cluster, for people.
    pub(super) fn of(&self) -> &str {
        match self {
            Self::Here(pod) => &pod.namespace,
            Self::Remote { claims, .. } => &claims.iss,
        }
    }

    /// Whether it may stay: who owns the lobby may take a pool of another cluster, or a key of it, off the list at any time. Relays of this
    /// cluster that left the table get no sessions, and stay for those that they have.
    pub(super) fn is_listed(&self, table: &Table) -> bool {
        match self {
            Self::Here(_) => true,
            Self::Remote { claims, key } => {
                let keys = table.proofs.remote.get(&claims.iss);
                keys.is_some_and(|keys| keys.kids().any(|listed| listed == key))
            }
        }
    }

    /// Where sessions that it gets live; nothing if it may not link up as it says.
    pub(super) fn home(&self, table: &Table, view: &View, boot_id: &str, url: Option<String>) -> Option<Home> {
        let claims = match self {
            Self::Here(pod) => {
                let (pool, relay) = admitted(table, pod)?;
                return Some(Home::of(pool, relay, boot_id));
            }
            Self::Remote { claims, .. } => claims,
        };
        let url = url.unwrap_or_default();
        let is_url = url.is_empty() || url.starts_with("ws://") || url.starts_with("wss://");
        let pool = table.table.remote.iter().find(|pool| pool.name == claims.iss)?;
        let others = view.runs.iter().filter(|(uid, run)| run.linked && **uid != claims.sub && is_of(&pool.name, uid));
        if claims.boot != boot_id || !is_url || url.len() > MAX_URL || others.count() >= MAX_RELAYS {
            return None;
        }
        Some(Home {
            pod_uid: claims.sub.clone(),
            boot_id: boot_id.to_owned(),
            pool: pool.name.clone(),
            region: pool.region.clone(),
            relay: claims.relay.clone(),
            url,
            point: GeoPoint { latitude: pool.latitude, longitude: pool.longitude },
        })
    }
}
