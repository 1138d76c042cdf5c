//! A lobby's settings of routing, from the relay table to what clients are answered: residency, overflow, caps, spread, and
//! pools without relays that are wanted.

use convene::wire::explain::RouteView;
use convene::wire::link::FromLobby;
use convene::wire::routing::{Cap, Inside, Overflow, RegionRule, Routing, Strategy};
use convene::wire::session::{GuestWaits, Joined, Problem, Rung, SessionCreated, SessionView};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::api::create;
use crate::fake_relay::FakeRelay;
use crate::world::{ADMIN_TOKEN, Cluster, Running, eventually, pool, table, three_pools};

fn residing(name: &str, residency: &str) -> RegionRule {
    RegionRule { name: name.to_owned(), residency: Some(residency.to_owned()), priority: 0, distance_percent: 100 }
}

/// A lobby with a relay of so many seats in Dublin, Tokyo and São Paulo.
async fn lobby(routing: Routing, seats: [u32; 3]) -> (Running, Vec<FakeRelay>) {
    let cluster = Cluster::new();
    let mut table = table(&cluster, three_pools(100));
    table.routing = routing;
    let lobby = Running::start(&table).await;
    let mut relays = Vec::new();
    for (name, seats) in ["eu-west-1-0", "asia-northeast1-0", "southamerica-east1-0"].into_iter().zip(seats) {
        let relay = FakeRelay::link(&lobby, &cluster, name, seats).await;
        relay.keep_alive(seats);
        relays.push(relay);
    }
    (lobby, relays)
}

async fn ask(lobby: &Running, query: &str, body: &Value) -> Response {
    Client::new().post(lobby.url(&format!("/v1/sessions{query}"))).json(body).send().await.expect("an answer")
}

async fn code(answer: Response) -> (u16, String) {
    (answer.status().as_u16(), answer.json::<Problem>().await.expect("a problem").code)
}

#[tokio::test]
async fn a_session_resides_where_its_host_asks_wherever_it_is_wanted() {
    let regions = vec![residing("eu-west-1", "eu"), residing("southamerica-east1", "br")];
    let (lobby, _relays) = lobby(Routing { regions, ..Routing::default() }, [1, 10, 10]).await;
    let in_tokyo = |residency: &str| json!({"place": {"region": "asia-northeast1", "residency": residency}});
    let resident = create(&lobby, &in_tokyo("eu")).await;
    assert_eq!(resident.session.region, "eu-west-1");
    assert!(
        resident.ranking[0].reason.ends_with("not of the residency that is asked for"),
        "{:?}",
        resident.ranking[0]
    );
    // Full: nowhere else.
    assert_eq!(code(ask(&lobby, "", &in_tokyo("eu")).await).await, (503, "no_capacity".to_owned()));
    assert_eq!(code(ask(&lobby, "", &in_tokyo("mars")).await).await, (409, "no_such_residency".to_owned()));
    assert_eq!(code(ask(&lobby, "", &in_tokyo("")).await).await, (400, "invalid_place".to_owned()));
    assert!(lobby.metrics().await.contains(r#"convene_lobby_refused_total{code="invalid_place"} 1"#), "it is counted");
    // Not even the admin moves it away.
    let to = lobby.url(&format!("/v1/sessions/{}/move", resident.session.id));
    let moved = Client::new().post(to).bearer_auth(ADMIN_TOKEN).json(&json!({"region": "asia-northeast1"})).send();
    assert_eq!(code(moved.await.expect("an answer")).await, (409, "other_residency".to_owned()));
    assert_eq!(
        create(&lobby, &json!({"place": {"region": "asia-northeast1"}})).await.session.region,
        "asia-northeast1"
    );
    lobby.stop().await;
}

#[tokio::test]
async fn overflow_never_leaves_the_region_and_a_wait_is_for_a_seat_there() {
    let (lobby, relays) = lobby(Routing { overflow: Overflow::Never, ..Routing::default() }, [10, 0, 10]).await;
    let in_tokyo = json!({"place": {"region": "asia-northeast1"}});
    assert_eq!(code(ask(&lobby, "", &in_tokyo).await).await, (503, "no_capacity".to_owned()));
    let waits = async { ask(&lobby, "?wait=30", &in_tokyo).await };
    let others = async {
        // Whoever waits for Tokyo keeps nobody from a seat elsewhere.
        let created = create(&lobby, &json!({"place": {"region": "eu-west-1"}})).await;
        assert_eq!(created.session.region, "eu-west-1");
        relays[1].keep_alive(1);
    };
    let (waited, ()) = tokio::join!(waits, others);
    assert_eq!(waited.status(), StatusCode::CREATED);
    assert_eq!(waited.json::<SessionCreated>().await.expect("a session").session.region, "asia-northeast1");
    lobby.stop().await;
}

#[tokio::test]
async fn who_waits_may_go_farther_in_time() {
    let caps = vec![Cap { at_most_ms: 50, for_seconds: 3 }];
    let (lobby, _relays) = lobby(Routing { caps, ..Routing::default() }, [10, 0, 0]).await;
    let far = json!({"place": {"latencies": {"asia-northeast1": 5, "eu-west-1": 200}}});
    assert_eq!(code(ask(&lobby, "", &far).await).await, (503, "no_capacity".to_owned()));
    let waited = ask(&lobby, "?wait=30", &far).await;
    assert_eq!(waited.json::<SessionCreated>().await.expect("a session").session.region, "eu-west-1");
    lobby.stop().await;
}

#[tokio::test]
async fn a_herd_is_spread_and_none_has_a_tenth_more_than_its_share() {
    let cluster = Cluster::new();
    let mut table = table(&cluster, vec![pool("asia-northeast1", 35.68, 139.69, 4, 300)]);
    table.routing.inside = Inside::Spread;
    let lobby = Running::start_with(&table, |args| args.max_sessions = 2_000).await;
    let mut relays = Vec::new();
    for n in 0..4 {
        let relay = FakeRelay::link(&lobby, &cluster, &format!("asia-northeast1-{n}"), 300).await;
        relay.keep_alive(300);
        relays.push(relay);
    }
    // From many places: one address alone may not ask for so much.
    let clients: Vec<Client> = (1..=100).map(|n| at_address([127, 0, 50, n])).collect();
    let arrive = async |count: usize, clients: &[Client]| {
        let arrivals = clients.iter().cycle().take(count).map(async |client| {
            let answer = client.post(lobby.url("/v1/sessions")).send().await.expect("an answer");
            if answer.status() != StatusCode::CREATED {
                return Err(code(answer).await);
            }
            Ok(answer.json::<SessionCreated>().await.expect("a session").session.relay)
        });
        futures::future::join_all(arrivals).await
    };
    let mut placed = std::collections::BTreeMap::<String, u32>::new();
    for relay in arrive(1000, &clients[..50]).await {
        *placed.entry(relay.expect("there is room for all")).or_default() += 1;
    }
    assert!(placed.len() == 4 && placed.values().all(|count| *count <= 275), "{placed:?}");
    // There are 200 seats left.
    let mut refused = 0;
    for answer in arrive(300, &clients[50..]).await {
        match answer {
            Ok(relay) => *placed.entry(relay).or_default() += 1,
            Err(why) => {
                assert_eq!(why, (503, "no_capacity".to_owned()));
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 100);
    assert!(placed.values().all(|count| *count == 300), "{placed:?}");
    lobby.stop().await;
}

fn at_address(address: [u8; 4]) -> Client {
    Client::builder().local_address(std::net::IpAddr::from(address)).build().expect("a client")
}

#[tokio::test]
async fn a_pool_without_relays_is_wanted_when_a_session_goes_elsewhere() {
    // Also for a client that has measured all that it could: there is nothing to measure in a pool without relays.
    for (latencies, rank) in [(json!({}), 0), (json!({"eu-west-1": 230.0}), 1)] {
        let cluster = Cluster::new();
        let mut pools = three_pools(10);
        pools[1].relays.clear();
        let lobby = Running::start(&table(&cluster, pools)).await;
        let dublin = FakeRelay::link(&lobby, &cluster, "eu-west-1-0", 10).await;
        dublin.keep_alive(10);
        let metric = r#"convene_lobby_waiting{region="asia-northeast1"} 1"#;
        assert!(!lobby.metrics().await.contains(metric));
        let place = json!({"region": "asia-northeast1", "latencies": latencies});
        let created = create(&lobby, &json!({"place": place})).await;
        assert_eq!(created.session.region, "eu-west-1");
        assert!(created.ranking[rank].reason.ends_with("has no relay"), "{:?}", created.ranking);
        eventually("a relay is wanted", async || lobby.metrics().await.contains(metric)).await;
        lobby.stop().await;
    }
}

#[tokio::test]
async fn a_route_is_explained_to_anybody_and_shown_by_kubectl_convene() {
    let (lobby, _relays) = lobby(Routing::default(), [10, 10, 0]).await;
    let get = async |query: &str| reqwest::get(lobby.url(&format!("/v1/route{query}"))).await.expect("an answer");
    let route: RouteView = get("?location=-34.6,-58.4&latencies=eu-west-1=40.5").await.json().await.expect("a route");
    assert_eq!((route.pool.as_deref(), route.relay.as_deref()), (Some("eu-west-1"), Some("eu-west-1-0")));
    let told = |n: usize| (route.ranking[n].pool.as_str(), route.ranking[n].rung, route.ranking[n].free_seats);
    assert_eq!(told(0), ("eu-west-1", Rung::Measured, 10));
    assert_eq!(told(1), ("southamerica-east1", Rung::Coordinates, 0));
    assert_eq!((route.ranking[0].estimate_ms, route.ranking[0].score), (Some(40.5), Some(40.5)));
    // Nothing is kept for it, and it says what a session would do.
    let again: RouteView = get("?location=-34.6,-58.4").await.json().await.expect("a route");
    assert_eq!((again.wanted.as_deref(), again.pool.as_deref()), (Some("southamerica-east1"), Some("eu-west-1")));
    let created = create(&lobby, &json!({"place": {"location": {"latitude": -34.6, "longitude": -58.4}}})).await;
    assert_eq!(Some(created.session.relay), again.relay);
    assert_eq!(created.ranking, again.ranking);

    for (query, expected) in [
        ("?location=91,0", (400, "invalid_query")),
        ("?location=NaN,0", (400, "invalid_query")),
        ("?latencies=eu-west-1=-3", (400, "invalid_query")),
        ("?lat=1", (400, "invalid_query")),
        ("?residency=eu", (409, "no_such_residency")),
    ] {
        assert_eq!(code(get(query).await).await, (expected.0, expected.1.to_owned()), "{query}");
    }
    assert!(
        lobby.metrics().await.contains(r#"convene_lobby_refused_total{code="invalid_query"} 4"#),
        "they are counted"
    );

    let url = lobby.url("");
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_convene"));
        command.args(["ctl", "route", "meet", "--url", url.trim_end_matches('/')]).args(arguments);
        let output = command.output().await.expect("the program can be run");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (good, shown, error) = run(&["--from", "-34.6,-58.4", "--latency", "eu-west-1=40.5"]).await;
    assert!(good, "{error}");
    assert!(shown.starts_with("A session would go to relay eu-west-1-0 of pool eu-west-1.\n"), "{shown}");
    assert_eq!(shown.lines().count(), 6, "{shown}");
    let (good, _, error) = run(&["--from", "91,0"]).await;
    assert!(!good && error.contains("location: must be latitude and longitude"), "{error}");
    lobby.stop().await;
}

/// Round trips to Dublin, Tokyo and São Paulo.
fn measured(dublin: u32, tokyo: u32, sao_paulo: u32) -> Value {
    json!({"latencies": {"eu-west-1": dublin, "asia-northeast1": tokyo, "southamerica-east1": sao_paulo}})
}

#[tokio::test]
async fn a_region_that_counts_as_farther_loses_new_sessions_of_those_whose_distance_is_known() {
    let (lobby, _relays) = lobby(Routing::default(), [10, 10, 10]).await;
    lobby.serves_everywhere().await;
    let near = json!({"place": measured(20, 30, 200)});
    let region = async |body: &Value| create(&lobby, body).await.session.region;
    let first = create(&lobby, &near).await;
    assert_eq!(first.session.region, "eu-west-1");
    for (percent, expected) in [(140, "eu-west-1"), (200, "asia-northeast1")] {
        let mut table = lobby.table();
        table.routing.regions =
            vec![RegionRule { distance_percent: percent, residency: None, ..residing("eu-west-1", "") }];
        lobby.change_table(&serde_json::to_string(&table).expect("JSON")).await;
        let score = Some(20.0 * f64::from(percent) / 100.0);
        let query = "/v1/route?latencies=eu-west-1=20,asia-northeast1=30,southamerica-east1=200";
        let has_come = async || {
            let route = reqwest::get(lobby.url(query)).await.expect("an answer");
            let route: RouteView = route.json().await.expect("a route");
            route.ranking.iter().any(|pool| pool.region == "eu-west-1" && pool.score == score)
        };
        eventually("the setting has come", has_come).await;
        assert_eq!(region(&near).await, expected, "{percent} %");
        assert_eq!(
            region(&json!({"place": measured(10, 90, 200)})).await,
            "eu-west-1",
            "{percent} %: it is far nearer"
        );
        assert_eq!(
            region(&json!({})).await,
            "eu-west-1",
            "{percent} %: nothing is known, so the declared order stands"
        );
    }
    // What lives there stays.
    let url = lobby.url(&format!("/v1/sessions/{}", first.session.id));
    let view = Client::new().get(&url).bearer_auth(ADMIN_TOKEN).send().await.expect("an answer");
    assert_eq!(view.json::<SessionView>().await.expect("a session").region, "eu-west-1");
    lobby.stop().await;
}

#[tokio::test]
async fn a_session_moves_for_a_far_guest_and_not_again_soon() {
    let (lobby, relays) = lobby(Routing::default(), [10, 10, 10]).await;
    lobby.serves_everywhere().await;
    let created = create(&lobby, &json!({"place": measured(10, 120, 90)})).await;
    let (id, key) = (created.session.id.clone(), created.join_key.expect("a key"));
    let url = lobby.url(&format!("/v1/sessions/{id}/join"));
    let join = async |place: Value| -> (String, u64) {
        let body = json!({"joinKey": key, "place": place});
        let joined = Client::new().post(&url).json(&body).send().await.expect("an answer");
        let joined: Joined = joined.json().await.expect("a pass");
        assert!(joined.connect.url.contains(&joined.session.relay), "the pass is for where it lives now");
        (joined.session.region, joined.session.epoch)
    };
    assert_eq!(join(measured(15, 130, 95)).await, ("eu-west-1".to_owned(), 1));
    assert_eq!(join(json!({})).await, ("eu-west-1".to_owned(), 1));
    // For the worst off of those who are known: 250 in Dublin, 130 in Tokyo, 240 in São Paulo.
    assert_eq!(join(measured(250, 100, 240)).await, ("asia-northeast1".to_owned(), 2));
    let told = FromLobby::Move { session: id.clone(), epoch: 1 };
    eventually("the old relay lets go", async || relays[0].know(|memory| memory.messages.contains(&told))).await;
    // For this one Dublin would be nearer by far; but the session has just moved.
    assert_eq!(join(measured(5, 900, 5)).await, ("asia-northeast1".to_owned(), 2));
    let metrics = lobby.metrics().await;
    for line in [
        "convene_lobby_moves_total{cause=\"guests\"} 1",
        "convene_lobby_guest_places_total{place=\"known\"} 3",
        "convene_lobby_guest_places_total{place=\"unknown\"} 1",
    ] {
        assert!(metrics.lines().any(|text| text == line), "{line} in\n{metrics}");
    }
    let wrong = json!({"joinKey": key, "place": {"location": {"latitude": 91, "longitude": 0}}});
    let refused = Client::new().post(&url).json(&wrong).send().await.expect("an answer");
    assert_eq!(code(refused).await, (400, "invalid_place".to_owned()));
    // Where anybody is, nobody is told.
    let view = Client::new().get(lobby.url(&format!("/v1/sessions/{id}"))).bearer_auth(ADMIN_TOKEN).send().await;
    let view: Value = view.expect("an answer").json().await.expect("JSON");
    let fields: Vec<&str> = view.as_object().expect("a session").keys().map(String::as_str).collect();
    assert_eq!(fields, ["approval", "createdAt", "epoch", "id", "region", "relay", "state"]);
    lobby.stop().await;
}

#[tokio::test]
async fn with_the_host_as_strategy_guests_move_nothing() {
    let routing = Routing { strategy: Strategy::Host, ..Routing::default() };
    let (lobby, _relays) = lobby(routing, [10, 10, 10]).await;
    let created = create(&lobby, &json!({"place": measured(10, 120, 90)})).await;
    let body = json!({"joinKey": created.join_key, "place": measured(250, 100, 240)});
    let url = lobby.url(&format!("/v1/sessions/{}/join", created.session.id));
    let joined: Joined =
        Client::new().post(&url).json(&body).send().await.expect("an answer").json().await.expect("a pass");
    assert_eq!((joined.session.region.as_str(), joined.session.epoch), ("eu-west-1", 1));
    lobby.stop().await;
}

#[tokio::test]
async fn a_guest_that_the_host_has_not_let_in_moves_nothing() {
    let (lobby, _relays) = lobby(Routing::default(), [10, 10, 10]).await;
    lobby.serves_everywhere().await;
    let created = create(&lobby, &json!({"place": measured(10, 120, 90), "approval": true})).await;
    let url = lobby.url(&format!("/v1/sessions/{}", created.session.id));
    let mut body = json!({"joinKey": created.join_key, "place": measured(250, 100, 240)});
    let asked = Client::new().post(format!("{url}/join")).json(&body).send().await.expect("an answer");
    let waits: GuestWaits = asked.json().await.expect("the host is asked");
    let session = async || -> SessionView {
        let view = Client::new().get(&url).bearer_auth(&created.host_token).send().await.expect("an answer");
        view.json().await.expect("a session")
    };
    assert_eq!(session().await.epoch, 1);
    let approve = format!("{url}/guests/{}/approve", waits.guest.id);
    let approved = Client::new().post(approve).bearer_auth(&created.host_token).send().await.expect("an answer");
    assert_eq!(approved.status(), StatusCode::OK);
    body["guestToken"] = json!(waits.guest_token);
    let joined = Client::new().post(format!("{url}/join")).json(&body).send().await.expect("an answer");
    let joined: Joined = joined.json().await.expect("a pass");
    assert_eq!(joined.connect.participant, waits.guest.id);
    assert_eq!((joined.session.region.as_str(), joined.session.epoch), ("asia-northeast1", 2));
    lobby.stop().await;
}
