//! Pools of other clusters: what each of the two operators makes. Here one plays both.

use convene::wire::table::{RelayTable, TABLE_KEY};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{eventually, lobby};
use crate::world::{World, pool_says};

/// Half of a key that signs nothing outside of tests.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAfHan34jVvv0HYj7GHLrledifzvE
jJw25UK2BdAyoGQhdhpnrmAZwv1Q3k/Rmq4SD9QtBqCbaWVLCPLyJr041g==
-----END PUBLIC KEY-----
";

async fn entry(world: &World, namespace: &str, name: &str, key: &str) -> Result<String, String> {
    let map: ConfigMap = world.api(namespace).get(name).await.map_err(|error| error.to_string())?;
    map.data.and_then(|mut data| data.remove(key)).ok_or_else(|| format!("{name} has no {key}"))
}

pub(crate) async fn each_side_of_two_clusters_is_told_what_it_needs(world: &World) {
    let namespace = world.namespace("two-clusters");
    let listed = json!([{"name": "sydney", "region": "australia-southeast1", "publicKeys": [PUBLIC_KEY]}]);
    let spec = json!({"url": "https://meet.example.com", "relayPools": {"remote": listed}});
    world.kubectl.create(&namespace, &lobby(&spec));
    eventually("the lobby is told of the pool", async || {
        let table = entry(world, &namespace, "demo-lobby", TABLE_KEY).await?;
        let table: RelayTable = serde_json::from_str(&table).map_err(|error| error.to_string())?;
        let told: Vec<(&str, usize)> = table.remote.iter().map(|pool| (pool.name.as_str(), pool.keys.len())).collect();
        if told == [("sydney", 1)] && table.url == "https://meet.example.com" {
            Ok(())
        } else {
            Err(format!("{table:?}"))
        }
    })
    .await;

    let reference = json!({"remote": {"url": "https://meet.example.com", "credentialSecretRef": {"name": "key"}}});
    let pool = json!({
        "apiVersion": "convene.dev/v1alpha1", "kind": "RelayPool", "metadata": {"name": "sydney"},
        "spec": {"lobbyRef": reference, "region": "australia-southeast1", "exposure": {"loadBalancer": {}}},
    });
    world.kubectl.create(&namespace, &pool);
    let pools = world.pools(&namespace);
    pool_says(&pools, "sydney", "Accepted", "False/SecretNotFound").await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"},
        "stringData": {"key.pem": "a key", "ca.crt": "an authority"},
    });
    world.kubectl.create(&namespace, &secret);
    // Secrets are not watched; a change makes the operator look before its 15 seconds are over.
    let touch = json!({"spec": {"sessionsPerRelay": 7}});
    pools.patch("sydney", &PatchParams::default(), &Patch::Merge(&touch)).await.expect("patches");
    world.pods_ready(&namespace, 1).await;
    let relay = world.api::<Pod>(&namespace).get("sydney-0").await.expect("reads");
    let env = relay.spec.expect("a spec").containers.remove(0).env.expect("settings");
    let setting = |name: &str| env.iter().find(|known| known.name == name).and_then(|known| known.value.clone());
    assert_eq!(setting("CONVENE_LOBBY_URL").as_deref(), Some("https://meet.example.com"));
    assert_eq!((setting("CONVENE_POOL_NAME"), setting("CONVENE_LOBBY_UID")), (Some("sydney".to_owned()), None));

    // The address of a relay reaches the relay, as soon as it has one.
    let given = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}});
    let services = world.api::<Service>(&namespace);
    services.patch_status("sydney-0", &PatchParams::default(), &Patch::Merge(&given)).await.expect("patches");
    eventually("the relay is told its address", async || {
        let text = entry(world, &namespace, "sydney-relays", "addresses.json").await?;
        let told: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if told == json!({"sydney-0": "ws://203.0.113.9:8080"}) { Ok(()) } else { Err(text) }
    })
    .await;
    pool_says(&pools, "sydney", "Available", "True/AsPlanned").await;
}
