//! Certificates in the cluster: those of the relay link, made with the rights of the chart, and those of the user.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{eventually, lobby, pool};
use crate::world::{World, lobby_says, pool_says};

/// An entry of a ConfigMap.
async fn entry(world: &World, namespace: &str, name: &str, key: &str) -> Result<String, String> {
    let map: ConfigMap = world.api(namespace).get(name).await.map_err(|error| error.to_string())?;
    map.data.and_then(|mut data| data.remove(key)).ok_or_else(|| format!("{name} has no {key}"))
}

/// Waits until the pool's relays are told the lobby's authority; returns it.
async fn told(world: &World, namespace: &str, not: Option<&str>) -> String {
    eventually("relays are told the lobby's authority", async || {
        let lobbys = entry(world, namespace, "demo-lobby", "ca.crt").await?;
        let pools = entry(world, namespace, "a-relays", "ca.crt").await?;
        if lobbys == pools && Some(lobbys.as_str()) != not { Ok(lobbys) } else { Err(format!("{lobbys} {pools}")) }
    })
    .await
}

pub(crate) async fn relays_know_their_lobby_by_an_authority_that_is_made_once(world: &World) {
    let namespace = world.namespace("link");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({})));
    world.pods_ready(&namespace, 1).await;
    world.deployment_ready(&namespace, "demo-lobby").await;
    let first = told(world, &namespace, None).await;
    let lobbies = world.lobbies(&namespace);
    let status = lobby_says(&lobbies, "demo", "Ready", "True/AsPlanned").await.status.expect("a status");
    assert!(status.link.is_some_and(|link| !link.authority.is_empty()));
    let relay = world.api::<Pod>(&namespace).get("a-0").await.expect("reads");
    let env = relay.spec.expect("a spec").containers.remove(0).env.expect("settings");
    let url = env.into_iter().find(|variable| variable.name == "CONVENE_LOBBY_URL").and_then(|variable| variable.value);
    assert_eq!(url.as_deref(), Some("https://demo-lobby-link.link.svc:8083"));

    // A change of the lobby makes nothing anew; what somebody breaks is repaired under the same authority.
    let broken = json!({"data": {"link.crt": "broken"}});
    let maps: Api<ConfigMap> = world.api(&namespace);
    maps.patch("demo-lobby", &PatchParams::default(), &Patch::Merge(&broken)).await.expect("patches");
    eventually("the certificate is there again", async || {
        let now = entry(world, &namespace, "demo-lobby", "link.crt").await?;
        if now.starts_with("-----BEGIN CERTIFICATE") { Ok(()) } else { Err(now) }
    })
    .await;
    assert_eq!(told(world, &namespace, None).await, first);

    // Who deletes the Secret gets another authority, and the relays are told at once.
    let secrets: Api<Secret> = world.api(&namespace);
    secrets.delete("demo-lobby-link", &DeleteParams::default()).await.expect("deletes");
    let touch = json!({"spec": {"url": "http://lobby.example"}});
    lobbies.patch("demo", &PatchParams::default(), &Patch::Merge(&touch)).await.expect("patches");
    told(world, &namespace, Some(&first)).await;
    assert!(secrets.get_opt("demo-lobby-link").await.expect("reads").is_some());
}

fn tls_secret(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name},
        "stringData": {"tls.crt": "a certificate", "tls.key": "a key"},
    })
}

pub(crate) async fn a_secret_that_is_not_there_is_waited_for_and_changes_nothing(world: &World) {
    let namespace = world.namespace("tls");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.deployment_ready(&namespace, "demo-lobby").await;
    let lobbies = world.lobbies(&namespace);
    let ready = lobby_says(&lobbies, "demo", "Ready", "True/AsPlanned").await;
    assert_eq!(ready.status.expect("a status").url.as_deref(), Some("http://demo-lobby.tls.svc:8080"));
    let deployments: Api<Deployment> = world.api(&namespace);
    let before = deployments.get("demo-lobby").await.expect("reads").metadata.generation;
    let secure = json!({"spec": {"tls": {"secretName": "mine"}}});
    lobbies.patch("demo", &PatchParams::default(), &Patch::Merge(&secure)).await.expect("patches");
    let waiting = lobby_says(&lobbies, "demo", "Accepted", "False/SecretNotFound").await;
    let conditions = waiting.status.expect("a status").conditions;
    let said = |type_: &str| conditions.iter().find(|condition| condition.type_ == type_).expect("it is set").clone();
    assert!(said("Accepted").message.contains("Secret mine in namespace tls"), "{}", said("Accepted").message);
    assert_eq!((said("Available").status.as_str(), said("Stalled").status.as_str()), ("True", "False"));
    assert_eq!(deployments.get("demo-lobby").await.expect("reads").metadata.generation, before, "it was replaced");

    world.kubectl.create(&namespace, &tls_secret("mine"));
    // Secrets are not watched; a change makes the operator look before its 15 seconds are over.
    let touch = json!({"metadata": {"annotations": {"convene.dev/rotate-keys": "now"}}});
    lobbies.patch("demo", &PatchParams::default(), &Patch::Merge(&touch)).await.expect("patches");
    let taken = lobby_says(&lobbies, "demo", "Accepted", "True/AsPlanned").await;
    assert_eq!(taken.status.expect("a status").url.as_deref(), Some("https://demo-lobby.tls.svc:8080"));
    let deployment = deployments.get("demo-lobby").await.expect("reads").spec.expect("a spec");
    let volumes = deployment.template.spec.expect("a pod").volumes.unwrap_or_default();
    let mounted = volumes.into_iter().filter_map(|volume| volume.secret?.secret_name).collect::<Vec<_>>();
    assert_eq!(mounted, ["mine"]);
}

pub(crate) async fn a_relay_is_offered_as_what_it_was_made_to_speak(world: &World) {
    let namespace = world.namespace("wss");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({})));
    world.kubectl.create(&namespace, &tls_secret("mine"));
    world.pods_ready(&namespace, 1).await;
    let pools = world.pools(&namespace);
    let url = async |relay: &str| {
        let relays = pools.get("a").await.expect("reads").status.unwrap_or_default().relays;
        relays.into_iter().find(|known| known.name == relay).and_then(|known| known.url).unwrap_or_default()
    };
    pool_says(&pools, "a", "Ready", "True/AsPlanned").await;
    assert_eq!(url("a-0").await, "ws://a-0.wss.svc:8080");
    world.process(&namespace, "a-0").await.holds(1, 0);
    let secure = json!({"spec": {"tls": {"secretName": "mine", "domain": "relays.example.org"}}});
    pools.patch("a", &PatchParams::default(), &Patch::Merge(&secure)).await.expect("patches");
    world.pods_ready(&namespace, 2).await;
    pool_says(&pools, "a", "Draining", "True/RelaysLeave").await;
    assert_eq!(url("a-0").await, "ws://a-0.wss.svc:8080", "it still speaks plain");
    eventually("its successor is offered by TLS", async || {
        let url = url("a-1").await;
        if url == "wss://a-1.relays.example.org:8080" { Ok(()) } else { Err(url) }
    })
    .await;
}
