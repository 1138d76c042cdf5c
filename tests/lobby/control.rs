//! What a host and the admin do with a session that runs: rename it, move it.

use convene::wire::link::FromLobby;
use convene::wire::session::{Joined, Problem, SessionCreated, SessionView};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::api::{create, join, with_bearer};
use crate::fake_relay::FakeRelay;
use crate::world::{ADMIN_TOKEN, Cluster, Running, eventually, table, three_pools};

const TOKYO: &str = "asia-northeast1-0";
const DUBLIN: &str = "eu-west-1-0";

/// A lobby with relays in Tokyo and Dublin, and a third that has no seats: the lobby then knows all there is.
async fn two_relays(capacity: u32) -> (Running, FakeRelay, FakeRelay, FakeRelay) {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, three_pools(capacity))).await;
    let tokyo = FakeRelay::link(&lobby, &cluster, TOKYO, capacity).await;
    tokyo.keep_alive(capacity);
    let dublin = FakeRelay::link(&lobby, &cluster, DUBLIN, capacity).await;
    dublin.keep_alive(capacity);
    let full = FakeRelay::link(&lobby, &cluster, "southamerica-east1-0", 0).await;
    (lobby, tokyo, dublin, full)
}

async fn in_tokyo(lobby: &Running, name: &str) -> SessionCreated {
    let created = create(lobby, &json!({"name": name, "place": {"region": "asia-northeast1"}})).await;
    assert_eq!(created.session.relay, TOKYO);
    created
}

async fn send(lobby: &Running, method: Method, path: &str, token: &str, body: &Value) -> Response {
    let request = Client::new().request(method, lobby.url(path)).bearer_auth(token).json(body);
    request.send().await.expect("an answer")
}

async fn code(answer: Response) -> (u16, String) {
    (answer.status().as_u16(), answer.json::<Problem>().await.expect("a problem").code)
}

#[tokio::test]
async fn a_session_is_renamed_by_its_host_and_the_admin_alone() {
    let (lobby, _tokyo, _dublin, _full) = two_relays(10).await;
    let created = in_tokyo(&lobby, "stand-up").await;
    assert_eq!(created.session.name.as_deref(), Some("stand-up"));
    let path = format!("/v1/sessions/{}", created.session.id);
    let rename =
        async |token: &str, name: &str| send(&lobby, Method::PATCH, &path, token, &json!({"name": name})).await;
    for (token, name) in [(created.host_token.as_str(), "定例会議"), (ADMIN_TOKEN, "renamed")] {
        let view: SessionView = rename(token, name).await.json().await.expect("a view");
        assert_eq!(view.name.as_deref(), Some(name));
    }
    let key = created.join_key.as_deref().expect("a key");
    assert_eq!(code(rename(key, "mine").await).await, (401, "unauthorized".to_owned()));
    for wrong in ["", "a\nb", "\u{202e}x", &"x".repeat(101)] {
        let answer = rename(&created.host_token, wrong).await;
        let problem: Problem = answer.json().await.expect("a problem");
        assert_eq!((problem.status, problem.code.as_str()), (400, "invalid_body"));
        assert!(problem.detail.is_some_and(|detail| detail.starts_with("name: ")), "{wrong:?}");
        let body = json!({ "name": wrong });
        let answer = Client::new().post(lobby.url("/v1/sessions")).json(&body).send().await.expect("an answer");
        assert_eq!(code(answer).await, (400, "invalid_body".to_owned()), "{wrong:?}");
    }
    // Guests see the name that it has now.
    let joined: Joined = join(&lobby, &created.session.id, key).await.json().await.expect("a pass");
    assert_eq!(joined.session.name.as_deref(), Some("renamed"));
    let unknown = "/v1/sessions/AAAAAAAAAAAAAAAAAAAAAA";
    let answer = send(&lobby, Method::PATCH, unknown, ADMIN_TOKEN, &json!({"name": "x"})).await;
    assert_eq!(code(answer).await, (404, "not_found".to_owned()));
    lobby.stop().await;
}

#[tokio::test]
async fn a_session_moves_where_there_is_room_and_both_relays_are_told() {
    let (lobby, tokyo, dublin, _full) = two_relays(1).await;
    let created = in_tokyo(&lobby, "stand-up").await;
    let id = created.session.id.clone();
    let path = format!("/v1/sessions/{id}/move");
    eventually("the relay holds the seat", async || tokyo.know(|memory| memory.held.contains_key(&id))).await;
    let to = async |token: &str, body: Value| send(&lobby, Method::POST, &path, token, &body).await;

    let key = created.join_key.clone().expect("a key");
    assert_eq!(code(to(&key, json!({})).await).await, (401, "unauthorized".to_owned()));
    let host = created.host_token.as_str();
    for (body, status, expected) in [
        (json!({"region": "atlantis"}), 409, "no_such_region"),
        (json!({"pool": "atlantis"}), 409, "no_such_pool"),
        (json!({"region": "southamerica-east1"}), 503, "no_capacity"),
        (json!({"region": "eu-west-1", "pool": "eu-west-1"}), 400, "invalid_body"),
        (json!({"region": ""}), 400, "invalid_body"),
        (json!({"where": "eu-west-1"}), 400, "invalid_body"),
    ] {
        assert_eq!(code(to(host, body.clone()).await).await, (status, expected.to_owned()), "{body}");
    }
    // Where it is wanted already it stays.
    for body in [json!({}), json!({"region": "asia-northeast1"})] {
        let stays: SessionView = to(host, body).await.json().await.expect("a view");
        assert_eq!((stays.relay.as_str(), stays.epoch), (TOKYO, 1));
    }
    for _ in 0..2 {
        // The repeat of a move whose answer was lost moves nothing.
        let answer = to(host, json!({"region": "eu-west-1"})).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let moved: SessionView = answer.json().await.expect("a view");
        assert_eq!((moved.relay.as_str(), moved.region.as_str(), moved.epoch), (DUBLIN, "eu-west-1", 2));
        assert_eq!(moved.name.as_deref(), Some("stand-up"));
    }
    let told = FromLobby::Move { session: id.clone(), epoch: 1 };
    eventually("the old relay lets go", async || tokyo.know(|memory| memory.messages.contains(&told))).await;
    eventually("the new relay holds", async || {
        dublin.know(|memory| memory.held.get(&id).is_some_and(|(_, epoch)| *epoch == 2))
    })
    .await;
    let joined: Joined = join(&lobby, &id, &key).await.json().await.expect("a pass");
    assert_eq!(joined.connect.url, format!("ws://{DUBLIN}.test:8080/s/{id}"));

    // The seat that was left is free again, with the relay's next report; and a full pool is no place to go.
    eventually("the seat is free", async || {
        let regions: Value =
            reqwest::get(lobby.url("/v1/regions")).await.expect("an answer").json().await.expect("JSON");
        let mut regions = regions.as_array().expect("a list").iter();
        regions.any(|region| region["region"] == "asia-northeast1" && region["freeSeats"] == 1)
    })
    .await;
    let other = in_tokyo(&lobby, "other").await;
    assert_eq!(code(to(ADMIN_TOKEN, json!({"pool": "asia-northeast1"})).await).await, (503, "no_capacity".to_owned()));
    let closed = with_bearer(&lobby, Method::DELETE, &format!("/v1/sessions/{}", other.session.id), ADMIN_TOKEN).await;
    assert_eq!(closed.status(), StatusCode::NO_CONTENT);
    // The relay's own report still counts the seat for a moment.
    eventually("the session goes back to where it is best", async || {
        let answer = to(ADMIN_TOKEN, json!({})).await;
        let back = answer.status() == StatusCode::OK;
        back && answer.json::<SessionView>().await.is_ok_and(|back| (back.relay.as_str(), back.epoch) == (TOKYO, 3))
    })
    .await;
    lobby.stop().await;
}
