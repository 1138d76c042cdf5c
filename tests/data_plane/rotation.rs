//! Keys change while people come, go and stay: nobody is turned away, nobody is cut, and what was revoked opens nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use convene::decide::token::{SigningKey, kid_of};
use convene::wire::keys::KeySet;
use convene::wire::table::RelayTable;
use tokio::task::JoinHandle;

use crate::world::{Running, eventually, fresh_key};
use crate::{PLACES, connect, create, heard, join, world};

fn publish(lobby: &Path, plain: &RelayTable, version: u64, keys: &[&SigningKey]) {
    let keys = KeySet { version, keys: keys.iter().map(|key| key.public().clone()).collect() };
    let table = RelayTable { keys: Some(keys), ..plain.clone() };
    let (new, file) = (lobby.join("relays.new"), lobby.join("relays.json"));
    std::fs::write(&new, serde_json::to_string(&table).expect("JSON")).expect("written");
    std::fs::rename(new, file).expect("renamed");
}

/// Sessions that are made and joined one after the other, all the time. A failure is a panic.
struct Coming {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Coming {
    fn to(lobby: &Arc<Running>) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (lobby, stopped, count) = (Arc::clone(lobby), Arc::clone(&stop), Arc::clone(&rounds));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let round = count.fetch_add(1, Ordering::Relaxed);
                let (region, ..) = PLACES[round as usize % 2];
                let created = create(&lobby, region).await;
                let host = connect(&created.connect).await.expect("the host is let in");
                let joined = join(&lobby, &created).await.expect("a pass for the guest");
                drop((host, connect(&joined.connect).await.expect("the guest is let in")));
                let closed = reqwest::Client::new()
                    .delete(lobby.url(&format!("/v1/sessions/{}", created.session.id)))
                    .bearer_auth(&created.host_token);
                closed.send().await.expect("closed");
            }
        });
        Self { stop, rounds, task }
    }

    /// Waits until some more have come.
    async fn more(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        let come = || self.rounds.load(Ordering::Relaxed) > before + 10;
        eventually("more have come", async || come() || self.task.is_finished()).await;
        assert!(!self.task.is_finished(), "somebody was turned away");
    }

    async fn end(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("nobody was turned away");
        self.rounds.load(Ordering::Relaxed)
    }
}

async fn signer(lobby: &Running) -> Option<String> {
    kid_of(&create(lobby, PLACES[0].0).await.connect.token)
}

async fn renewed(lobby: &Running, at_least: u32) {
    eventually("records are signed anew", async || {
        let metrics = lobby.metrics().await;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(r#"convene_lobby_records_total{outcome="renewed"} "#));
        line.and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count >= at_least)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_turned_away_while_keys_are_rotated_and_revoked_ones_open_nothing() {
    let (cluster, lobby, pods) = world(&PLACES[..2], 500).await;
    let folder = lobby.folder.path().to_owned();
    let plain = lobby.table();
    let first = SigningKey::from_pem(&std::fs::read_to_string(folder.join("signing-key.pem")).expect("read"));
    let first = first.expect("a key");
    let created = create(&lobby, PLACES[0].0).await;
    let mut host = connect(&created.connect).await.expect("connected");
    let mut guest = connect(&join(&lobby, &created).await.expect("a pass").connect).await.expect("connected");
    let lobby = Arc::new(lobby);
    let coming = Coming::to(&lobby);
    coming.more().await;

    // A key stands by: published before it signs, and in any order with its file.
    let (pem, second) = fresh_key();
    publish(&folder, &plain, 1, &[&first, &second]);
    coming.more().await;
    std::fs::write(folder.join("signing-key-1.pem"), pem).expect("written");
    eventually("both are published", async || lobby.jwks().await.contains(second.kid())).await;
    assert_eq!(signer(&lobby).await.as_deref(), Some(first.kid()));
    // It takes over; the old one verifies on.
    publish(&folder, &plain, 2, &[&second, &first]);
    eventually("the new key signs", async || signer(&lobby).await.as_deref() == Some(second.kid())).await;
    coming.more().await;
    // What the old one had signed is signed anew, so that it can go.
    renewed(&lobby, 1).await;
    publish(&folder, &plain, 3, &[&second]);
    eventually("the old key is gone", async || !lobby.jwks().await.contains(first.kid())).await;
    coming.more().await;
    let rounds = coming.end().await;

    // Revoked while another stands by: at once, also what was signed before.
    let (pem, third) = fresh_key();
    std::fs::write(folder.join("signing-key-2.pem"), pem).expect("written");
    publish(&folder, &plain, 4, &[&second, &third]);
    eventually("it stands by", async || {
        let metrics = lobby.metrics().await;
        lobby.jwks().await.contains(third.kid()) && metrics.contains("convene_lobby_signing_keys 2")
    })
    .await;
    // A pass opens once in any case, so each try has one of its own.
    let mut signed = vec![];
    for _ in 0..40 {
        let waiting = create(&lobby, PLACES[0].0).await;
        assert_eq!(kid_of(&waiting.connect.token).as_deref(), Some(second.kid()));
        signed.push(waiting);
    }
    publish(&folder, &plain, 5, &[&third]);
    eventually("the third key signs", async || signer(&lobby).await.as_deref() == Some(third.kid())).await;
    eventually("what the revoked key has signed opens nothing", async || {
        // There are enough of them for the whole wait.
        tokio::time::sleep(Duration::from_millis(250)).await;
        let unused = signed.pop().expect("a pass that nobody has used");
        connect(&unused.connect).await.is_err()
    })
    .await;
    let unused = signed.pop().expect("a pass that nobody has used");
    assert!(connect(&unused.connect).await.is_err());
    let again = join(&lobby, &unused).await.expect("a new pass");
    assert!(connect(&again.connect).await.is_ok());
    heard(&mut host, &mut guest, "still here").await;

    // The session survives its lobby, though the keys of its first two records are gone.
    renewed(&lobby, 2).await;
    let lobby = Arc::into_inner(lobby).expect("nobody else has it");
    let table = lobby.table();
    let (folder, address) = lobby.stop().await;
    let lobby = Running::start_in(folder, &table, Some(address)).await;
    eventually("a join works again", async || join(&lobby, &created).await.is_ok()).await;
    heard(&mut guest, &mut host, "and after").await;
    let line = format!("{rounds} sessions were made and joined while keys were rotated; none failed\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("printed");
    drop((cluster, pods));
    lobby.stop().await;
}
