//! What one token, address, session and relay may have, and what is answered beyond.

use crate::site::{HOME, Site, stranger};
use crate::support::until;

/// Asserts status, stable code and that trying again is advised.
fn later(answer: &str, status: &str, code: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    assert!(answer.contains("\nretry-after: 1\n"), "{answer}");
}

#[tokio::test]
async fn each_quota_has_an_answer_of_its_own() {
    let settings =
        ["--capacity=2", "--participants-per-session=3", "--participants-per-address=4", "--remembered-tokens=7"];
    let site = Site::start(&settings).await;
    let token = site.pass("a");
    // Kept open: they hold what is counted.
    let head = async |from, session: &str, pass: String| site.open(from, &format!("/s/{session}"), &[pass]).await;
    let first = head(HOME, "a", token.clone()).await.expect("let in");
    let again = site.answer(HOME, "/s/a", &[token]).await;
    assert!(again.starts_with("HTTP/1.1 401 "), "one token, one connection: {again}");
    assert_eq!(site.refused("replayed").await, 1);

    let second = head(HOME, "a", site.pass("a")).await.expect("let in");
    let third = head(HOME, "a", site.pass("a")).await.expect("let in");
    later(&site.answer(HOME, "/s/a", &[site.pass("a")]).await, "503", "session_full");
    assert_eq!(site.refused("session_full").await, 1);

    let fourth = head(HOME, "b", site.pass("b")).await.expect("let in");
    later(&site.answer(HOME, "/s/b", &[site.pass("b")]).await, "429", "too_many_connections");
    assert_eq!(site.refused("too_many_of_address").await, 1);
    let elsewhere = head(stranger(1), "b", site.pass("b")).await.expect("another address has places of its own");

    later(&site.answer(stranger(1), "/s/c", &[site.pass("c")]).await, "503", "no_capacity");
    assert_eq!(site.refused("no_capacity").await, 1);

    drop((first, second));
    until("they have left", async || site.metric("convene_relay_participants").await == 3).await;
    let sixth = head(HOME, "a", site.pass("a")).await.expect("a place that was left is free");
    let seventh = head(stranger(2), "b", site.pass("b")).await.expect("let in");
    // As many tokens as are remembered until they end were used.
    later(&site.answer(stranger(2), "/s/b", &[site.pass("b")]).await, "503", "no_capacity");
    assert_eq!(site.refused("replay_memory_full").await, 1);
    drop((third, fourth, elsewhere, sixth, seventh));
}
