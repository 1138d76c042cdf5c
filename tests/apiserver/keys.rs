//! Signing keys in the cluster: made, rotated and revoked with the rights of the chart, and Secrets that go by themselves.

use convene::api::lobby::{TokenKeyState, TokensStatus};
use convene::wire::keys::KeySet;
use convene::wire::table::{RelayTable, TABLE_KEY};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::{eventually, lobby, pool};
use crate::world::{World, lobby_says, pool_says};

async fn tokens(world: &World, namespace: &str) -> TokensStatus {
    let lobby = world.lobbies(namespace).get("demo").await.expect("reads");
    lobby.status.and_then(|status| status.tokens).unwrap_or_default()
}

/// Waits until the keys of the lobby do this, and everybody is told so.
async fn settled(world: &World, namespace: &str, states: &[TokenKeyState]) -> Vec<String> {
    eventually(&format!("keys are {states:?}"), async || {
        let tokens = tokens(world, namespace).await;
        let (ids, now): (Vec<String>, Vec<_>) = tokens.keys.into_iter().map(|key| (key.id, key.state)).unzip();
        let maps = world.api::<ConfigMap>(namespace);
        let text = async |name: &str, key: &str| maps.get(name).await.ok()?.data?.remove(key);
        let table = text("demo-lobby", TABLE_KEY).await.unwrap_or_default();
        let table: RelayTable = serde_json::from_str(&table).map_err(|error| error.to_string())?;
        let told: Vec<String> = table.keys.iter().flat_map(KeySet::kids).map(str::to_owned).collect();
        let file = text("a-relays", "jwks.json").await.unwrap_or_default();
        let in_file = ids.iter().all(|id| file.contains(id)) && file.matches("\"kid\"").count() == ids.len();
        if now == states && told == ids && in_file { Ok(ids) } else { Err(format!("{now:?} {told:?} {file}")) }
    })
    .await
}

async fn annotate(world: &World, namespace: &str, name: &str, value: &str) {
    let change = json!({"metadata": {"annotations": {name: value}}});
    let lobbies = world.lobbies(namespace);
    lobbies.patch("demo", &PatchParams::default(), &Patch::Merge(&change)).await.expect("patches");
}

pub(crate) async fn keys_stand_by_are_rotated_once_and_revoked_at_once(world: &World) {
    use TokenKeyState::{Current, Next, Previous};
    let namespace = world.namespace("keys");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({})));
    world.pods_ready(&namespace, 1).await;
    world.deployment_ready(&namespace, "demo-lobby").await;
    lobby_says(&world.lobbies(&namespace), "demo", "Ready", "True/AsPlanned").await;
    pool_says(&world.pools(&namespace), "a", "Ready", "True/AsPlanned").await;
    let first = settled(world, &namespace, &[Current, Next]).await;

    annotate(world, &namespace, "convene.dev/rotate-keys", "today").await;
    let rotated = settled(world, &namespace, &[Current, Previous, Next]).await;
    assert_eq!((&rotated[0], &rotated[1]), (&first[1], &first[0]));
    assert_eq!(tokens(world, &namespace).await.rotated_for.as_deref(), Some("today"));

    // The key that signs and the one that signed before are known to others: the one that stands by takes over.
    annotate(world, &namespace, "convene.dev/revoke-keys", &format!("{}, {}", rotated[0], rotated[1])).await;
    let left = settled(world, &namespace, &[Current, Next]).await;
    assert_eq!(left[0], rotated[2]);
    let secrets = world.api::<Secret>(&namespace);
    eventually("the revoked key's Secret goes with its ConfigMap", async || {
        match secrets.get_opt("demo-lobby-key-1").await.expect("reads") {
            None => Ok(()),
            Some(_) => Err("it is still there".to_owned()),
        }
    })
    .await;
    // Whoever takes the wish back does not bring the keys back.
    annotate(world, &namespace, "convene.dev/revoke-keys", "").await;
    annotate(world, &namespace, "convene.dev/rotate-keys", "tomorrow").await;
    let last = settled(world, &namespace, &[Current, Previous, Next]).await;
    assert!(last.iter().all(|id| !rotated[..2].contains(id)), "{last:?}");
}
