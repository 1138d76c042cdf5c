//! Sessions while parts are killed.

use std::time::{Duration, Instant};

use convene::api::RelayPool;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::client::{LobbyApi, Seat, talk};
use crate::install::{Install, STARTED};
use crate::support::{pool, within};

/// A session with a host and a guest, both connected.
pub(crate) async fn pair(lobby: &LobbyApi) -> (convene::wire::session::SessionCreated, Seat, Seat) {
    let created = lobby.create(53.35, -6.26).await.expect("a session");
    let host = Seat::take(&created.connect).await.expect("the host connects");
    let joined = lobby.join(&created.session.id, created.join_key.as_ref()).await.expect("a guest joins");
    let guest = Seat::take(&joined.connect).await.expect("the guest connects");
    (created, host, guest)
}

pub(crate) fn kill(install: &Install, namespace: &str, what: &[&str]) {
    let mut arguments = vec!["-n", namespace, "delete", "--grace-period=0", "--force", "--wait=false"];
    arguments.extend(what);
    install.kubectl.run(&arguments, None);
}

pub(crate) async fn a_killed_relay_loses_no_session_that_rejoins(install: &Install) {
    let namespace = "e2e-relay-killed";
    let pools = [("eu", json!({"replicas": 1})), ("us", json!({"region": "us-east1"}))];
    let lobby = install.world(namespace, &pools).await;
    let (created, mut host, mut guest) = pair(&lobby).await;
    assert_eq!(created.session.relay, "eu-0");
    talk(&mut host, &mut guest).await.expect("each byte arrives");
    let killed = Instant::now();
    kill(install, namespace, &["pod", "eu-0"]);
    host.receive_within(Duration::from_secs(30)).await.expect_err("the connection ends");
    let id = &created.session.id;
    let again = within(30, "the host is let in again", async || {
        let joined = lobby.rejoin(id, &created.host_token).await?;
        let seat = Seat::take(&joined.connect).await?;
        Ok((joined, seat))
    });
    let (joined, mut host) = again.await;
    assert!(joined.session.epoch > created.session.epoch, "a moved session has a higher epoch");
    assert_eq!(&joined.session.id, id);
    let joined = lobby.join(id, created.join_key.as_ref()).await.expect("the guest is let in with the same link");
    let mut guest = Seat::take(&joined.connect).await.expect("the guest connects");
    talk(&mut host, &mut guest).await.expect("each byte arrives");
    println!(
        "relay killed: both talk again after {:.1} s, on {}",
        killed.elapsed().as_secs_f64(),
        joined.session.relay
    );
    install.pool_serves(namespace, "eu").await;
}

pub(crate) async fn a_restarted_lobby_goes_on_with_live_sessions(install: &Install) {
    let namespace = "e2e-lobby-restarted";
    let lobby = install.world(namespace, &[("eu", json!({}))]).await;
    let (created, mut host, mut guest) = pair(&lobby).await;
    talk(&mut host, &mut guest).await.expect("each byte arrives");
    let killed = Instant::now();
    kill(install, namespace, &["pod", "-l", "app.kubernetes.io/name=convene-lobby"]);
    let talking = tokio::spawn(async move {
        for _ in 0..20 {
            talk(&mut host, &mut guest).await.expect("a session needs no lobby");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        (host, guest)
    });
    // The address may still be the killed pod's, which answers for a moment: the new one is another pod.
    within(STARTED, "the killed lobby is gone", async || match lobby.create(53.35, -6.26).await {
        Err(_) => Ok(()),
        Ok(_) => Err("still answers".to_owned()),
    })
    .await;
    // An attempt that goes to the killed pod's address is repeated by TCP after 1, 3, 7, 15, 31 s, each time to that very
    // address: who asks must give up and ask anew, as clients do.
    let impatient = reqwest::Client::builder().timeout(Duration::from_secs(1)).no_proxy().build().expect("a client");
    let answering = within(STARTED, "the new lobby answers", async || {
        let url = install.lobby_url(namespace).await;
        let answer = impatient.get(format!("{url}/v1/jwks.json")).send().await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(Instant::now()) } else { Err(answer.status().to_string()) }
    })
    .await;
    let id = &created.session.id;
    let joined = within(15, "a guest joins the session that the new lobby never saw", async || {
        lobby.join(id, created.join_key.as_ref()).await
    })
    .await;
    println!(
        "lobby killed: answers again after {:.1} s, lets guests in {:.1} s later",
        answering.duration_since(killed).as_secs_f64(),
        answering.elapsed().as_secs_f64()
    );
    assert_eq!(joined.session.epoch, created.session.epoch, "the session was moved");
    let mut third = Seat::take(&joined.connect).await.expect("the third connects");
    let (mut host, _guest) = talking.await.expect("the session was not cut");
    host.send("hello").await.expect("sends");
    // The third has heard the others' talk as well, up to a message that never comes: then this is an error.
    while third.receive().await.expect("the third hears the host") != "hello" {}
    assert_eq!(lobby.get(&format!("/v1/sessions/{id}"), Some(&created.host_token)).await.0, 200);
}

pub(crate) async fn killed_operators_cut_nothing_and_finish_their_work(install: &Install) {
    let namespace = "e2e-operator-killed";
    let lobby = install.world(namespace, &[("eu", json!({}))]).await;
    let (_created, mut host, mut guest) = pair(&lobby).await;
    for round in 0..3 {
        let exposure = json!({"nodePort": {}});
        let more = json!({"region": "us-east1", "replicas": 2, "exposure": exposure});
        install.kubectl.create(namespace, &pool(&format!("p{round}"), &more));
        tokio::time::sleep(Duration::from_millis(150 * round)).await;
        kill(install, "convene-system", &["pod", "--all"]);
        talk(&mut host, &mut guest).await.expect("sessions need no operator");
    }
    for round in 0..3 {
        install.pool_serves(namespace, &format!("p{round}")).await;
    }
    talk(&mut host, &mut guest).await.expect("sessions need no operator");
    let pools: Api<RelayPool> = Api::namespaced(install.client.clone(), namespace);
    let relays: i32 = pools
        .list(&ListParams::default())
        .await
        .expect("lists")
        .iter()
        .filter_map(|pool| pool.status.as_ref())
        .map(|status| status.replicas)
        .sum();
    assert_eq!(relays, 7);
}
