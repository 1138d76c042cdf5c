//! `GET /v1/regions`: where clients measure, by tokens that are good for one relay each.

use std::collections::BTreeSet;

use convene::decide::token::VerifyKeys;
use convene::process::clock;
use convene::wire::claims::{PROBE_LIFE_SECONDS, audience};
use convene::wire::regions::{Probe, RegionView};

use crate::fake_relay::FakeRelay;
use crate::world::{Cluster, LOBBY_UID, Running, pool, table, uid};

async fn regions(lobby: &Running) -> Vec<RegionView> {
    reqwest::get(lobby.url("/v1/regions")).await.expect("an answer").json().await.expect("regions")
}

/// The relay of a probe's URL, and its token.
fn parts(probe: &Probe) -> (&str, &str) {
    let rest = probe.url.strip_prefix("http://").expect("not a WebSocket's URL");
    let (host, token) = rest.split_once(".test:8080/probe?token=").expect("the probe's path");
    (host, token)
}

#[tokio::test]
async fn each_region_says_where_to_measure_it() {
    let cluster = Cluster::new();
    let mut pools = vec![pool("eu-west-1", 53.35, -6.26, 4, 1), pool("us-east1", 33.2, -80.0, 2, 1)];
    pools.push(pool("asia-south1", 19.08, 72.88, 1, 1));
    pools[0].relays[3].url = String::new();
    pools[1].relays[0].cordoned = true;
    pools[1].relays[1].url = "wss://web.test/base/".to_owned();
    let lobby = Running::start(&table(&cluster, pools)).await;
    let linked = ["eu-west-1-0", "eu-west-1-1", "eu-west-1-3", "us-east1-0", "us-east1-1"];
    let mut relays = Vec::new();
    for name in linked {
        relays.push(FakeRelay::link(&lobby, &cluster, name, 1).await);
    }

    let keys = VerifyKeys::from_jwks(&serde_json::from_str(&lobby.jwks().await).expect("JSON")).expect("keys");
    let (mut first, mut tokens) = (BTreeSet::new(), BTreeSet::new());
    // Chance decides which relay comes first; all of a few dozen draws alike would be one of 2^39 cases.
    for _ in 0..40 {
        let regions = regions(&lobby).await;
        let [europe, america, asia] = &regions[..] else { unreachable!("three regions") };
        assert!(asia.probes.is_empty(), "nobody there has linked up");

        let urls: Vec<&str> = america.probes.iter().map(|probe| probe.url.split('?').next().expect("a path")).collect();
        let expected = ["https://web.test/base/probe", "http://us-east1-0.test:8080/probe"];
        assert_eq!(urls, expected, "who takes no new sessions is as far, and asked last");

        let of: BTreeSet<&str> = europe.probes.iter().map(|probe| parts(probe).0).collect();
        assert_eq!(of, BTreeSet::from(["eu-west-1-0", "eu-west-1-1"]), "those that have a link and an address");
        for probe in &europe.probes {
            let (relay, token) = parts(probe);
            let (now, aud) = (clock::unix_seconds(), audience(&uid(relay), "boot-1"));
            let claims = keys.verify_probe(token, LOBBY_UID, &aud, now).expect("good for this relay");
            assert!(probe.expires_at == claims.exp && claims.exp >= now + PROBE_LIFE_SECONDS / 2);
            assert!(keys.verify_probe(token, LOBBY_UID, &audience(&uid("us-east1-0"), "boot-1"), now).is_err());
            tokens.insert(token.to_owned());
        }
        first.insert(parts(&europe.probes[0]).0.to_owned());
    }
    assert_eq!(first.len(), 2, "clients share the relays of a region");
    assert_eq!(tokens.len(), 2, "each is signed once for all that ask");
}
