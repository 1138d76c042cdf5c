//! Records that relays return: verified when a link comes up, and signed anew when the keys have changed, so that a
//! record never needs a key that no longer counts.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::state::Lobby;
use super::store::Via;
use crate::decide::keyring::Keyring;
use crate::decide::sessions::Known;
use crate::decide::token::kid_of;
use crate::wire::claims::{RecordClaims, audience};
use crate::wire::link::FromLobby;

/// The ids of keys that a relay says it has, as far as they are ours.
pub(super) fn known(ring: &Keyring, mut kids: Vec<String>) -> Vec<String> {
    kids.retain(|kid| ring.public().kids().any(|ours| ours == kid));
    kids.sort_unstable();
    kids.dedup();
    kids
}

/// The records that this lobby signed for this run of this relay.
pub(super) async fn verify(
    lobby: &Arc<Lobby>,
    pod_uid: &str,
    boot_id: &str,
    records: Vec<String>,
) -> Vec<RecordClaims> {
    if records.is_empty() {
        return Vec::new();
    }
    let given = records.len();
    let verified: Vec<RecordClaims> =
        verified(lobby, pod_uid, boot_id, records).await.into_iter().map(|(_, claims)| claims).collect();
    lobby.metrics.records.with_label_values(&["valid"]).inc_by(verified.len() as u64);
    lobby.metrics.records.with_label_values(&["refused"]).inc_by((given - verified.len()) as u64);
    verified
}

/// A relay has said which keys it has, and returned records: what it is to be told.
pub(super) async fn renew(
    lobby: &Arc<Lobby>,
    via: Via<'_>,
    boot_id: &str,
    kids: Vec<String>,
    records: Vec<String>,
) -> Vec<FromLobby> {
    let kids = known(&lobby.keys.ring(), kids);
    // Without the store other processes hear of it with the next link.
    let _ = lobby.store.keys(via, &kids).await;
    if records.is_empty() {
        return Vec::new();
    }
    let mut verified = verified(lobby, via.pod_uid, boot_id, records.clone()).await;
    verified.extend(known_anyway(lobby, via.pod_uid, boot_id, &records, &verified).await);
    let ring = lobby.keys.ring();
    let renewed = tokio::task::spawn_blocking(move || {
        let Some(signer) = ring.signer(&[]) else { return Vec::new() };
        let outdated = verified.into_iter().filter(|(record, _)| kid_of(record).as_deref() != Some(signer.kid()));
        outdated
            .map(|(_, claims)| {
                let record = signer.sign_record(&claims);
                FromLobby::Record { session: claims.sid, epoch: claims.epoch, record }
            })
            .collect()
    });
    let renewed: Vec<FromLobby> = renewed.await.unwrap_or_default();
    lobby.metrics.records.with_label_values(&["renewed"]).inc_by(renewed.len() as u64);
    renewed
}

/// Records that cannot be verified any more, for their key was revoked, made again from what the store knows itself.
async fn known_anyway(
    lobby: &Lobby,
    pod_uid: &str,
    boot_id: &str,
    records: &[String],
    verified: &[(String, RecordClaims)],
) -> Vec<(String, RecordClaims)> {
    let Some(table) = lobby.table() else { return Vec::new() };
    let good: HashSet<&String> = verified.iter().map(|(record, _)| record).collect();
    let mut made = Vec::new();
    for record in records.iter().filter(|record| !good.contains(record)) {
        let Some(id) = session_of(record) else { continue };
        let Ok(Known::Live(session)) = lobby.store.find(&id).await else { continue };
        if session.home.pod_uid != pod_uid || session.home.boot_id != boot_id {
            continue;
        }
        let claims = RecordClaims {
            iss: table.table.lobby_uid.clone(),
            aud: session.home.audience(),
            sid: session.id,
            epoch: session.epoch,
            host_token_hash: session.secrets.host_token,
            join_key_hash: session.secrets.join_key,
            approval: session.approval,
            iat: session.created_at,
        };
        made.push((record.clone(), claims));
    }
    made
}

/// The session that a record says it is of; nothing of it is believed.
fn session_of(record: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(record.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<RecordClaims>(&payload).ok().map(|claims| claims.sid)
}

/// The good ones of some records, with what they say.
async fn verified(
    lobby: &Arc<Lobby>,
    pod_uid: &str,
    boot_id: &str,
    records: Vec<String>,
) -> Vec<(String, RecordClaims)> {
    let (lobby, audience) = (Arc::clone(lobby), audience(pod_uid, boot_id));
    let verified = tokio::task::spawn_blocking(move || {
        let Some(table) = lobby.table() else { return Vec::new() };
        let (issuer, ring) = (&table.table.lobby_uid, lobby.keys.ring());
        let good = records.into_iter().filter_map(|record| {
            let claims = ring.verify().verify_record(&record, issuer, &audience).ok()?;
            Some((record, claims))
        });
        good.collect()
    });
    verified.await.unwrap_or_default()
}
