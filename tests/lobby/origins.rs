//! Who asks and where they are, at a lobby behind a proxy: databases of places, what others of a network have measured, and
//! headers that anybody can write.

use convene::wire::explain::{AddressKnown, RouteView};
use convene::wire::session::{Rung, SessionCreated};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::fake_relay::FakeRelay;
use crate::mmdb::{self, Style};
use crate::redis::Server;
use crate::world::{ADMIN_TOKEN, Cluster, Running, eventually, table, three_pools};

/// Of no use to a client that is not behind the proxy.
const CLIENT: &str = "203.0.113.7";

/// A session of a client that a proxy says is at `from`.
async fn create_from(lobby: &Running, from: &str, place: Value) -> SessionCreated {
    let request = Client::new().post(lobby.url("/v1/sessions")).header("x-forwarded-for", from);
    let answer = request.json(&json!({ "place": place })).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
    answer.json().await.expect("a session")
}

fn first(created: &SessionCreated) -> (&str, Rung) {
    (created.session.region.as_str(), created.ranking[0].rung)
}

/// A database, built now, in which all of 203.0.113.0/24 is at these coordinates.
fn of_clients(latitude: f64, longitude: f64) -> Vec<u8> {
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    mmdb::database(Style::Flat, now, &[("203.0.113.0/24", latitude, longitude)])
}

async fn linked(lobby: &Running, cluster: &Cluster) -> Vec<FakeRelay> {
    let mut relays = Vec::new();
    for name in ["eu-west-1-0", "asia-northeast1-0", "southamerica-east1-0"] {
        let relay = FakeRelay::link(lobby, cluster, name, 100).await;
        relay.keep_alive(100);
        relays.push(relay);
    }
    relays
}

#[tokio::test]
async fn a_database_places_those_who_tell_nothing_and_may_change_break_and_go() {
    let cluster = Cluster::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("places.mmdb");
    let put = |bytes: &[u8]| {
        std::fs::write(folder.path().join("new"), bytes).expect("written");
        std::fs::rename(folder.path().join("new"), &file).expect("renamed");
    };
    let lobby = Running::start_with(&table(&cluster, three_pools(100)), |args| {
        args.origins.callers.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
        args.origins.geoip.geoip_file = vec![file.clone()];
        args.origins.geoip.geoip_max_age_days = 365;
    })
    .await;
    let _relays = linked(&lobby, &cluster).await;
    let nothing = || json!({});
    assert_eq!(first(&create_from(&lobby, CLIENT, nothing()).await), ("eu-west-1", Rung::DeclaredOrder), "no database");

    put(&of_clients(35.5, 139.5));
    let tokyo = async || first(&create_from(&lobby, CLIENT, nothing()).await) == ("asia-northeast1", Rung::GeoIp);
    eventually("the database is read", tokyo).await;
    let other = create_from(&lobby, "198.51.100.1", nothing()).await;
    assert_eq!(first(&other), ("eu-west-1", Rung::DeclaredOrder), "not in the database");
    let inside = create_from(&lobby, "10.1.2.3", nothing()).await;
    assert_eq!(first(&inside), ("eu-west-1", Rung::DeclaredOrder), "not looked up");
    let told = create_from(&lobby, CLIENT, json!({"region": "southamerica-east1"})).await;
    assert_eq!(first(&told), ("southamerica-east1", Rung::Region), "the client's word is better");
    let spoofed = create_from(&lobby, &format!("{CLIENT}, 198.51.100.1"), nothing()).await;
    assert_eq!(first(&spoofed), ("eu-west-1", Rung::DeclaredOrder), "what the client wrote is not looked at");

    put(&of_clients(-23.5, -46.5));
    let moved = async || first(&create_from(&lobby, CLIENT, nothing()).await) == ("southamerica-east1", Rung::GeoIp);
    eventually("the changed database is read", moved).await;
    put(b"not a database");
    eventually("the broken one is told", async || {
        lobby.metrics().await.contains("convene_geoip_loads_total{outcome=\"broken\"} 1")
    })
    .await;
    assert!(moved().await, "the last good one serves");
    put(&of_clients(91.0, 0.0));
    let off_earth = async || first(&create_from(&lobby, CLIENT, nothing()).await) == ("eu-west-1", Rung::DeclaredOrder);
    eventually("coordinates off the earth are none", off_earth).await;
    let metrics = lobby.metrics().await;
    for line in [
        "{outcome=\"found\"}",
        "{outcome=\"unknown\"}",
        "{outcome=\"no_public_address\"}",
        "{outcome=\"not_on_earth\"}",
    ] {
        assert!(metrics.contains(&format!("convene_lobby_geoip_lookups_total{line}")), "{line}: {metrics}");
    }
    lobby.stop().await;
}

#[tokio::test]
async fn what_some_have_measured_places_others_of_their_network() {
    let cluster = Cluster::new();
    let lobby = Running::start_with(&table(&cluster, three_pools(100)), |args| {
        args.origins.callers.trusted_proxies = vec!["127.0.0.1".to_owned()];
        args.origins.callers.distrust_location = true;
    })
    .await;
    let _relays = linked(&lobby, &cluster).await;
    let measured = || json!({"latencies": {"southamerica-east1": 20, "eu-west-1": 90, "nobody-knows": 1}});
    let nowhere = ("eu-west-1", Rung::DeclaredOrder);
    for host in 1..=3 {
        let before = create_from(&lobby, "203.0.113.200", json!({})).await;
        assert_eq!(first(&before), nowhere, "{} of a network are too few", host - 1);
        let created = create_from(&lobby, &format!("203.0.113.{host}"), measured()).await;
        assert_eq!(first(&created), ("southamerica-east1", Rung::Measured));
    }
    let after = create_from(&lobby, "203.0.113.200", json!({})).await;
    assert_eq!(first(&after), ("southamerica-east1", Rung::Network));
    assert_eq!(after.ranking.iter().map(|pool| pool.estimate_ms).collect::<Vec<_>>(), [Some(20.0), Some(90.0), None]);
    assert_eq!(first(&create_from(&lobby, "203.0.114.200", json!({})).await), nowhere, "another network");
    // Those whom nobody can tell apart by their address are not told what others of them have measured.
    for _ in 0..3 {
        create_from(&lobby, "unknown", measured()).await;
        create_from(&lobby, "10.0.0.9", measured()).await;
    }
    assert_eq!(first(&create_from(&lobby, "unknown", json!({})).await), nowhere);
    assert_eq!(first(&create_from(&lobby, "10.0.0.9", json!({})).await), nowhere);
    // This lobby does not believe in places that clients tell.
    let told = create_from(&lobby, "198.51.100.9", json!({"location": {"latitude": 35.0, "longitude": 139.0}})).await;
    assert_eq!(first(&told), nowhere);
    assert!(lobby.metrics().await.contains("convene_lobby_networks 1"));
    lobby.stop().await;
}

#[tokio::test]
async fn what_networks_of_one_system_have_measured_places_others_of_the_system() {
    let cluster = Cluster::new();
    let folder = tempfile::tempdir().expect("a folder");
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let file = folder.path().join("asn.mmdb");
    std::fs::write(&file, mmdb::database(Style::System(64500), now, &[("198.51.0.0/16", 0.0, 0.0)])).expect("written");
    let lobby = Running::start_with(&table(&cluster, three_pools(100)), |args| {
        args.origins.callers.trusted_proxies = vec!["127.0.0.1".to_owned()];
        args.origins.geoip.geoip_file = vec![file];
    })
    .await;
    let _relays = linked(&lobby, &cluster).await;
    eventually("the database is read", async || lobby.metrics().await.contains("outcome=\"loaded\"} 1")).await;
    let measured = || json!({"latencies": {"southamerica-east1": 20, "eu-west-1": 90}});
    let nowhere = ("eu-west-1", Rung::DeclaredOrder);
    for network in 1..=8 {
        create_from(&lobby, &format!("198.51.{network}.7"), measured()).await;
    }
    assert_eq!(first(&create_from(&lobby, "203.0.113.9", json!({})).await), nowhere, "of no system");
    let after = create_from(&lobby, "198.51.200.9", json!({})).await;
    assert_eq!(first(&after), ("southamerica-east1", Rung::Network));
    let asked = Client::new().get(lobby.url("/v1/route?ip=198.51.201.9")).bearer_auth(ADMIN_TOKEN);
    let route: RouteView = asked.send().await.expect("an answer").json().await.expect("a route");
    let address = route.address.expect("told");
    assert_eq!((address.system, address.network, address.known), (Some(64500), None, AddressKnown::NotAsked));
    lobby.stop().await;
}

#[tokio::test]
async fn what_clients_have_measured_is_known_to_all_processes_and_outlives_them() {
    let (cluster, server) = (Cluster::new(), Server::start().await);
    let table = table(&cluster, three_pools(100));
    let start = async |count| {
        let change = |args: &mut convene::lobby::Args| {
            args.origins.callers.trusted_proxies = vec!["127.0.0.1".to_owned()];
        };
        Running::start_on_redis_with(count, &server.url(), &table, change).await
    };
    let network = async |lobby: &Running, ip: &str| {
        let asked = Client::new().get(lobby.url(&format!("/v1/route?ip={ip}"))).bearer_auth(ADMIN_TOKEN);
        let answer = asked.send().await.expect("an answer");
        // Until relays are linked, or while the store is looked for, nobody is placed.
        let route: Option<RouteView> = answer.json().await.ok();
        route.and_then(|route| route.address?.network)
    };
    let lobbies = start(2).await;
    let mut relays = linked(&lobbies[0], &cluster).await;
    eventually("the relays are seen", async || {
        let asked = Client::new().get(lobbies[1].url("/v1/route")).send().await.expect("an answer");
        asked.json::<RouteView>().await.is_ok_and(|route| route.pool.is_some())
    })
    .await;
    for host in 1..=3 {
        // No process has heard three of them.
        let lobby = &lobbies[host % 2];
        create_from(lobby, &format!("203.0.113.{host}"), json!({"latencies": {"southamerica-east1": 20}})).await;
    }
    for lobby in &lobbies {
        eventually("what the other has heard is known", async || network(lobby, "203.0.113.200").await.is_some()).await;
    }
    let after = create_from(&lobbies[1], "203.0.113.200", json!({})).await;
    assert_eq!(first(&after), ("southamerica-east1", Rung::Network));
    relays.clear();
    for lobby in lobbies {
        lobby.stop().await;
    }
    let again = start(1).await.remove(0);
    eventually("it is known after a restart", async || network(&again, "203.0.113.200").await.is_some()).await;
    // Without its store a lobby goes on by what it knows.
    drop(server);
    eventually("the store is missed", async || {
        again.metrics().await.contains("convene_lobby_networks_shared_total{outcome=\"away\"}")
    })
    .await;
    assert_eq!(network(&again, "203.0.113.200").await.as_deref(), Some("203.0.113.0/24"));
    again.stop().await;
}

#[tokio::test]
async fn a_route_is_explained_by_what_the_address_says_and_of_others_to_the_admin_alone() {
    let cluster = Cluster::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("places.mmdb");
    std::fs::write(&file, of_clients(35.5, 139.5)).expect("written");
    let lobby = Running::start_with(&table(&cluster, three_pools(100)), |args| {
        args.origins.callers.trusted_proxies = vec!["127.0.0.1".to_owned()];
        args.origins.geoip.geoip_file = vec![file];
    })
    .await;
    let _relays = linked(&lobby, &cluster).await;
    let client = Client::new();
    let ask = async |from: &str, query: &str, token: &str| {
        let request = client.get(lobby.url(&format!("/v1/route{query}"))).header("x-forwarded-for", from);
        request.bearer_auth(token).send().await.expect("an answer")
    };
    let explained = async |from: &str, query: &str| -> RouteView {
        let answer = ask(from, query, ADMIN_TOKEN).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.expect("a route")
    };
    let of = |route: &RouteView| (route.ranking[0].region.clone(), route.ranking[0].rung);
    let tokyo = ("asia-northeast1".to_owned(), Rung::GeoIp);
    eventually("the database is read", async || of(&explained(CLIENT, "").await) == tokyo).await;
    let own: RouteView = ask(CLIENT, "", "").await.json().await.expect("a route");
    let address = own.address.clone().expect("what the address says");
    assert_eq!((address.address.as_deref(), address.known), (Some(CLIENT), AddressKnown::Found));
    assert_eq!((of(&own), address.location.map(|at| at.latitude), address.network), (tokyo.clone(), Some(35.5), None));

    for host in 1..=3 {
        create_from(&lobby, &format!("203.0.113.{host}"), json!({"latencies": {"southamerica-east1": 20}})).await;
    }
    // Who only asks adds nothing to what is known.
    for host in 1..=3 {
        explained(&format!("198.51.100.{host}"), "?latencies=southamerica-east1=20").await;
    }
    let sao_paulo = ("southamerica-east1".to_owned(), Rung::Network);
    assert_eq!(of(&explained(CLIENT, "").await), sao_paulo);
    let other = explained("198.51.100.1", &format!("?ip={CLIENT}")).await;
    assert_eq!(of(&other), sao_paulo);
    assert_eq!(other.ranking[1].rung, Rung::GeoIp, "where nobody of the network has measured");
    assert_eq!(other.address.expect("told").network.as_deref(), Some("203.0.113.0/24"));
    for (ip, known) in [
        ("198.51.100.9", AddressKnown::Unknown),
        ("10.0.0.9", AddressKnown::NoPublicAddress),
        ("::1", AddressKnown::NoPublicAddress),
        ("fd00::1", AddressKnown::NoPublicAddress),
    ] {
        let nowhere = explained(CLIENT, &format!("?ip={ip}")).await;
        assert_eq!(of(&nowhere), ("eu-west-1".to_owned(), Rung::DeclaredOrder), "{ip}");
        let address = nowhere.address.expect("told");
        assert_eq!((address.known, address.location, address.network), (known, None, None), "{ip}");
    }
    for token in ["", "wrong"] {
        let refused = ask(CLIENT, &format!("?ip={CLIENT}"), token).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(ask(CLIENT, "?ip=203.0.113.0/24", ADMIN_TOKEN).await.status(), StatusCode::BAD_REQUEST);

    let token = folder.path().join("token");
    std::fs::write(&token, format!("{ADMIN_TOKEN}\n")).expect("written");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_convene"));
    command.args(["ctl", "route", "meet", "--url", lobby.url("").trim_end_matches('/'), "--ip", CLIENT]);
    let output = command.arg("--admin-token-file").arg(token).output().await.expect("the program can be run");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("clients of its network 203.0.113.0/24 have measured before"), "{shown}{output:?}");
    lobby.stop().await;
}

#[tokio::test]
async fn clients_behind_a_proxy_have_each_their_own_rate_and_others_cannot_take_anothers() {
    let cluster = Cluster::new();
    let start = async |trusted: bool| {
        Running::start_with(&table(&cluster, three_pools(100)), |args| {
            args.rate_per_address = 1;
            args.origins.callers.trusted_proxies = Vec::from_iter(trusted.then(|| "127.0.0.1".to_owned()));
        })
        .await
    };
    let statuses = async |lobby: &Running, mut of: Box<dyn FnMut(u8) -> String>| {
        let (client, mut limited) = (Client::new(), 0);
        for index in 0..40 {
            let request = client.post(lobby.url("/v1/sessions")).header("x-forwarded-for", of(index));
            limited += u32::from(request.send().await.expect("an answer").status() == StatusCode::TOO_MANY_REQUESTS);
        }
        limited
    };
    let behind = start(true).await;
    assert_eq!(statuses(&behind, Box::new(|index| format!("203.0.113.{index}"))).await, 0, "forty clients");
    assert!(statuses(&behind, Box::new(|index| format!("198.51.100.{index}, 203.0.113.99"))).await > 0, "one client");
    let alone = start(false).await;
    assert!(
        statuses(&alone, Box::new(|index| format!("203.0.113.{index}"))).await > 0,
        "one client, whatever it writes"
    );
    assert!(alone.metrics().await.contains("convene_lobby_forwarded_total{outcome=\"ignored\"} 40"));
    behind.stop().await;
    alone.stop().await;
}
