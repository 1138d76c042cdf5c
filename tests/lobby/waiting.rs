//! Requests that wait for a seat: in order, no longer than they said, and not beyond the client.

use std::time::Duration;

use convene::process::clock;
use convene::wire::session::{Problem, SessionCreated, SessionView};
use convene::wire::stats::Demand;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::{create, with_bearer};
use crate::fake_relay::FakeRelay;
use crate::redis::Server;
use crate::world::{ADMIN_TOKEN, Cluster, Running, eventually, table, three_pools};

const TOKYO: &str = "asia-northeast1-0";
const DUBLIN: &str = "eu-west-1-0";

/// A request that is on its way.
fn post(lobby: &Running, path: &str, body: &Value) -> JoinHandle<Response> {
    let request = Client::new().post(lobby.url(path)).bearer_auth(ADMIN_TOKEN).json(body);
    tokio::spawn(async move { request.send().await.expect("an answer") })
}

fn near_tokyo() -> Value {
    json!({"place": {"region": "asia-northeast1"}})
}

async fn waiting(lobby: &Running, region: &str, count: u32) {
    let line = format!("convene_lobby_waiting{{region=\"{region}\"}} {count}");
    eventually(&line, async || lobby.metrics().await.lines().any(|told| told == line)).await;
}

async fn created(answer: JoinHandle<Response>) -> SessionCreated {
    let answer = answer.await.expect("no panic");
    assert_eq!(answer.status(), StatusCode::CREATED);
    answer.json().await.expect("a session")
}

async fn code(answer: Response) -> (u16, String) {
    (answer.status().as_u16(), answer.json::<Problem>().await.expect("a problem").code)
}

async fn close(lobby: &Running, id: &str) {
    let closed = with_bearer(lobby, Method::DELETE, &format!("/v1/sessions/{id}"), ADMIN_TOKEN).await;
    assert_eq!(closed.status(), StatusCode::NO_CONTENT);
}

/// A lobby with one relay of one seat, which a session has taken.
async fn full() -> (Cluster, Running, FakeRelay, SessionCreated) {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, three_pools(1))).await;
    let relay = FakeRelay::link(&lobby, &cluster, TOKYO, 1).await;
    relay.keep_alive(1);
    let first = create(&lobby, &near_tokyo()).await;
    let id = first.session.id.clone();
    eventually("the seat is held", async || relay.know(|memory| memory.held.contains_key(&id))).await;
    // Somebody has come, so that the seat does not return with its lease.
    relay.open(&id);
    (cluster, lobby, relay, first)
}

#[tokio::test]
async fn who_waits_is_served_in_order_and_before_who_comes_later() {
    let (_cluster, lobby, relay, first) = full().await;
    let mut waits = Vec::new();
    for count in 1..=3 {
        waits.push(post(&lobby, "/v1/sessions?wait=30", &near_tokyo()));
        waiting(&lobby, "asia-northeast1", count).await;
    }
    let mut holder = first.session.id;
    for left in (0..3).rev() {
        close(&lobby, &holder).await;
        holder = created(waits.remove(0)).await.session.id;
        let id = holder.clone();
        eventually("the seat is held", async || relay.know(|memory| memory.held.contains_key(&id))).await;
        relay.open(&holder);
        waiting(&lobby, "asia-northeast1", left).await;
        assert!(waits.iter().all(|wait| !wait.is_finished()), "one seat, one answer");
        if left > 0 {
            let late = post(&lobby, "/v1/sessions", &near_tokyo()).await.expect("no panic");
            assert_eq!(code(late).await, (503, "no_capacity".to_owned()));
        }
    }
    lobby.stop().await;
}

/// Several lobby processes on one Redis, and a relay of one seat that is taken: who waits longest gets it next, wherever
/// it waits. Prints how long after the relay's report each is answered.
#[tokio::test]
async fn who_waits_at_several_lobby_processes_stands_in_one_line() {
    let (cluster, server) = (Cluster::new(), Server::start().await);
    let lobbies = Running::start_on_redis(2, &server.url(), &table(&cluster, three_pools(1))).await;
    let relay = FakeRelay::link(&lobbies[0], &cluster, TOKYO, 1).await;
    relay.keep_alive(1);
    let mut holder = created(post(&lobbies[0], "/v1/sessions?wait=60", &near_tokyo())).await.session.id;
    let mut waits = Vec::new();
    for n in 0..4 {
        let lobby = &lobbies[usize::from(n % 2 == 0)];
        waits.push(post(lobby, "/v1/sessions?wait=60", &near_tokyo()));
        waiting(lobby, "asia-northeast1", n / 2 + 1).await;
    }
    // Both processes have told of those who wait there, for the second time at least.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for n in 0..4 {
        eventually("the seat is held", async || relay.know(|memory| memory.held.contains_key(&holder))).await;
        relay.open(&holder);
        close(&lobbies[0], &holder).await;
        eventually("the relay lets go", async || relay.know(|memory| memory.held.is_empty())).await;
        relay.load(1, 0, 0);
        let free = clock::monotonic();
        let answer = waits.remove(0);
        holder = created(answer).await.session.id;
        let took = clock::monotonic().saturating_sub(free);
        eprintln!("waiter {n} was answered {} ms after its seat appeared", took.as_millis());
        assert!(waits.iter().all(|wait| !wait.is_finished()), "one seat, one answer");
    }
    for lobby in lobbies {
        lobby.stop().await;
    }
}

#[tokio::test]
async fn a_relay_that_links_up_and_a_lease_that_runs_out_are_seats() {
    let cluster = Cluster::new();
    let lobby = Running::start_with(&table(&cluster, three_pools(1)), |args| args.lease_seconds = 3).await;
    let wait = post(&lobby, "/v1/sessions?wait=30", &near_tokyo());
    waiting(&lobby, "asia-northeast1", 1).await;
    let relay = FakeRelay::link(&lobby, &cluster, TOKYO, 1).await;
    let leased = created(wait).await;
    // Nobody comes to that session, and the relay says so.
    let next = post(&lobby, "/v1/sessions?wait=30", &near_tokyo());
    let id = leased.session.id;
    eventually("the seat is held", async || relay.know(|memory| memory.held.remove(&id).is_some())).await;
    relay.keep_alive(1);
    created(next).await;
    lobby.stop().await;
}

#[tokio::test]
async fn waiting_ends_with_its_time_and_with_its_client() {
    let (_cluster, lobby, _relay, _first) = full().await;
    let answer = post(&lobby, "/v1/sessions?wait=1", &near_tokyo()).await.expect("no panic");
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(code(answer).await, (503, "no_capacity".to_owned()));
    let wait = post(&lobby, "/v1/sessions?wait=60", &near_tokyo());
    waiting(&lobby, "asia-northeast1", 1).await;
    wait.abort();
    waiting(&lobby, "asia-northeast1", 0).await;
    lobby.stop().await;
}

#[tokio::test]
async fn a_move_waits_for_the_pool_that_it_is_for_and_holds_nobody_else_back() {
    let (cluster, lobby, _tokyo, first) = full().await;
    let dublin = FakeRelay::link(&lobby, &cluster, DUBLIN, 1).await;
    dublin.keep_alive(1);
    let other = create(&lobby, &json!({"place": {"region": "eu-west-1"}})).await;
    assert_eq!(other.session.relay, DUBLIN);
    let path = format!("/v1/sessions/{}/move?wait=30", first.session.id);
    let wait = post(&lobby, &path, &json!({"region": "eu-west-1"}));
    waiting(&lobby, "eu-west-1", 1).await;
    let third = FakeRelay::link(&lobby, &cluster, "southamerica-east1-0", 1).await;
    third.keep_alive(1);
    // There is room elsewhere, for which the move does not care.
    assert_eq!(create(&lobby, &near_tokyo()).await.session.relay, "southamerica-east1-0");
    close(&lobby, &other.session.id).await;
    let moved: SessionView = wait.await.expect("no panic").json().await.expect("a view");
    assert_eq!((moved.relay.as_str(), moved.epoch), (DUBLIN, 2));
    lobby.stop().await;
}

#[tokio::test]
async fn the_control_port_tells_who_waits_where() {
    let (_cluster, lobby, _relay, _first) = full().await;
    let url = format!("http://{}/v1/events", lobby.control);
    let mut stream = reqwest::get(&url).await.expect("an answer");
    let mut text = String::new();
    let mut told = async |expected: (u32, u32)| {
        let heard = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let demands = text.split("\n\n").filter_map(|event| event.split_once("data: ").map(|(_, data)| data));
                let tokyo = demands.filter_map(|data| serde_json::from_str::<Demand>(data).ok()).any(|demand| {
                    let tokyo = demand.pools.iter().find(|pool| pool.pool == "asia-northeast1");
                    tokyo.is_some_and(|tokyo| (tokyo.waiting, tokyo.leases) == expected)
                });
                if tokyo {
                    break;
                }
                let bytes = stream.chunk().await.expect("no error").expect("a stream");
                text.push_str(std::str::from_utf8(&bytes).expect("text"));
            }
        });
        assert!(heard.await.is_ok(), "not told: {expected:?} in {text}");
    };
    told((0, 0)).await;
    let wait = post(&lobby, "/v1/sessions?wait=60", &near_tokyo());
    told((1, 0)).await;
    wait.abort();
    // Nothing is taken there, not even a way around.
    let refused = Client::new().post(&url).send().await.expect("an answer");
    assert_eq!(code(refused).await, (405, "method_not_allowed".to_owned()));
    lobby.stop().await;
}

#[tokio::test]
async fn how_long_to_wait_is_a_number_up_to_sixty_and_the_only_query() {
    let (_cluster, lobby, _relay, first) = full().await;
    let id = &first.session.id;
    for query in ["wait=61", "wait=-1", "wait=soon", "wait=", "wait=1&wait=2", "weight=1"] {
        for path in ["/v1/sessions".to_owned(), format!("/v1/sessions/{id}/join"), format!("/v1/sessions/{id}/move")] {
            let answer = post(&lobby, &format!("{path}?{query}"), &json!({})).await.expect("no panic");
            assert_eq!(code(answer).await, (400, "invalid_query".to_owned()), "{path}?{query}");
        }
    }
    lobby.stop().await;
}
