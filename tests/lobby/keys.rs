//! Which key signs: a new one for relays that have it, and none that no longer counts.

use convene::decide::token::{SigningKey, kid_of};
use convene::wire::keys::KeySet;
use convene::wire::link::{FromLobby, FromRelay};
use convene::wire::session::SessionCreated;
use convene::wire::table::RelayTable;
use serde_json::json;

use crate::api::create;
use crate::fake_relay::FakeRelay;
use crate::world::{Cluster, Running, eventually, fresh_key, pool, table};

const TOKYO: &str = "asia-northeast1-0";
const DUBLIN: &str = "eu-west-1-0";

fn published(table: &RelayTable, version: u64, keys: &[&SigningKey]) -> String {
    let keys = KeySet { version, keys: keys.iter().map(|key| key.public().clone()).collect() };
    serde_json::to_string(&RelayTable { keys: Some(keys), ..table.clone() }).expect("JSON")
}

/// Who has signed the token of a new session there.
async fn signer(lobby: &Running, region: &str) -> String {
    let created: SessionCreated = create(lobby, &json!({"place": {"region": region}})).await;
    assert_eq!(created.session.region, region);
    kid_of(&created.connect.token).expect("signed")
}

fn has(relay: &FakeRelay, keys: &[&SigningKey]) {
    let keys = keys.iter().map(|key| key.kid().to_owned()).collect();
    relay.say(FromRelay::Keys { keys, records: Vec::new() });
}

#[tokio::test]
async fn a_new_key_signs_where_a_relay_has_said_that_it_has_it() {
    let cluster = Cluster::new();
    let plain =
        table(&cluster, vec![pool("asia-northeast1", 35.0, 139.0, 1, 90), pool("eu-west-1", 53.0, -6.0, 1, 90)]);
    let lobby = Running::start(&plain).await;
    let text = std::fs::read_to_string(lobby.folder.path().join("signing-key.pem")).expect("a key");
    let old = SigningKey::from_pem(&text).expect("good");
    let (tokyo, dublin) =
        (FakeRelay::link(&lobby, &cluster, TOKYO, 90).await, FakeRelay::link(&lobby, &cluster, DUBLIN, 90).await);
    tokyo.keep_alive(90);
    dublin.keep_alive(90);

    // A second key is published before this lobby has its private half: it is told, and signs nothing.
    let (pem, new) = fresh_key();
    lobby.change_table(&published(&plain, 1, &[&new, &old])).await;
    let told = |relay: &FakeRelay, version| {
        let is_told = |message: &FromLobby| matches!(message, FromLobby::Keys(set) if set.version == version);
        relay.know(|memory| memory.messages.iter().any(is_told))
    };
    eventually("both are told", async || told(&tokyo, 1) && told(&dublin, 1)).await;
    has(&tokyo, &[&new, &old]);
    has(&dublin, &[&old]);
    assert_eq!(signer(&lobby, "asia-northeast1").await, old.kid());

    std::fs::write(lobby.folder.path().join("signing-key-1.pem"), pem).expect("written");
    eventually("it signs where it is known", async || signer(&lobby, "asia-northeast1").await == new.kid()).await;
    assert_eq!(signer(&lobby, "eu-west-1").await, old.kid());
    has(&dublin, &[&new, &old]);
    eventually("and then there", async || signer(&lobby, "eu-west-1").await == new.kid()).await;

    // Revoked: gone from the key set at once, though its file is still there; relays are told.
    lobby.change_table(&published(&plain, 2, &[&old])).await;
    eventually("both are told", async || told(&tokyo, 2) && told(&dublin, 2)).await;
    let jwks = lobby.jwks().await;
    assert!(!jwks.contains(new.kid()) && jwks.contains(old.kid()), "{jwks}");
    assert_eq!(signer(&lobby, "eu-west-1").await, old.kid());

    // A broken set changes nothing.
    let broken = KeySet { version: 3, keys: vec![json!({"kid": "x"})] };
    let broken = RelayTable { keys: Some(broken), ..plain.clone() };
    lobby.change_table(&serde_json::to_string(&broken).expect("JSON")).await;
    assert_eq!(lobby.jwks().await, jwks);
    lobby.stop().await;
}
