//! What the operator makes of accepted objects.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use convene::wire::table::{RelayTable, TABLE_KEY};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::support::{eventually, lobby, pool, says, within};
use crate::world::{World, lobby_says, pool_says, scene};

/// Versions of everything in a namespace that carries our label, and of our own objects.
fn versions(world: &World, namespace: &str) -> BTreeMap<String, String> {
    let kinds = "lobbies,relaypools,pods,services,configmaps,secrets,serviceaccounts,roles,rolebindings,deployments,statefulsets,persistentvolumeclaims,networkpolicies,poddisruptionbudgets,ingresses";
    let format = r#"jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}"#;
    let listed = world.kubectl.run(&["-n", namespace, "get", kinds, "-o", format], None);
    let lines = listed.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
}

pub(crate) async fn a_lobby_with_pools_settles_and_then_nothing_is_written(world: &World) {
    let namespace = world.namespace("settles");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    // Resources in a form that the API server writes differently.
    let resources = json!({"requests": {"cpu": "0.05", "memory": "64Mi"}});
    world.kubectl.create(&namespace, &pool("a", &json!({"replicas": 2, "template": {"resources": resources}})));
    world.kubectl.create(&namespace, &pool("b", &json!({"region": "us-east1"})));
    world.pods_ready(&namespace, 3).await;
    world.deployment_ready(&namespace, "demo-lobby").await;
    let lobbies = world.lobbies(&namespace);
    let pools = world.pools(&namespace);
    let settled = lobby_says(&lobbies, "demo", "Ready", "True/AsPlanned").await;
    pool_says(&pools, "a", "Ready", "True/AsPlanned").await;
    pool_says(&pools, "b", "Ready", "True/AsPlanned").await;
    assert_eq!(settled.status.expect("a status").url.as_deref(), Some("http://demo-lobby.settles.svc:8080"));
    let relays = eventually("the lobby counts its relays", async || {
        let status = lobbies.get("demo").await.expect("reads").status.expect("a status");
        if (status.pools, status.relays) == (2, 3) { Ok(status.relays) } else { Err(format!("{status:?}")) }
    });
    assert_eq!(relays.await, 3);
    let first = versions(world, &namespace);
    for expected in [
        "Deployment/demo-lobby",
        "Secret/demo-lobby-keys",
        "Secret/demo-lobby-control",
        "Secret/a-relays-control",
        "Role/demo-lobby",
        "Service/a-1",
        "Pod/b-0",
        "NetworkPolicy/a-relays",
    ] {
        assert!(first.contains_key(expected), "{expected} is missing: {first:?}");
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(first, versions(world, &namespace), "something was written although all was settled");
}

async fn table(world: &World, namespace: &str) -> Result<RelayTable, String> {
    let config: ConfigMap = world.api(namespace).get("demo-lobby").await.map_err(|error| error.to_string())?;
    let text = config.data.and_then(|mut data| data.remove(TABLE_KEY)).ok_or("no table")?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

pub(crate) async fn a_change_of_relays_reaches_the_lobby(world: &World) {
    let namespace = world.namespace("table");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({})));
    world.pods_ready(&namespace, 1).await;
    pool_says(&world.pools(&namespace), "a", "Ready", "True/AsPlanned").await;
    let before = eventually("the relay is in the table", async || {
        let table = table(world, &namespace).await?;
        let relays: Vec<_> = table.pools.iter().flat_map(|pool| &pool.relays).filter(|relay| !relay.cordoned).collect();
        if relays.len() == 1 { Ok(table.clone()) } else { Err(format!("{table:?}")) }
    })
    .await;
    assert_eq!(before.cluster.issuer, "https://kubernetes.default.svc");
    assert!(before.cluster.jwks["keys"].as_array().is_some_and(|keys| !keys.is_empty()), "no cluster keys");
    let pods: Api<Pod> = world.api(&namespace);
    pods.delete("a-0", &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() })
        .await
        .expect("deletes");
    let deleted = Instant::now();
    let old = &before.pools[0].relays[0].pod_uid;
    eventually("the dead relay leaves the table", async || {
        let table = table(world, &namespace).await?;
        let relays: Vec<&String> =
            table.pools.iter().flat_map(|pool| &pool.relays).map(|relay| &relay.pod_uid).collect();
        if relays.contains(&old) { Err(format!("{relays:?}")) } else { Ok(()) }
    })
    .await;
    // Told, not asserted: the machine may be busy. A watch is at work here, not the resync of five minutes.
    println!("a relay's end reached the lobby's table in {} ms", deleted.elapsed().as_millis());
}

pub(crate) async fn drift_is_repaired(world: &World) {
    let namespace = world.namespace("drift");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({})));
    world.pods_ready(&namespace, 1).await;
    pool_says(&world.pools(&namespace), "a", "Ready", "True/AsPlanned").await;
    let services: Api<Service> = world.api(&namespace);
    let uid = services.get("a-0").await.expect("reads").uid();
    services.delete("a-0", &DeleteParams::default()).await.expect("deletes");
    eventually("a deleted Service comes back", async || match services.get_opt("a-0").await.expect("reads") {
        Some(service) if service.uid() != uid => Ok(()),
        _ => Err("not there".to_owned()),
    })
    .await;
    let selector = json!({"spec": {"selector": {"convene.dev/relay": "somebody-else"}}});
    services.patch("a-0", &PatchParams::default(), &Patch::Merge(&selector)).await.expect("patches");
    let unlabelled = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null, "team": "x"}}});
    services.patch("a-0", &PatchParams::default(), &Patch::Merge(&unlabelled)).await.expect("patches");
    let service = eventually("an edited Service is put right", async || {
        let service = services.get("a-0").await.expect("reads");
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        let labels = service.labels().clone();
        let right = selector.get("convene.dev/relay").is_some_and(|relay| relay == "a-0")
            && labels.contains_key("app.kubernetes.io/managed-by");
        if right { Ok(service) } else { Err(format!("{selector:?} {labels:?}")) }
    })
    .await;
    assert_eq!(service.labels().get("team").map(String::as_str), Some("x"), "a label of somebody else's was removed");
    entries_added_to_selectors_are_removed(world, &namespace).await;
}

/// One entry more selects something else, also where the plan has none.
async fn entries_added_to_selectors_are_removed(world: &World, namespace: &str) {
    let services: Api<Service> = world.api(namespace);
    let more = json!({"spec": {"selector": {"example.org/more": "x"}}});
    services.patch("a-0", &PatchParams::default(), &Patch::Merge(&more)).await.expect("patches");
    let policies: Api<NetworkPolicy> = world.api(namespace);
    let mut policy = policies.get("demo-lobby").await.expect("reads");
    let planned = policy.spec.clone().expect("a spec");
    let rules = policy.spec.as_mut().and_then(|spec| spec.ingress.as_mut()).expect("rules");
    let peer = rules.iter_mut().find_map(|rule| rule.from.as_mut()?.first_mut()).expect("a peer");
    let selector = peer.namespace_selector.as_mut().expect("planned empty: any namespace");
    assert_eq!(*selector, LabelSelector::default());
    selector.match_labels = Some([("team".to_owned(), "x".to_owned())].into());
    let more = json!({"spec": policy.spec});
    policies.patch("demo-lobby", &PatchParams::default(), &Patch::Merge(&more)).await.expect("patches");
    eventually("the entries are gone again", async || {
        let selector =
            services.get("a-0").await.expect("reads").spec.and_then(|spec| spec.selector).unwrap_or_default();
        let policy = policies.get("demo-lobby").await.expect("reads").spec.expect("a spec");
        let right = policy == planned && !selector.contains_key("example.org/more");
        if right { Ok(()) } else { Err(format!("{selector:?} {policy:?}")) }
    })
    .await;
}

pub(crate) async fn a_status_that_somebody_wrote_over_is_put_right(world: &World) {
    let namespace = scene(world, "status-drift", &json!({})).await;
    let (pools, pods) = (world.pools(&namespace), world.api::<Pod>(&namespace));
    let wrong = json!({"status": {"readyReplicas": 7, "conditions": []}});
    pools.patch_status("a", &PatchParams::default(), &Patch::Merge(&wrong)).await.expect("patches");
    let mut looks = 0;
    within(40, "the status is put right", async || {
        // Statuses wake no pass, or each would wake the next. This does, and changes nothing.
        looks += 1;
        let look = json!({"metadata": {"annotations": {"example.com/looks": looks.to_string()}}});
        pods.patch("a-0", &PatchParams::default(), &Patch::Merge(&look)).await.expect("patches");
        let status = pools.get("a").await.expect("reads").status.expect("a status");
        let said = (status.ready_replicas, says(&status.conditions, "Ready"));
        if said == (1, "Ready=True/AsPlanned".to_owned()) { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
}

pub(crate) async fn scaling_makes_and_removes_relays(world: &World) {
    let namespace = world.namespace("scales");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({})));
    world.pods_ready(&namespace, 1).await;
    world.kubectl.run(&["-n", &namespace, "scale", "relaypool/a", "--replicas=3"], None);
    world.pods_ready(&namespace, 3).await;
    let grown = pool_says(&world.pools(&namespace), "a", "Ready", "True/AsPlanned").await;
    assert_eq!(grown.status.expect("a status").capacity, 300);
    world.kubectl.run(&["-n", &namespace, "scale", "relaypool/a", "--replicas=0"], None);
    let pools = world.pools(&namespace);
    pool_says(&pools, "a", "Available", "False/ScaledToZero").await;
    let services: Api<Service> = world.api(&namespace);
    eventually("pods and Services of relays are gone", async || {
        let pods = world.api::<Pod>(&namespace).list(&ListParams::default()).await.expect("lists").items.len();
        let left = services.list(&ListParams::default().labels("convene.dev/relay")).await.expect("lists").items.len();
        if (pods, left) == (0, 0) { Ok(()) } else { Err(format!("{pods} pods, {left} Services")) }
    })
    .await;
}

pub(crate) async fn an_exposure_can_be_changed(world: &World) {
    let namespace = world.namespace("reexposed");
    world.kubectl.run(&["-n", &namespace, "apply", "-f", "-"], Some(&lobby(&json!({})).to_string()));
    lobby_says(&world.lobbies(&namespace), "demo", "Accepted", "True/AsPlanned").await;
    // A default in the schema would be stored, and applying another member would then find two set.
    let exposed = lobby(&json!({"exposure": {"nodePort": {}}}));
    world.kubectl.run(&["-n", &namespace, "apply", "-f", "-"], Some(&exposed.to_string()));
    let services: Api<Service> = world.api(&namespace);
    eventually("the Service is on node ports", async || {
        let service = services.get("demo-lobby").await.expect("reads");
        let type_ = service.spec.and_then(|spec| spec.type_);
        if type_.as_deref() == Some("NodePort") { Ok(()) } else { Err(format!("{type_:?}")) }
    })
    .await;
}

pub(crate) async fn a_redis_of_ones_own_comes_and_goes_with_the_lobbys_wish(world: &World) {
    let namespace = world.namespace("own-redis");
    let own = json!({"replicas": 2, "store": {"redis": {"managed": {"storage": {"size": "1024Mi"}}}}});
    world.kubectl.run(&["-n", &namespace, "apply", "-f", "-"], Some(&lobby(&own).to_string()));
    world.deployment_counts(&namespace, "demo-lobby", 2).await;
    let lobbies = world.lobbies(&namespace);
    lobby_says(&lobbies, "demo", "Available", "False/WaitingForPods").await;
    let sets: Api<StatefulSet> = world.api(&namespace);
    let status =
        json!({"status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "availableReplicas": 1}});
    sets.patch_status("demo-lobby-redis", &PatchParams::default(), &Patch::Merge(&status)).await.expect("patches");
    lobby_says(&lobbies, "demo", "Ready", "True/AsPlanned").await;
    let settled = versions(world, &namespace);
    for expected in ["StatefulSet", "PersistentVolumeClaim", "Service", "NetworkPolicy", "Secret"] {
        assert!(settled.contains_key(&format!("{expected}/demo-lobby-redis")), "{expected} is missing: {settled:?}");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(settled, versions(world, &namespace), "something was written although all was settled");

    // The Secret stays until the lobby goes: the operator has no right to delete one.
    let memory = lobby(&json!({"replicas": 1, "store": {"memory": {}}}));
    world.kubectl.run(&["-n", &namespace, "apply", "-f", "-"], Some(&memory.to_string()));
    eventually("the Redis goes with its volume", async || {
        let left = versions(world, &namespace);
        let left: Vec<_> = left.into_keys().filter(|name| name.ends_with("-redis")).collect();
        if left == ["Secret/demo-lobby-redis"] { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

pub(crate) async fn routers_come_and_go_with_the_lobbys_wish(world: &World) {
    let namespace = world.namespace("routers");
    let dns = json!({"zone": "relays.example.com", "nameservers": [{"name": "ns1.example.net"}], "exposure": {"loadBalancer": {}}});
    let named = lobby(&json!({"routing": {"dns": dns}}));
    world.kubectl.run(&["-n", &namespace, "apply", "-f", "-"], Some(&named.to_string()));
    world.deployment_ready(&namespace, "demo-lobby").await;
    world.deployment_counts(&namespace, "demo-lobby-dns", 2).await;
    let services: Api<Service> = world.api(&namespace);
    let balanced = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.53"}]}}});
    services.patch_status("demo-lobby-dns", &PatchParams::default(), &Patch::Merge(&balanced)).await.expect("patches");
    let lobbies = world.lobbies(&namespace);
    eventually("the lobby tells of its routers", async || {
        let told = lobbies.get("demo").await.expect("reads").status.and_then(|status| status.dns);
        let whole = told.as_ref().is_some_and(|dns| dns.ready == 2 && dns.addresses == ["203.0.113.53"]);
        if whole { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    lobby_says(&lobbies, "demo", "Ready", "True/AsPlanned").await;
    let settled = versions(world, &namespace);
    for expected in ["Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount", "RoleBinding"] {
        assert!(settled.contains_key(&format!("{expected}/demo-lobby-dns")), "{expected} is missing: {settled:?}");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(settled, versions(world, &namespace), "something was written although all was settled");
    world.kubectl.run(&["-n", &namespace, "apply", "-f", "-"], Some(&lobby(&json!({})).to_string()));
    eventually("the routers go", async || {
        let left: Vec<_> = versions(world, &namespace).into_keys().filter(|name| name.ends_with("-dns")).collect();
        let told = lobbies.get("demo").await.expect("reads").status.and_then(|status| status.dns);
        if left.is_empty() && told.is_none() { Ok(()) } else { Err(format!("{left:?} {told:?}")) }
    })
    .await;
}

pub(crate) async fn names_for_external_dns_are_told_once_the_cluster_has_its_kind(world: &World) {
    let namespace = world.namespace("published");
    let wants =
        |seconds: i32| lobby(&json!({"routing": {"externalDns": {"domain": "r.example.com", "ttlSeconds": seconds}}}));
    let apply = |lobby: &serde_json::Value| {
        world.kubectl.run(&["-n", &namespace, "apply", "-f", "-"], Some(&lobby.to_string()));
    };
    apply(&wants(60));
    let lobbies = world.lobbies(&namespace);
    world.deployment_ready(&namespace, "demo-lobby").await;
    lobby_says(&lobbies, "demo", "NamesPublished", "False/KindNotFound").await;
    lobby_says(&lobbies, "demo", "Ready", "True/AsPlanned").await;

    world.kubectl.run(&["apply", "-f", "-"], Some(include_str!("dnsendpoints.yaml")));
    world.kubectl.run(&["wait", "--for=condition=Established", "crd/dnsendpoints.externaldns.k8s.io"], None);
    world.kubectl.create(&namespace, &pool("us", &json!({"region": "us-east1"})));
    world.pods_ready(&namespace, 1).await;
    // A changed spec is looked at sooner than every five minutes.
    apply(&wants(30));
    let expected = json!([{"dnsName": "us-east1.r.example.com", "recordTTL": 30, "recordType": "CNAME", "targets": ["us-0.published.svc"]}]);
    // Whole: the pool's relay may be told before the new time of its records is.
    eventually("external-dns is told", async || {
        let told =
            world.kubectl.attempt(&["-n", &namespace, "get", "dnsendpoint", "demo-lobby-dns", "-o", "json"], None)?;
        let told: serde_json::Value = serde_json::from_str(&told).map_err(|error| error.to_string())?;
        if told["spec"]["endpoints"] == expected { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    lobby_says(&lobbies, "demo", "NamesPublished", "True/AsPlanned").await;
    apply(&lobby(&json!({})));
    eventually("it goes with the lobby's wish", async || {
        let left = world.kubectl.run(&["-n", &namespace, "get", "dnsendpoints", "-o", "name"], None);
        let status = lobbies.get("demo").await.expect("reads").status.expect("a status");
        let said = status.conditions.iter().any(|condition| condition.type_ == "NamesPublished");
        if left.is_empty() && !said { Ok(()) } else { Err(format!("{left} {said}")) }
    })
    .await;
}

pub(crate) async fn a_lobby_says_when_it_is_replaced(world: &World) {
    let namespace = world.namespace("replaced");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.deployment_ready(&namespace, "demo-lobby").await;
    let lobbies = world.lobbies(&namespace);
    lobby_says(&lobbies, "demo", "Ready", "True/AsPlanned").await;
    let change = json!({"spec": {"template": {"annotations": {"example.org/a": "b"}}}});
    lobbies.patch("demo", &PatchParams::default(), &Patch::Merge(&change)).await.expect("patches");
    // The pod of before answers until the Deployment's controller, which is not here, takes it away.
    let told = lobby_says(&lobbies, "demo", "Reconciling", "True/WaitingForPods").await;
    assert_eq!(says(&told.status.expect("a status").conditions, "Available"), "Available=True/AsPlanned");
    world.deployment_counts(&namespace, "demo-lobby", 0).await;
    lobby_says(&lobbies, "demo", "Available", "False/WaitingForPods").await;
    world.deployment_ready(&namespace, "demo-lobby").await;
    let settled = lobby_says(&lobbies, "demo", "Available", "True/AsPlanned").await;
    assert_eq!(says(&settled.status.expect("a status").conditions, "Progressing"), "Progressing=False/AsPlanned");
}

pub(crate) async fn load_balancers_and_ingresses_give_addresses_once_they_have_them(world: &World) {
    let namespace = world.namespace("exposed");
    world.kubectl.create(
        &namespace,
        &lobby(&json!({"exposure": {"ingress": {"domain": "example.org", "tlsSecretName": "wild"}}})),
    );
    world.kubectl.create(
        &namespace,
        &pool("lb", &json!({"exposure": {"loadBalancer": {"annotations": {"cloud.example/size": "small"}}}})),
    );
    world.kubectl.create(&namespace, &pool("ing", &json!({"exposure": {"ingress": {"domain": "relays.example.org"}}})));
    world.pods_ready(&namespace, 2).await;
    world.deployment_ready(&namespace, "demo-lobby").await;
    let pools = world.pools(&namespace);
    let waiting = pool_says(&pools, "lb", "Available", "False/WaitingForPods").await;
    assert_eq!(waiting.status.expect("a status").relays[0].url, None);
    let services: Api<Service> = world.api(&namespace);
    let service = services.get("lb-0").await.expect("reads");
    assert_eq!(service.annotations().get("cloud.example/size").map(String::as_str), Some("small"));
    let given = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}});
    services.patch_status("lb-0", &PatchParams::default(), &Patch::Merge(&given)).await.expect("patches");
    let ingresses: Api<Ingress> = world.api(&namespace);
    for name in ["ing-0", "demo-lobby"] {
        ingresses.patch_status(name, &PatchParams::default(), &Patch::Merge(&given)).await.expect("patches");
    }
    let url = |pool: convene::api::RelayPool| pool.status.and_then(|status| status.relays[0].url.clone());
    let balanced = pool_says(&pools, "lb", "Available", "True/AsPlanned").await;
    assert_eq!(url(balanced).as_deref(), Some("ws://203.0.113.7:8080"));
    let routed = pool_says(&pools, "ing", "Available", "True/AsPlanned").await;
    assert_eq!(url(routed).as_deref(), Some("ws://ing-0.relays.example.org"));
    let lobby = lobby_says(&world.lobbies(&namespace), "demo", "Available", "True/AsPlanned").await;
    assert_eq!(lobby.status.expect("a status").url.as_deref(), Some("https://demo-lobby.example.org"));
}

pub(crate) async fn what_is_deleted_leaves_nothing(world: &World) {
    let namespace = world.namespace("deleted");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world
        .kubectl
        .create(&namespace, &pool("a", &json!({"replicas": 2, "exposure": {"ingress": {"domain": "example.org"}}})));
    world.pods_ready(&namespace, 2).await;
    world.kubectl.run(&["-n", &namespace, "delete", "convene", "--all", "--wait=false"], None);
    eventually("nothing of ours is left", async || {
        let left = versions(world, &namespace);
        let left: Vec<_> = left
            .into_keys()
            .filter(|name| {
                !["ConfigMap/kube-root-ca.crt", "ServiceAccount/default", "RoleBinding/convene-operator"]
                    .contains(&name.as_str())
            })
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}
