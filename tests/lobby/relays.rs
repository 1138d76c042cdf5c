//! What the administrator asks of relays: which there are, and that one leaves or stays.

use convene::wire::admin::{RelayList, RelayState, RelayView};
use convene::wire::link::FromLobby;
use convene::wire::session::Problem;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::json;

use crate::api::{create, with_bearer};
use crate::fake_relay::FakeRelay;
use crate::redis::Server;
use crate::world::{ADMIN_TOKEN, Cluster, Running, eventually, pool, table, uid};

const DUBLIN: &str = "/v1/relays/eu-west-1/eu-west-1-0";

async fn post(lobby: &Running, path: &str) -> Response {
    with_bearer(lobby, Method::POST, path, ADMIN_TOKEN).await
}

/// What the relay of an order that is taken was before it.
async fn taken(lobby: &Running, path: &str) -> RelayView {
    let answer = post(lobby, path).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED, "{path}");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.json().await.expect("a relay")
}

/// Status and code of a refusal, and whether it says when to ask again.
async fn refused(answer: Response) -> (u16, String, bool) {
    let (status, again) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
    (status, answer.json::<Problem>().await.expect("a problem").code, again)
}

async fn relays(lobby: &Running) -> Vec<RelayView> {
    let answer = with_bearer(lobby, Method::GET, "/v1/relays", ADMIN_TOKEN).await;
    assert_eq!(answer.status(), StatusCode::OK);
    answer.json::<RelayList>().await.expect("relays").relays
}

/// Waits until a relay has this state in the list.
async fn is(lobby: &Running, relay: &str, state: RelayState) {
    let has = async || relays(lobby).await.iter().any(|known| known.relay == relay && known.state == state);
    eventually(&format!("{relay} is {state:?}"), has).await;
}

/// Waits until the last that a relay was told of leaving is this.
async fn is_told(relay: &FakeRelay, order: &FromLobby) {
    let is_about = |message: &&FromLobby| matches!(message, FromLobby::Leave | FromLobby::Stay);
    let last = || relay.know(|memory| memory.messages.iter().rfind(is_about).cloned());
    eventually(&format!("told {order:?}"), async || last().as_ref() == Some(order)).await;
}

#[tokio::test]
async fn a_relay_is_listed_ordered_to_leave_and_to_stay() {
    let cluster = Cluster::new();
    let pools = vec![pool("eu-west-1", 53.35, -6.26, 1, 4), pool("asia-northeast1", 35.68, 139.69, 1, 7)];
    let lobby = Running::start(&table(&cluster, pools)).await;
    let rebuilding = refused(post(&lobby, "/v1/relays/eu-west-1/x/drain").await).await;
    assert_eq!(rebuilding, (503, "rebuilding".to_owned(), true), "it may only not have linked up yet");
    let dublin = FakeRelay::link(&lobby, &cluster, "eu-west-1-0", 9).await;
    dublin.keep_alive(9);
    create(&lobby, &json!({})).await;
    is(&lobby, "eu-west-1-0", RelayState::Serving).await;
    let view = |namespace: &str, region: &str, state, capacity, used| RelayView {
        namespace: namespace.to_owned(),
        pool: region.to_owned(),
        relay: format!("{region}-0"),
        region: region.to_owned(),
        state,
        capacity,
        used,
    };
    let serving = view("default", "eu-west-1", RelayState::Serving, 4, Some(1));
    let never_heard = view("default", "asia-northeast1", RelayState::NotLinked, 7, None);
    assert_eq!(relays(&lobby).await, [serving.clone(), never_heard], "in declared order");

    assert_eq!(taken(&lobby, &format!("{DUBLIN}/drain")).await, serving);
    is_told(&dublin, &FromLobby::Leave).await;
    dublin.know(|memory| memory.draining = true);
    is(&lobby, "eu-west-1-0", RelayState::Leaving).await;
    assert_eq!(taken(&lobby, &format!("{DUBLIN}/uncordon?namespace=default")).await.state, RelayState::Leaving);
    is_told(&dublin, &FromLobby::Stay).await;
    dublin.know(|memory| (memory.draining, memory.cordoned) = (false, true));
    is(&lobby, "eu-west-1-0", RelayState::Cordoned).await;

    let tokyo = FakeRelay::link(&lobby, &cluster, "asia-northeast1-0", 7).await;
    for path in ["eu-west-1/x", "x/eu-west-1-0", "asia-northeast1/eu-west-1-0", "eu-west-1/%ff", "%00/%20"] {
        let unknown = refused(post(&lobby, &format!("/v1/relays/{path}/drain")).await).await;
        assert_eq!(unknown, (404, "no_such_relay".to_owned(), false), "{path}");
    }
    drop(tokyo);
    is(&lobby, "asia-northeast1-0", RelayState::NotLinked).await;
    let untold = refused(post(&lobby, "/v1/relays/asia-northeast1/asia-northeast1-0/drain").await).await;
    assert_eq!(untold, (503, "relay_not_linked".to_owned(), true));
    lobby.stop().await;
}

#[tokio::test]
async fn only_the_administrator_sees_and_orders_relays() {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, vec![pool("eu-west-1", 53.35, -6.26, 1, 4)])).await;
    let dublin = FakeRelay::link(&lobby, &cluster, "eu-west-1-0", 4).await;
    dublin.keep_alive(4);
    let host = create(&lobby, &json!({})).await.host_token;
    for (method, path) in [
        (Method::GET, "/v1/relays".to_owned()),
        (Method::POST, format!("{DUBLIN}/drain")),
        (Method::POST, format!("{DUBLIN}/uncordon")),
        // Strangers are not told which there are.
        (Method::POST, "/v1/relays/eu-west-1/x/drain".to_owned()),
    ] {
        for token in ["", "wrong", host.as_str(), cluster.relay_token("eu-west-1-0").as_str()] {
            let answer = refused(with_bearer(&lobby, method.clone(), &path, token).await).await;
            assert_eq!(answer, (401, "unauthorized".to_owned(), false), "{path}");
        }
        let bare = Client::new().request(method.clone(), lobby.url(&path)).send().await.expect("an answer");
        assert_eq!(refused(bare).await.0, 401, "{path}");
        let asked = with_bearer(&lobby, method.clone(), &format!("{path}?force=1"), ADMIN_TOKEN).await;
        assert_eq!(refused(asked).await.1, "invalid_query", "{path}");
        let other = if method == Method::GET { Method::POST } else { Method::GET };
        let wrong = with_bearer(&lobby, other, &path, ADMIN_TOKEN).await;
        assert_eq!(refused(wrong).await.1, "method_not_allowed", "{path}");
    }
    let told = dublin.know(|memory| memory.messages.contains(&FromLobby::Leave));
    assert!(!told, "nobody was allowed to");
    lobby.stop().await;
}

#[tokio::test]
async fn a_name_that_two_namespaces_have_needs_the_namespace() {
    let cluster = Cluster::new();
    let mut other = pool("eu-west-1", 53.35, -6.26, 1, 4);
    other.namespace = "other".to_owned();
    other.relays[0].pod_uid = uid("of-another-namespace");
    let lobby = Running::start(&table(&cluster, vec![other, pool("eu-west-1", 53.35, -6.26, 1, 4)])).await;
    let dublin = FakeRelay::link(&lobby, &cluster, "eu-west-1-0", 4).await;
    dublin.keep_alive(4);
    let either = refused(post(&lobby, &format!("{DUBLIN}/drain")).await).await;
    assert_eq!(either, (409, "ambiguous_relay".to_owned(), false));
    let other = refused(post(&lobby, &format!("{DUBLIN}/drain?namespace=other")).await).await;
    assert_eq!(other, (503, "relay_not_linked".to_owned(), true));
    assert_eq!(taken(&lobby, &format!("{DUBLIN}/drain?namespace=default")).await.namespace, "default");
    is_told(&dublin, &FromLobby::Leave).await;
    lobby.stop().await;
}

#[tokio::test]
async fn an_order_reaches_the_relay_from_any_lobby_process() {
    let (server, cluster) = (Server::start().await, Cluster::new());
    let pools = vec![pool("eu-west-1", 53.35, -6.26, 1, 4)];
    let lobbies = Running::start_on_redis(2, &server.url(), &table(&cluster, pools)).await;
    let dublin = FakeRelay::link(&lobbies[0], &cluster, "eu-west-1-0", 4).await;
    dublin.keep_alive(4);
    for lobby in &lobbies {
        is(lobby, "eu-west-1-0", RelayState::Serving).await;
        taken(lobby, &format!("{DUBLIN}/drain")).await;
        is_told(&dublin, &FromLobby::Leave).await;
        dublin.know(|memory| memory.draining = true);
        is(lobby, "eu-west-1-0", RelayState::Leaving).await;
        taken(lobby, &format!("{DUBLIN}/uncordon")).await;
        is_told(&dublin, &FromLobby::Stay).await;
        dublin.know(|memory| memory.draining = false);
    }
    drop(server);
    for lobby in lobbies {
        let away = async || refused(post(&lobby, &format!("{DUBLIN}/drain")).await).await.1 == "store_unavailable";
        eventually("the store is away", away).await;
        lobby.stop().await;
    }
    let told = dublin.know(|memory| memory.messages.iter().filter(|message| **message == FromLobby::Leave).count());
    assert!(told >= 2, "{told}");
}
