//! Where sessions go: rungs of knowledge, full pools, silence, cordons, changes of the table.

use std::time::Duration;

use convene::wire::session::{Problem, Rung, SessionCreated};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::api::create;
use crate::fake_relay::FakeRelay;
use crate::world::{Cluster, Running, eventually, pool, table, three_pools};

async fn refused(lobby: &Running) -> (StatusCode, String, bool) {
    let answer = Client::new().post(lobby.url("/v1/sessions")).send().await.expect("an answer");
    let (status, retry) = (answer.status(), answer.headers().contains_key("retry-after"));
    (status, answer.json::<Problem>().await.expect("a problem").code, retry)
}

async fn all_linked(lobby: &Running, cluster: &Cluster, capacity: u32) -> Vec<FakeRelay> {
    let mut relays = Vec::new();
    for name in ["eu-west-1-0", "asia-northeast1-0", "southamerica-east1-0"] {
        let relay = FakeRelay::link(lobby, cluster, name, capacity).await;
        relay.keep_alive(capacity);
        relays.push(relay);
    }
    relays
}

fn first(created: &SessionCreated) -> (&str, Rung) {
    (created.session.region.as_str(), created.ranking[0].rung)
}

#[tokio::test]
async fn each_rung_of_knowledge_places() {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, three_pools(100))).await;
    let _relays = all_linked(&lobby, &cluster, 100).await;
    for (place, region, rung) in [
        (
            json!({"latencies": {"southamerica-east1": 20, "eu-west-1": 90, "asia-northeast1": 300}}),
            "southamerica-east1",
            Rung::Measured,
        ),
        (json!({"location": {"latitude": 34.69, "longitude": 135.5}}), "asia-northeast1", Rung::Coordinates),
        (json!({"location": {"latitude": -34.6, "longitude": -58.4}}), "southamerica-east1", Rung::Coordinates),
        (json!({"region": "europe-west2"}), "eu-west-1", Rung::Region),
        (json!({"region": "asia-northeast1"}), "asia-northeast1", Rung::Region),
        (json!({"region": "nobody-knows"}), "eu-west-1", Rung::DeclaredOrder),
        (json!({}), "eu-west-1", Rung::DeclaredOrder),
        // What was measured beats what is nearer on the map.
        (
            json!({"latencies": {"eu-west-1": 5}, "location": {"latitude": 34.69, "longitude": 135.5}}),
            "eu-west-1",
            Rung::Measured,
        ),
    ] {
        let created = create(&lobby, &json!({ "place": place })).await;
        assert_eq!(first(&created), (region, rung), "{place}");
        assert_eq!(created.ranking.len(), 3);
        assert!(created.ranking[0].reason.ends_with("has room: chosen"), "{}", created.ranking[0].reason);
    }
    let metrics = lobby.metrics().await;
    assert!(
        metrics.contains(r#"convene_lobby_placements_total{region="eu-west-1",rung="declaredOrder"} 2"#),
        "{metrics}"
    );
    lobby.stop().await;
}

#[tokio::test]
async fn a_full_pool_is_passed_over_and_a_herd_never_overfills() {
    let cluster = Cluster::new();
    let pools = vec![pool("asia-northeast1", 35.68, 139.69, 2, 5), pool("eu-west-1", 53.35, -6.26, 1, 5)];
    let lobby = Running::start_with(&table(&cluster, pools), |args| args.lease_seconds = 3).await;
    assert_eq!(refused(&lobby).await, (StatusCode::SERVICE_UNAVAILABLE, "no_relay".to_owned(), true));
    let mut relays = Vec::new();
    for name in ["asia-northeast1-0", "asia-northeast1-1", "eu-west-1-0"] {
        // They report nothing: only what was granted counts.
        relays.push(FakeRelay::link(&lobby, &cluster, name, 5).await);
    }
    let place: Value = json!({"place": {"location": {"latitude": 35.0, "longitude": 139.0}}});
    // One client for all: to make twenty takes longer than relays that report nothing stay linked, on a busy machine.
    let client = Client::new();
    let herd = futures::future::join_all(
        (0..20).map(|_| async { client.post(lobby.url("/v1/sessions")).json(&place).send().await.expect("an answer") }),
    )
    .await;
    let mut placed = std::collections::BTreeMap::<String, u32>::new();
    for answer in herd {
        if answer.status() == StatusCode::CREATED {
            let created: SessionCreated = answer.json().await.expect("a session");
            *placed.entry(created.session.relay).or_default() += 1;
        } else {
            assert_eq!(answer.json::<Problem>().await.expect("a problem").code, "no_capacity");
        }
    }
    let placed: Vec<(&str, u32)> = placed.iter().map(|(relay, count)| (relay.as_str(), *count)).collect();
    assert_eq!(placed, [("asia-northeast1-0", 5), ("asia-northeast1-1", 5), ("eu-west-1-0", 5)]);

    // Nobody connects: the seats return with the lease.
    eventually("the seats return", async || {
        for relay in &relays {
            relay.load(5, 0, 0);
        }
        created_one(&lobby).await
    })
    .await;
    // One after another, and the figure follows with the next sweep.
    eventually("all seats are counted", async || {
        let metrics = lobby.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix("convene_lobby_leases_expired_total "));
        line.and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count >= 15)
    })
    .await;
    lobby.stop().await;
}

async fn created_one(lobby: &Running) -> bool {
    let answer = Client::new().post(lobby.url("/v1/sessions")).send().await.expect("an answer");
    answer.status() == StatusCode::CREATED
}

#[tokio::test]
async fn what_a_relay_reports_counts_as_well() {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, vec![pool("asia-northeast1", 35.68, 139.69, 1, 10)])).await;
    let relay = FakeRelay::link(&lobby, &cluster, "asia-northeast1-0", 10).await;
    relay.load(10, 6, 4);
    eventually("it is full", async || refused(&lobby).await.1 == "no_capacity").await;
    relay.load(10, 6, 3);
    eventually("it has room", async || created_one(&lobby).await).await;
    lobby.stop().await;
}

#[tokio::test]
async fn a_silent_relay_gets_nothing_until_it_is_heard_again() {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, three_pools(100))).await;
    let tokyo = FakeRelay::link(&lobby, &cluster, "asia-northeast1-0", 100).await;
    let dublin = FakeRelay::link(&lobby, &cluster, "eu-west-1-0", 100).await;
    dublin.keep_alive(100);
    let in_tokyo = json!({"place": {"region": "asia-northeast1"}});
    assert_eq!(create(&lobby, &in_tokyo).await.session.region, "asia-northeast1");
    tokio::time::sleep(Duration::from_millis(5200)).await;
    let created = create(&lobby, &in_tokyo).await;
    assert_eq!(created.session.region, "eu-west-1");
    assert!(created.ranking[0].reason.ends_with("not heard"), "{}", created.ranking[0].reason);
    tokyo.load(100, 0, 0);
    eventually("it is heard", async || create(&lobby, &in_tokyo).await.session.region == "asia-northeast1").await;
    lobby.stop().await;
}

#[tokio::test]
async fn a_change_of_the_table_applies_at_once_and_a_broken_one_does_not() {
    let cluster = Cluster::new();
    let mut now = table(&cluster, three_pools(100));
    let lobby = Running::start(&now).await;
    let _relays = all_linked(&lobby, &cluster, 100).await;
    let in_tokyo = json!({"place": {"region": "asia-northeast1"}});
    let before = create(&lobby, &in_tokyo).await;
    assert_eq!(before.session.region, "asia-northeast1");

    now.pools[1].relays[0].cordoned = true;
    lobby.change_table(&serde_json::to_string(&now).expect("JSON")).await;
    let cordoned = create(&lobby, &in_tokyo).await;
    assert_eq!(cordoned.session.region, "eu-west-1");
    assert!(cordoned.ranking[0].reason.ends_with("takes no new sessions"), "{}", cordoned.ranking[0].reason);
    let joined = crate::api::join(&lobby, &before.session.id, &before.join_key).await;
    assert_eq!(joined.status(), StatusCode::OK, "a cordoned relay keeps its sessions");

    for broken in ["{", r#"{"lobbyUid": ""}"#, "null"] {
        lobby.change_table(broken).await;
        assert_eq!(create(&lobby, &json!({})).await.session.region, "eu-west-1");
    }
    assert!(lobby.metrics().await.contains(r#"convene_lobby_table_reads_total{outcome="broken",source="file"} 3"#));
    let ready = reqwest::get(format!("http://{}/readyz", lobby.health)).await.expect("an answer");
    assert_eq!(ready.status(), StatusCode::OK);

    // A pool that leaves the table gets nothing, and its live sessions stay as long as it is linked.
    now.pools.remove(1);
    lobby.change_table(&serde_json::to_string(&now).expect("JSON")).await;
    let created = create(&lobby, &in_tokyo).await;
    assert_ne!(created.session.region, "asia-northeast1");
    assert_eq!(created.ranking.len(), 2);
    let joined = crate::api::join(&lobby, &before.session.id, &before.join_key).await;
    assert_eq!(joined.status(), StatusCode::OK);
    lobby.stop().await;
}
