//! Places of guests, from their join to the moment at which they leave: through real relays, and through a Redis that two
//! lobby processes share.

use convene::wire::session::{Joined, SessionCreated, SessionView};
use serde_json::{Value, json};

use crate::relay::Seat;
use crate::server::Server;
use crate::world::{Cluster, Running, eventually, table};
use crate::{PLACES, connect, heard, reserved};

fn at((_, latitude, longitude): (&str, f64, f64)) -> Value {
    json!({"location": {"latitude": latitude, "longitude": longitude}})
}

async fn post(url: String, bearer: &str, body: &Value) -> reqwest::Response {
    let request = reqwest::Client::new().post(url).bearer_auth(bearer).json(body);
    request.send().await.expect("an answer").error_for_status().expect("done")
}

/// Tokyo, Mumbai and Dublin, each linked to one of two lobby processes.
#[tokio::test(flavor = "multi_thread")]
async fn a_guests_place_counts_while_it_is_there_whichever_lobby_process_hears_of_it() {
    let (server, cluster) = (Server::start().await, Cluster::new());
    let (seats, pools) = reserved(&PLACES[..3], 10);
    let lobbies = Running::start_on_redis(2, &server.url(), &table(&cluster, pools)).await;
    let jwks = lobbies[0].jwks().await;
    let start = |(seat, lobby): (Seat, &Running)| seat.start(lobby, &cluster, &jwks, 10);
    let _pods: Vec<_> = seats.into_iter().zip([&lobbies[0], &lobbies[1], &lobbies[0]]).map(start).collect();
    for lobby in &lobbies {
        lobby.serves_everywhere().await;
    }
    let created: SessionCreated = post(lobbies[1].url("/v1/sessions"), "", &json!({"place": at(PLACES[0])}))
        .await
        .json()
        .await
        .expect("a session");
    assert_eq!(created.session.region, PLACES[0].0);
    let path = format!("/v1/sessions/{}", created.session.id);
    let host = connect(&created.connect).await.expect("connected");

    // Somebody in Dublin: they meet in Mumbai, and the host is told to come.
    let body = json!({"joinKey": created.join_key, "place": at(PLACES[2])});
    let request = reqwest::Client::new().post(lobbies[0].url(&format!("{path}/join"))).json(&body).send();
    let joined: Joined = request.await.expect("an answer").json().await.expect("a pass");
    assert_eq!((joined.session.region.as_str(), joined.session.epoch), (PLACES[1].0, 2));
    drop(host);
    let rejoined = post(lobbies[0].url(&format!("{path}/join")), &created.host_token, &json!({"lostEpoch": 1})).await;
    let rejoined: Joined = rejoined.json().await.expect("a pass");
    let mut host = connect(&rejoined.connect).await.expect("connected");
    let mut guest = connect(&joined.connect).await.expect("connected");
    heard(&mut host, &mut guest, "half way").await;

    let best = async || -> SessionView {
        let moved = post(lobbies[0].url(&format!("{path}/move")), &created.host_token, &json!({})).await;
        moved.json().await.expect("a session")
    };
    let there = best().await;
    assert_eq!((there.region.as_str(), there.epoch), (PLACES[1].0, 2), "it is best for both");
    // The relay of Mumbai names both before it tells that one has left: by then the guest is known to have been there.
    let both = "convene_lobby_participants 2";
    eventually("both are there", async || lobbies[1].metrics().await.lines().any(|line| line == both)).await;
    drop(guest);
    eventually("it is best for the host alone", async || best().await.region == PLACES[0].0).await;
    drop(host);
    for lobby in lobbies {
        lobby.stop().await;
    }
}
