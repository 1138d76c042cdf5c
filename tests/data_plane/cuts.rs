//! Who does not come back is counted as cut, and nobody else. Each test waits for one who never does, so that it is known
//! that the time of the others is over as well.

use std::time::Duration;

use crate::drain::{is_sent_on, rejoin};
use crate::relay::Seat;
use crate::server::Server;
use crate::world::{Cluster, Running, eventually, table};
use crate::{PLACES, connect, create, heard, join, linked, reserved, world};

const CAUSES: [&str; 3] = ["relay_lost", "drain", "move"];

/// Participants that a lobby process has counted as cut, in the order of [`CAUSES`].
async fn cuts(lobby: &Running) -> [u32; 3] {
    let metrics = lobby.metrics().await;
    CAUSES.map(|cause| {
        let line = format!("convene_sessions_cut_total{{cause=\"{cause}\"}} ");
        metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).expect("it is there from the start")
    })
}

/// Waits until a lobby process has heard of so many.
async fn participants(lobby: &Running, count: u32) {
    let line = format!("convene_lobby_participants {count}");
    eventually("the lobby hears of them", async || lobby.metrics().await.lines().any(|text| text == line)).await;
}

/// Waits for the first cut.
async fn first_cut(lobby: &Running) -> [u32; 3] {
    let wait = async {
        loop {
            let cuts = cuts(lobby).await;
            if cuts != [0; 3] {
                return cuts;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_lose_their_relay_who_does_not_come_back_was_cut() {
    let (_cluster, lobby, mut pods) = world(&PLACES[..2], 10).await;
    assert_eq!(cuts(&lobby).await, [0; 3]);
    let created = create(&lobby, PLACES[0].0).await;
    let mut host = connect(&created.connect).await.expect("connected");
    let mut guest = connect(&join(&lobby, &created).await.expect("a pass").connect).await.expect("connected");
    let mut gone = connect(&join(&lobby, &created).await.expect("a pass").connect).await.expect("connected");
    heard(&mut host, &mut guest, "before").await;
    heard(&mut guest, &mut gone, "before").await;
    participants(&lobby, 3).await;
    pods[0].kill();
    // Whoever asks at once may be told the relay that is gone: a link takes a moment to be seen to be gone.
    let back = async || rejoin(&lobby, &created).await;
    eventually("it has moved", async || back().await.session.epoch == 2).await;
    let again = connect(&back().await.connect).await.expect("connected");
    let guest = connect(&join(&lobby, &created).await.expect("a pass").connect).await.expect("connected");
    assert_eq!(first_cut(&lobby).await, [1, 0, 0], "only who did not come back");
    drop((again, guest, gone));
    lobby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_to_a_relay_of_another_lobby_process_was_not_cut() {
    let (server, cluster) = (Server::start().await, Cluster::new());
    let (seats, pools) = reserved(&PLACES[..2], 10);
    let lobbies = Running::start_on_redis(2, &server.url(), &table(&cluster, pools)).await;
    let jwks = lobbies[0].jwks().await;
    // One relay at each.
    let start = |(seat, lobby): (Seat, &Running)| seat.start(lobby, &cluster, &jwks, 10);
    let _pods: Vec<_> = seats.into_iter().zip(&lobbies).map(start).collect();
    linked(&lobbies[0], 2).await;
    linked(&lobbies[1], 2).await;
    let created = create(&lobbies[1], PLACES[0].0).await;
    assert_eq!(created.session.region, PLACES[0].0);
    let mut members = vec![connect(&created.connect).await.expect("connected")];
    for _ in 0..2 {
        let pass = join(&lobbies[0], &created).await.expect("a pass").connect;
        members.push(connect(&pass).await.expect("connected"));
    }
    participants(&lobbies[0], 3).await;
    let mut changed = lobbies[0].table();
    changed.pools[0].relays[0].leaving = true;
    for lobby in &lobbies {
        lobby.change_table(&serde_json::to_string(&changed).expect("JSON")).await;
    }
    for member in &mut members {
        is_sent_on(member).await;
    }
    // The host and one guest come back; the other guest does not.
    let host = connect(&rejoin(&lobbies[1], &created).await.connect).await.expect("connected");
    let joined = join(&lobbies[0], &created).await.expect("a pass");
    assert_eq!((joined.session.region.as_str(), joined.session.epoch), (PLACES[1].0, 2));
    let guest = connect(&joined.connect).await.expect("connected");
    assert_eq!(first_cut(&lobbies[0]).await, [0, 1, 0], "by the process that has the link");
    assert_eq!(cuts(&lobbies[1]).await, [0; 3]);
    drop((host, guest));
    for lobby in lobbies {
        lobby.stop().await;
    }
}
