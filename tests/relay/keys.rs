//! The lobby's keys by the relay link: new ones, revoked ones, and what becomes of records and connections.

use convene::decide::token::{SigningKey, kid_of};
use convene::wire::keys::KeySet;
use convene::wire::link::{FromLobby, FromRelay};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Site, key, next, say, until};

fn set(version: u64, keys: &[&SigningKey]) -> KeySet {
    KeySet { version, keys: keys.iter().map(|key| key.public().clone()).collect() }
}

/// Tells keys, and waits until the relay says that it has `then`; the records that it returns with that.
async fn tell(site: &mut Site, told: KeySet, then: &[&str]) -> Vec<String> {
    site.lobby.order(&FromLobby::Keys(told));
    loop {
        // It may have said before what its file holds.
        let message = site.lobby.next(|message| matches!(message, FromRelay::Keys { .. })).await;
        let FromRelay::Keys { keys, records } = message else { unreachable!("keys") };
        if keys == then {
            return records;
        }
    }
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_from_then_on_and_cuts_nobody() {
    let mut site = Site::start().await;
    let (mut a, mut b) = (site.join("s").await, site.join("s").await);
    let (new, unused) = (key(), site.token("s"));
    let old = SigningKey::kid(&site.key).to_owned();

    let (both, one) = (set(5, &[&site.key, &new]), set(6, &[&new]));
    tell(&mut site, both, &[&old, new.kid()]).await;
    assert!(site.connect("s", &site.token("s")).await.is_ok());
    assert!(site.connect("s", &new.sign_join(&site.claims("s"))).await.is_ok());

    tell(&mut site, one, &[new.kid()]).await;
    assert_eq!(site.connect("s", &unused).await.map(drop), Err(401), "signed before it was revoked");
    assert!(site.connect("s", &new.sign_join(&site.claims("s"))).await.is_ok());
    say(&mut a, "still here").await;
    assert_eq!(next(&mut b).await, Message::text("still here"));

    // Neither an older set brings it back, nor do broken keys.
    let rejected = site.metric("convene_relay_keys_rejected_total").await;
    let broken = KeySet { version: 7, keys: vec![serde_json::json!({"kid": "x"})] };
    tell(&mut site, broken, &[new.kid()]).await;
    assert_eq!(site.metric("convene_relay_keys_rejected_total").await, rejected + 1);
    let older = set(5, &[&site.key]);
    tell(&mut site, older, &[new.kid()]).await;
    let file = |version| serde_json::to_string(&set(version, &[&site.key])).expect("JSON");
    // A newer file does: the lobby may be away for long.
    std::fs::write(site.jwks(), file(8)).expect("written");
    until("taken", async || site.connect("s", &site.token("s")).await.is_ok()).await;
}

#[tokio::test]
async fn records_that_the_first_key_has_not_signed_are_returned_and_replaced() {
    let mut site = Site::start().await;
    let held = site.hold("s", 60);
    site.lobby.order(&held);
    site.lobby.load(0, 1, 0).await;
    let FromLobby::Hold { record: before, .. } = held else { unreachable!("a hold") };
    let new = key();
    let both = set(1, &[&new, &site.key]);
    let kids = [new.kid().to_owned(), site.key.kid().to_owned()];
    let kids = [kids[0].as_str(), kids[1].as_str()];
    assert_eq!(tell(&mut site, both.clone(), &kids).await, [before]);
    // Of another epoch: of no use.
    let record = new.sign_record(&site.record_claims("s"));
    for epoch in [2, 1] {
        let record = if epoch == 1 { record.clone() } else { "x".to_owned() };
        site.lobby.order(&FromLobby::Record { session: "s".to_owned(), epoch, record });
    }
    assert_eq!(tell(&mut site, both, &kids).await, [] as [String; 0], "nothing is left to renew");
    site.lobby.set_open(false);
    site.lobby.set_open(true);
    let hello = site.lobby.next(|message| matches!(message, FromRelay::Hello { .. })).await;
    let FromRelay::Hello { records, keys, .. } = hello else { unreachable!("a Hello") };
    assert_eq!((records.len(), kid_of(&records[0]).as_deref(), keys.len()), (1, Some(new.kid()), 2));
    assert_eq!(keys[0], new.kid());
}
