//! Where the router's knowledge comes from, and what it answers while that is away.

use std::sync::{Arc, Mutex};

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::world::{PARIS, Running, TOKYO, eventually, relay, table};

#[tokio::test]
async fn what_changes_in_the_table_changes_answers_and_the_last_good_one_keeps_being_answered() {
    let router = Running::start(&table()).await;
    assert_eq!(router.near(PARIS).await, ["192.0.2.1", "192.0.2.2"]);
    let mut cordoned = table();
    cordoned.pools[0].relays[0].cordoned = true;
    router.write_table(&serde_json::to_string(&cordoned).expect("JSON"));
    eventually("the cordoned relay is passed over", async || router.near(PARIS).await == ["192.0.2.2"]).await;
    cordoned.pools[0].relays[1].leaving = true;
    router.write_table(&serde_json::to_string(&cordoned).expect("JSON"));
    eventually("the next pool takes over", async || router.near(PARIS).await == ["192.0.2.20"]).await;

    for broken in ["{", r#"{"pools": 7}"#, &serde_json::to_string(&table()).expect("JSON").replace("53.35", "95.0")] {
        let before = router.metric("convene_router_table_reads_total{outcome=\"broken\",source=\"file\"}").await;
        router.write_table(broken);
        eventually("the broken table is told", async || {
            router.metric("convene_router_table_reads_total{outcome=\"broken\",source=\"file\"}").await > before
        })
        .await;
        assert_eq!(router.near(PARIS).await, ["192.0.2.20"], "the last good one is answered");
    }
    router.remove_table();
    eventually("the table's age grows", async || router.metric("convene_router_table_age_seconds").await >= 2).await;
    assert_eq!(router.near(PARIS).await, ["192.0.2.20"]);
    let ready = router.get("/readyz").await;
    assert!(ready.starts_with("ok: the relay table is ") && ready.ends_with(" s old\n"), "{ready}");
    router.write_table(&serde_json::to_string(&table()).expect("JSON"));
    eventually("it is young again", async || {
        router.metric("convene_router_table_age_seconds").await <= 1 && router.near(PARIS).await.len() == 2
    })
    .await;
    router.stop().await;
}

/// A lobby that says of its regions what a case has it say.
async fn lobby(says: Arc<Mutex<Value>>) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().route(
        "/v1/regions",
        get(move || {
            let says = says.lock().expect("not poisoned").clone();
            async move { Json(says) }
        }),
    );
    let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
    (url, task)
}

fn regions(dublin: (u32, u32), saopaulo: (u32, u32)) -> Value {
    let region = |name: &str, (relays, free): (u32, u32)| json!({"region": name, "latitude": 0, "longitude": 0, "relays": relays, "freeSeats": free});
    json!([region("eu-west-1", dublin), region("southamerica-east1", saopaulo)])
}

#[tokio::test]
async fn what_the_lobby_says_of_its_regions_moves_answers_and_lasts_while_it_is_away() {
    let says = Arc::new(Mutex::new(regions((2, 20), (1, 10))));
    let (url, task) = lobby(Arc::clone(&says)).await;
    let router = Running::start_with(&table(), &[&format!("--lobby-url={url}")]).await;
    eventually("the lobby is heard", async || router.get("/readyz").await.contains("of its regions 0 s")).await;
    assert_eq!(router.near(PARIS).await, ["192.0.2.1", "192.0.2.2"]);
    let set = |value| *says.lock().expect("not poisoned") = value;
    set(regions((2, 0), (1, 10)));
    eventually("a full region is passed over", async || router.near(PARIS).await == ["192.0.2.20"]).await;
    set(regions((2, 20), (1, 10)));
    eventually("it has room again", async || router.near(PARIS).await.len() == 2).await;
    set(regions((0, 20), (1, 10)));
    eventually("no relay is linked there", async || router.near(PARIS).await == ["192.0.2.20"]).await;
    set(json!({"not": "regions"}));
    eventually("what is no answer is told", async || {
        router.metric("convene_router_region_reads_total{outcome=\"broken\"}").await > 0
    })
    .await;
    assert_eq!(router.near(PARIS).await, ["192.0.2.20"], "what it said last counts");
    task.abort();
    eventually("it is away", async || router.metric("convene_router_region_reads_total{outcome=\"failed\"}").await > 0)
        .await;
    assert_eq!(router.near(PARIS).await, ["192.0.2.20"]);
    // Of Tokyo it never said anything: that is neither full nor gone.
    assert_eq!(router.near(TOKYO).await, ["192.0.2.9"]);
    router.stop().await;
}

#[tokio::test]
async fn a_relay_whose_link_is_lost_is_not_named_and_comes_back() {
    let says =
        |away: &[&str]| json!([{"region": "eu-west-1", "relays": 2 - away.len(), "freeSeats": 10, "notHeard": away}]);
    let said = Arc::new(Mutex::new(says(&[])));
    let (url, task) = lobby(Arc::clone(&said)).await;
    let router = Running::start_with(&table(), &[&format!("--lobby-url={url}")]).await;
    eventually("the lobby is heard", async || router.get("/readyz").await.contains("of its regions 0 s")).await;
    let set = |away: &[&str]| *said.lock().expect("not poisoned") = says(away);
    assert_eq!(router.near(PARIS).await, ["192.0.2.1", "192.0.2.2"]);
    set(&["dublin-1"]);
    eventually("it is not named", async || router.near(PARIS).await == ["192.0.2.1"]).await;
    let redirect = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let answer = redirect.get(format!("http://{}/?region=eu-west-1", router.http)).send().await.expect("an answer");
    assert_eq!(answer.headers()["location"], "http://192.0.2.1:31000/");
    set(&["dublin-0"]);
    eventually("nor is the other", async || router.near(PARIS).await == ["192.0.2.2"]).await;
    set(&[]);
    eventually("both are back", async || router.near(PARIS).await.len() == 2).await;
    task.abort();
    router.stop().await;
}

#[tokio::test]
async fn relays_with_a_name_have_the_addresses_that_it_leads_to() {
    let mut named = table();
    // The first is 192.0.2.7 as one number, a name that every machine knows without asking anybody.
    let urls = ["wss://3221225991:8443", "wss://nowhere.invalid", "wss://localhost"];
    named.pools[1].relays =
        urls.iter().zip(["tokyo-0", "tokyo-1", "tokyo-2"]).map(|(url, name)| relay(name, url)).collect();
    let router = Running::start(&named).await;
    assert_eq!(router.near(TOKYO).await, ["192.0.2.7"], "it is looked up before the router is ready");
    let without = "convene_router_names_without_address";
    assert_eq!(router.metric(without).await, 2, "nowhere.invalid, and localhost, which is another machine elsewhere");
    let srv = router.dig("_wss._tcp.asia-northeast1.relays.example.com SRV").await;
    assert_eq!(srv.answers(), ["10 0 8443 3221225991."], "the name itself, not ours");
    router.stop().await;
}
