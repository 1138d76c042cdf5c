//! Sessions in good weather.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::client::{Seat, talk};
use crate::distance::proxy;
use crate::install::Install;
use crate::support::within;

const TOKYO: (f64, f64) = (35.68, 139.69);
const OSLO: (f64, f64) = (59.91, 10.75);

pub(crate) async fn everyone_is_sent_to_the_nearest_relay_with_room(install: &Install) {
    let pools = [
        ("north", json!({"region": "europe-north1", "sessionsPerRelay": 1})),
        ("tokyo", json!({"region": "asia-northeast1", "sessionsPerRelay": 1})),
    ];
    let lobby = install.world("e2e-nearest", &pools).await;
    explained_by_kubectl(install, "e2e-nearest").await;
    let first = lobby.create(TOKYO.0, TOKYO.1).await.expect("a session");
    assert_eq!(first.session.region, "asia-northeast1");
    assert_eq!(first.ranking[1].region, "europe-north1", "{:?}", first.ranking);
    let mut host = Seat::take(&first.connect).await.expect("the host connects");
    let joined = lobby.join(&first.session.id, first.join_key.as_ref()).await.expect("a guest joins");
    let mut guest = Seat::take(&joined.connect).await.expect("the guest connects");
    talk(&mut host, &mut guest).await.expect("each byte arrives");

    let second = lobby.create(TOKYO.0, TOKYO.1).await.expect("a second session");
    assert_eq!(second.session.region, "europe-north1", "the nearest relay is full");
    assert_eq!(lobby.create(OSLO.0, OSLO.1).await.expect_err("all is full"), "no_capacity");
    lobby.close(&first.session.id, &first.host_token).await;
    let end = host.receive().await.expect_err("the relay closes");
    assert!(end.starts_with("closed 44"), "a final close code, not {end}");
    // The lobby counts the seat as taken until the relay's next report.
    let third = within(20, "the seat is free again", async || lobby.create(OSLO.0, OSLO.1).await).await;
    assert_eq!(third.session.region, "asia-northeast1");
}

/// The cluster says where the lobby is, and keeps the token with which it tells of other people's addresses.
async fn explained_by_kubectl(install: &Install, namespace: &str) {
    let route = |more: &[&str]| install.kubectl.convene(&[&["-n", namespace, "route", "demo"], more].concat());
    // The first row of each pool's name, which is in order of the ranking.
    let row = |told: &str, pool: &str| told.lines().position(|line| line.starts_with(&format!("{pool} ")));
    let told = route(&["--from", "35.68,139.69"]).expect("it is explained");
    assert!(told.contains("of pool tokyo.") && told.contains("coordinates"), "{told}");
    assert!(row(&told, "tokyo").is_some() && row(&told, "tokyo") < row(&told, "north"), "{told}");
    let told = route(&["--latency", "europe-north1=9,asia-northeast1=240"]).expect("it is explained");
    assert!(told.contains("of pool north.") && told.contains("measured") && told.contains("9.0ms"), "{told}");
    assert!(row(&told, "north").is_some() && row(&told, "north") < row(&told, "tokyo"), "{told}");

    let refused = route(&["--ip", "203.0.113.77"]).expect_err("a token in plain");
    assert!(refused.contains("is not sent to http://") && refused.contains("port-forward"), "{refused}");
    let url = install.lobby_url(namespace).await;
    let lobby = url.trim_start_matches("http://").parse().expect("an address");
    let here = SocketAddr::from(([127, 0, 77, 3], 7731));
    proxy(here, lobby, Duration::ZERO).await;
    let url = format!("http://{here}");
    let ask = async |more: Vec<&'static str>| {
        let (kubectl, url) = (install.kubectl.clone(), url.clone());
        let asks =
            move || kubectl.convene(&[&["-n", "e2e-nearest", "route", "demo", "--url", &url], &more[..]].concat());
        tokio::task::spawn_blocking(asks).await.expect("it runs")
    };
    let told = ask(vec!["--ip", "203.0.113.77"]).await.expect("the Secret has the token");
    assert!(told.contains("203.0.113.77") && told.contains("declaredOrder"), "{told}");
}

pub(crate) async fn forged_replayed_and_foreign_tokens_get_one_identical_refusal(install: &Install) {
    let lobby = install.world("e2e-refused", &[("eu", json!({}))]).await;
    let other = install.world("e2e-refused-other", &[("eu", json!({}))]).await;
    let ours = lobby.create(OSLO.0, OSLO.1).await.expect("a session");
    let foreign = other.create(OSLO.0, OSLO.1).await.expect("a session of another lobby");
    let url = &ours.connect.url;
    let _host = Seat::take(&ours.connect).await.expect("the host connects");
    let mut tampered = ours.connect.token.clone();
    tampered.replace_range(tampered.len() - 4.., "AAAA");
    let refusals = [&ours.connect.token, &foreign.connect.token, &tampered, &"none".to_owned()];
    let mut answers = vec![];
    for token in refusals {
        answers.push(Seat::knock(url, token).await.err().expect("a refusal"));
    }
    assert!(answers[0].starts_with("401"), "{answers:?}");
    assert!(answers.iter().all(|answer| answer == &answers[0]), "{answers:?}");

    let session = format!("/v1/sessions/{}", ours.session.id);
    let wrong = lobby.get(&session, Some("wrong")).await;
    assert_eq!(wrong.0, 401);
    assert_eq!(wrong, lobby.get("/v1/sessions/none", Some(&ours.host_token)).await, "tells which sessions exist");
    assert_eq!(lobby.get(&session, Some(&ours.host_token)).await.0, 200);
    assert_eq!(lobby.get("/v1/sessions", None).await.0, 401, "listing needs the administrator's token");
    let admin = install.kubectl.run(
        &[
            "-n",
            "e2e-refused",
            "get",
            "secret",
            "demo-lobby-keys",
            "-o",
            "go-template={{index .data \"admin-token\" | base64decode}}",
        ],
        None,
    );
    let (status, listed) = lobby.get("/v1/sessions", Some(&admin)).await;
    assert_eq!(status, 200);
    assert!(listed.contains(&ours.session.id), "{listed}");
}

pub(crate) async fn pods_hold_no_more_than_they_need(install: &Install) {
    let namespace = "e2e-least";
    install.world(namespace, &[("eu", json!({}))]).await;
    let account = format!("system:serviceaccount:{namespace}:demo-lobby");
    let may = |verb: &str, what: &str, account: &str| {
        let answer = install.kubectl.attempt(&["-n", namespace, "auth", "can-i", verb, what, "--as", account], None);
        answer.is_ok()
    };
    assert!(may("get", "configmap/demo-lobby", &account));
    for (verb, what) in [
        ("get", "configmap/eu-relays"),
        ("list", "configmaps"),
        ("get", "secret/demo-lobby-keys"),
        ("list", "pods"),
        ("create", "pods"),
    ] {
        assert!(!may(verb, what, &account), "the lobby may {verb} {what}");
    }
    let relay = format!("system:serviceaccount:{namespace}:eu-relays");
    for what in ["configmap/eu-relays", "configmap/demo-lobby", "secret/demo-lobby-keys", "pods"] {
        assert!(!may("get", what, &relay), "a relay may get {what}");
    }
    let mounts = install.kubectl.run(
        &["-n", namespace, "get", "pod", "eu-0", "-o", "jsonpath={.spec.containers[*].volumeMounts[*].mountPath}"],
        None,
    );
    assert!(!mounts.contains("kubernetes.io"), "a relay holds an API token: {mounts}");
    for operator in ["list secrets", "list pods", "create pods"] {
        let (verb, what) = operator.split_once(' ').expect("two words");
        let account = "system:serviceaccount:convene-system:convene-operator";
        let answer =
            install.kubectl.attempt(&["-n", "kube-system", "auth", "can-i", verb, what, "--as", account], None);
        assert!(answer.is_err(), "the operator may {operator} in kube-system");
    }
}
