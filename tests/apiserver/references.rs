//! What only the operator can see: references, Secrets, names that are taken.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyEgressRule};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::grants::is_gone;
use crate::support::{eventually, lobby, pool, says, within};
use crate::world::{SYSTEM, World, lobby_says, pool_says, scene};

fn message(pool: convene::api::RelayPool, type_: &str) -> String {
    let conditions = pool.status.expect("a status").conditions;
    conditions.into_iter().find(|condition| condition.type_ == type_).expect("it is set").message
}

pub(crate) async fn a_lobby_that_is_not_there_is_waited_for(world: &World) {
    let namespace = world.namespace("no-lobby");
    let pools = world.pools(&namespace);
    world.kubectl.create(&namespace, &pool("a", &json!({})));
    let waiting = pool_says(&pools, "a", "Accepted", "False/LobbyNotFound").await;
    assert!(message(waiting, "Accepted").contains("spec.lobbyRef: there is no Lobby demo in namespace no-lobby"));
    pool_says(&pools, "a", "Stalled", "False/LobbyNotFound").await;
    world.kubectl.create(&namespace, &pool("odd", &json!({"region": "atlantis"})));
    world.kubectl.create(&namespace, &lobby(&json!({})));
    pool_says(&pools, "a", "Accepted", "True/AsPlanned").await;
    let unknown = pool_says(&pools, "odd", "Stalled", "True/UnknownRegion").await;
    assert!(message(unknown, "Accepted").contains("spec.region: atlantis"));
    // A lobby that goes although pools are attached, by somebody's force, takes no relays with it: what runs stays as it was.
    world.pods_ready(&namespace, 1).await;
    pool_says(&pools, "a", "Available", "True/AsPlanned").await;
    world.kubectl.run(&["-n", &namespace, "delete", "lobby", "demo", "--wait=false"], None);
    lobby_says(&world.lobbies(&namespace), "demo", "Ready", "False/PoolsAttached").await;
    let force = json!({"metadata": {"finalizers": null}});
    world.lobbies(&namespace).patch("demo", &PatchParams::default(), &Patch::Merge(&force)).await.expect("patches");
    pool_says(&pools, "a", "Accepted", "False/LobbyNotFound").await;
    pool_says(&pools, "a", "Available", "True/AsPlanned").await;
    let pods = world.api::<Pod>(&namespace).list(&ListParams::default()).await.expect("lists").items;
    assert!(
        pods.iter().any(|pod| pod.name_any() == "a-0" && pod.metadata.deletion_timestamp.is_none()),
        "the relay went"
    );
}

pub(crate) async fn a_claim_for_places_that_is_not_there_keeps_no_lobby_from_serving(world: &World) {
    let namespace = world.namespace("no-claim");
    let geoip = json!({"volumeClaimRef": {"name": "places", "key": "v4.mmdb", "moreKeys": ["v6.mmdb"]}});
    world.kubectl.create(&namespace, &lobby(&json!({"routing": {"geoip": geoip}})));
    world.deployment_ready(&namespace, "demo-lobby").await;
    let lobbies = world.lobbies(&namespace);
    let told = async || {
        let status = lobby_says(&lobbies, "demo", "Available", "True/AsPlanned").await.status.expect("a status");
        status.conditions.into_iter().find(|condition| condition.type_ == "Available").expect("it is set").message
    };
    let mounted = async || {
        let deployment: Deployment = world.api(&namespace).get("demo-lobby").await.expect("reads");
        let pod = deployment.spec.and_then(|spec| spec.template.spec).expect("a pod");
        pod.volumes.unwrap_or_default().into_iter().any(|volume| volume.persistent_volume_claim.is_some())
    };
    let message = told().await;
    assert!(message.contains("there is no PersistentVolumeClaim places"), "{message}");
    assert!(!mounted().await, "the kubelet would wait for it");

    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "places"},
        "spec": {"accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    world.kubectl.create(&namespace, &claim);
    // It would be seen within five minutes; a change of the lobby is seen at once.
    let touch = json!({"spec": {"url": "http://lobby.example"}});
    lobbies.patch("demo", &PatchParams::default(), &Patch::Merge(&touch)).await.expect("patches");
    eventually("the claim is mounted, and nothing more is said of it", async || {
        let message = told().await;
        if mounted().await && !message.contains("PersistentVolumeClaim") { Ok(()) } else { Err(message) }
    })
    .await;
}

pub(crate) async fn databases_are_downloaded_from_where_that_is_allowed(world: &World) {
    let namespace = world.namespace("downloads");
    let download = |host: &str| {
        let urls = [format!("https://{host}/geo/city.mmdb")];
        lobby(&json!({"routing": {"geoip": {"download": {"urls": urls, "caConfigMapRef": {"name": "mirror"}}}}}))
    };
    world.kubectl.create(&namespace, &download("elsewhere.example.com"));
    world.deployment_ready(&namespace, "demo-lobby").await;
    let lobbies = world.lobbies(&namespace);
    let pod = async || {
        let deployment: Deployment = world.api(&namespace).get("demo-lobby").await.expect("reads");
        let pod = deployment.spec.and_then(|spec| spec.template.spec).expect("a pod");
        let env = pod.containers[0].env.clone().unwrap_or_default();
        (env.into_iter().find(|env| env.name == "CONVENE_GEOIP_URL").and_then(|env| env.value), pod)
    };
    let told = async || {
        let status = lobby_says(&lobbies, "demo", "Available", "True/AsPlanned").await.status.expect("a status");
        status.conditions.into_iter().find(|condition| condition.type_ == "Available").expect("it is set").message
    };
    let message = told().await;
    assert!(message.contains("elsewhere.example.com/geo/city.mmdb is not below a URL that this operator allows"));
    assert_eq!(pod().await.0, None);

    world.kubectl.run(&["-n", &namespace, "apply", "-f", "-"], Some(&download("mirror.example.com").to_string()));
    eventually("the lobby downloads it", async || {
        let (url, message) = (pod().await.0, told().await);
        let downloads = url.as_deref() == Some("https://mirror.example.com/geo/city.mmdb");
        if downloads && !message.contains("allows") { Ok(()) } else { Err(format!("{url:?} {message}")) }
    })
    .await;
    let volumes = pod().await.1.volumes.unwrap_or_default();
    assert!(volumes.iter().any(|volume| volume.empty_dir.is_some()), "nowhere to keep it: {volumes:?}");
    let policy: NetworkPolicy = world.api(&namespace).get("demo-lobby").await.expect("reads");
    let rules = policy.spec.and_then(|spec| spec.egress).expect("rules");
    let https = |rule: &NetworkPolicyEgressRule| {
        let ports: Vec<_> = rule.ports.iter().flatten().filter_map(|port| port.port.clone()).collect();
        rule.to.is_none() && ports == [IntOrString::Int(443)]
    };
    assert!(rules.iter().any(https), "no way to it: {rules:?}");
}

pub(crate) async fn other_namespaces_are_let_in_only_by_the_lobby(world: &World) {
    let home = world.namespace("ref-home");
    let away = world.namespace("ref-away");
    world.kubectl.create(&home, &lobby(&json!({})));
    let named = |name: &str, lobby: &str| pool(name, &json!({"lobbyRef": {"name": lobby, "namespace": "ref-home"}}));
    world.kubectl.create(&away, &named("real", "demo"));
    world.kubectl.create(&away, &named("guess", "none"));
    let pools = world.pools(&away);
    let refused = message(pool_says(&pools, "real", "Accepted", "False/RefNotPermitted").await, "Accepted");
    let absent = message(pool_says(&pools, "guess", "Accepted", "False/RefNotPermitted").await, "Accepted");
    assert_eq!(
        refused.replace("ref-home/demo", "X"),
        absent.replace("ref-home/none", "X"),
        "the answer tells which lobbies exist"
    );

    let lobbies = world.lobbies(&home);
    let selector =
        json!({"spec": {"relayPools": {"from": "Selector", "selector": {"matchLabels": {"relays": "yes"}}}}});
    lobbies.patch("demo", &PatchParams::default(), &Patch::Merge(&selector)).await.expect("patches");
    pool_says(&pools, "real", "Accepted", "False/RefNotPermitted").await;
    world.kubectl.run(&["label", "namespace", &away, "relays=yes"], None);
    // Labels of namespaces are not watched: the next look is within 15 s.
    pool_says(&pools, "real", "Accepted", "True/AsPlanned").await;
    world.pods_ready(&away, 1).await;
    eventually("the lobby counts the pool", async || {
        let status = lobbies.get("demo").await.expect("reads").status.unwrap_or_default();
        if (status.pools, status.relays) == (1, 1) {
            Ok(())
        } else {
            Err(format!("{} pools, {} relays", status.pools, status.relays))
        }
    })
    .await;
    let back = json!({"spec": {"relayPools": {"from": "Same", "selector": null}}});
    lobbies.patch("demo", &PatchParams::default(), &Patch::Merge(&back)).await.expect("patches");
    pool_says(&pools, "real", "Accepted", "False/RefNotPermitted").await;
    eventually("the lobby no longer counts the pool", async || {
        let status = lobbies.get("demo").await.expect("reads").status.unwrap_or_default();
        if status.pools == 0 { Ok(()) } else { Err(format!("{} pools", status.pools)) }
    })
    .await;
}

pub(crate) async fn rights_in_part_are_told_as_not_granted(world: &World) {
    let namespace = "granted-in-part";
    world.kubectl.ungranted_namespace(namespace);
    let role = world.kubectl.run(&["get", "clusterrole", "convene-operator-namespace", "-o", "json"], None);
    let mut role: Value = serde_json::from_str(&role).expect("JSON");
    role["kind"] = "Role".into();
    role["metadata"] = json!({"name": "part"});
    let is_of_pods = |rule: &Value| rule["resources"].as_array().expect("kinds").contains(&"pods".into());
    role["rules"].as_array_mut().expect("rules").retain(|rule| !is_of_pods(rule));
    world.kubectl.create(namespace, &role);
    let account = format!("--serviceaccount={SYSTEM}:convene-operator");
    world.kubectl.run(&["-n", namespace, "create", "rolebinding", "part", "--role=part", &account], None);
    world.kubectl.create(namespace, &lobby(&json!({})));
    world.kubectl.create(namespace, &pool("a", &json!({})));
    world.kubectl.create(namespace, &pool("lost", &json!({"lobbyRef": {"name": "none"}})));
    let pools = world.pools(namespace);
    pool_says(&pools, "a", "Accepted", "False/NamespaceNotGranted").await;
    pool_says(&pools, "lost", "Accepted", "False/NamespaceNotGranted").await;
    world.kubectl.grant(namespace);
    within(60, "it is accepted once it is granted", async || {
        let status = pools.get("a").await.expect("reads").status.expect("a status");
        let said = says(&status.conditions, "Accepted");
        if said == "Accepted=True/AsPlanned" { Ok(()) } else { Err(said) }
    })
    .await;
    pool_says(&pools, "lost", "Accepted", "False/LobbyNotFound").await;
}

pub(crate) async fn a_pool_whose_lobby_has_gone_says_whether_its_relays_serve(world: &World) {
    let namespace = scene(world, "lobby-gone", &json!({})).await;
    let pools = world.pools(&namespace);
    world.lobbies(&namespace).delete("demo", &DeleteParams::default()).await.expect("deletes");
    let refused = pool_says(&pools, "a", "Accepted", "False/LobbyNotFound").await.status.expect("a status");
    assert_eq!(says(&refused.conditions, "Available"), "Available=True/AsPlanned", "its relay serves on");
    let down = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let pods: Api<Pod> = world.api(&namespace);
    pods.patch_status("a-0", &PatchParams::default(), &Patch::Merge(&down)).await.expect("patches");
    let told = pool_says(&pools, "a", "Available", "False/WaitingForPods").await.status.expect("a status");
    assert_eq!((told.relays.len(), told.ready_replicas, told.capacity), (1, 0, 0));
    assert_eq!(says(&told.conditions, "Accepted"), "Accepted=False/LobbyNotFound");
}

async fn goes(world: &World, namespace: &str) {
    world.kubectl.run(&["delete", "namespace", namespace, "--wait=false"], None);
    is_gone(world, namespace).await;
}

/// As that of a preview does, with each push.
pub(crate) async fn a_namespace_that_comes_back_is_served_as_if_it_were_new(world: &World) {
    for replicas in 1..=3 {
        let namespace = world.namespace("preview");
        world.kubectl.create(&namespace, &lobby(&json!({})));
        world.kubectl.create(&namespace, &pool("a", &json!({"replicas": replicas})));
        world.pods_ready(&namespace, replicas).await;
        let ready = pool_says(&world.pools(&namespace), "a", "Ready", "True/AsPlanned").await;
        let status = ready.status.expect("a status");
        assert_eq!((status.relays.len(), status.ready_replicas), (replicas, i32::try_from(replicas).expect("few")));
        // While the operator may still work there: a right that goes first is waited for.
        world.kubectl.run(&["-n", &namespace, "delete", "convene", "--all"], None);
        goes(world, &namespace).await;
    }
}

pub(crate) async fn a_broken_key_secret_stalls_and_keeps_the_children(world: &World) {
    let namespace = world.namespace("broken-secret");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({})));
    let lobbies = world.lobbies(&namespace);
    lobby_says(&lobbies, "demo", "Accepted", "True/AsPlanned").await;
    let secrets: Api<Secret> = world.api(&namespace);
    let before = secrets.get("demo-lobby-keys").await.expect("reads");
    let broken = json!({"stringData": {"signing-key.pem": "not a key"}});
    secrets.patch("demo-lobby-keys", &PatchParams::default(), &Patch::Merge(&broken)).await.expect("patches");
    // Secrets are not watched, so that the operator need not list them: any change of the lobby makes it look. Many
    // passes that fail in a row are no reason to leave the lobby alone for minutes once the Secret is whole again.
    for change in 0..12 {
        let touch = json!({"spec": {"url": format!("http://lobby-{change}.example")}});
        let touched = lobbies.patch("demo", &PatchParams::default(), &Patch::Merge(&touch)).await.expect("patches");
        eventually("the change was seen", async || {
            let status = lobbies.get("demo").await.expect("reads").status;
            let seen = status.and_then(|status| status.observed_generation);
            if seen == touched.metadata.generation { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    }
    let stalled = lobby_says(&lobbies, "demo", "Stalled", "True/SecretInvalid").await;
    let conditions = stalled.status.expect("a status").conditions;
    let said = &conditions.iter().find(|condition| condition.type_ == "Accepted").expect("it is set").message;
    assert!(said.contains("demo-lobby-keys") && said.contains("signing-key.pem"), "{said}");
    assert!(!said.contains("not a key"), "the Secret's content is in status");
    let deployments: Api<Deployment> = world.api(&namespace);
    assert!(deployments.get_opt("demo-lobby").await.expect("reads").is_some(), "the Deployment is gone");
    let restored = json!({"data": before.data});
    secrets.patch("demo-lobby-keys", &PatchParams::default(), &Patch::Merge(&restored)).await.expect("patches");
    lobby_says(&lobbies, "demo", "Accepted", "True/AsPlanned").await;
    let after = secrets.get("demo-lobby-keys").await.expect("reads");
    assert_eq!(after.data, before.data, "the Secret was overwritten");
}

pub(crate) async fn objects_of_others_are_not_taken_over(world: &World) {
    let namespace = world.namespace("taken");
    world.kubectl.run(&["-n", &namespace, "create", "service", "clusterip", "a-0", "--tcp=80:80"], None);
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({})));
    let pools = world.pools(&namespace);
    let conflict = pool_says(&pools, "a", "Stalled", "True/NameConflict").await;
    assert!(message(conflict, "Accepted").contains("Service a-0"));
    let services: Api<Service> = world.api(&namespace);
    let service = services.get("a-0").await.expect("reads");
    assert!(
        service.owner_references().is_empty() && !service.labels().contains_key("convene.dev/relay-pool"),
        "{service:?}"
    );
    services.delete("a-0", &DeleteParams::default()).await.expect("deletes");
    pool_says(&pools, "a", "Accepted", "True/AsPlanned").await;
}

pub(crate) async fn an_object_that_does_not_parse_stops_nothing(_shared: &World) {
    // A schema that lets through what this version cannot read, as a newer version's would: the real one is loosened, so
    // this case has a control plane of its own.
    let world = World::start().await;
    let operator = world.operator("reader").await;
    let namespace = world.namespace("unreadable");
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/sessionsPerRelay";
    let loose =
        json!([{"op": "replace", "path": path, "value": {"x-kubernetes-preserve-unknown-fields": true}}]).to_string();
    let crd = "crd/relaypools.convene.dev";
    world.kubectl.run(&["patch", crd, "--type=json", "-p", &loose], None);
    world.kubectl.create(&namespace, &lobby(&json!({})));
    eventually("the loosened schema is served", async || {
        let odd = pool("odd", &json!({"sessionsPerRelay": "many"}));
        world.kubectl.attempt(&["-n", &namespace, "create", "-f", "-"], Some(&odd.to_string())).map(drop)
    })
    .await;
    world.kubectl.create(&namespace, &pool("even", &json!({})));
    pool_says(&world.pools(&namespace), "even", "Accepted", "True/AsPlanned").await;
    operator.stop().await;
}
