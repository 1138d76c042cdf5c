//! What clients have measured, on a real Redis: written over the number that is known, bounded, forgotten in time, and found
//! again by whoever starts.

use std::time::Duration;

use convene::decide::networks::{Kept, LIFE, MAX_NETWORKS};
use convene::lobby::store::{Shelf as _, Wrote};

use crate::server::Server;
use crate::values::{Connected, LIMITS};

const BEGIN: u64 = 1_764_000_000_000;

fn kept(n: usize, number: u64, text: &str) -> Kept {
    let [.., a, b] = u32::try_from(n).expect("small").to_be_bytes();
    Kept { network: format!("10.{a}.{b}.0/24").parse().expect("a network"), number, text: text.to_owned() }
}

async fn keep(store: &Connected, one: Kept) -> Wrote {
    store.store.keep(&[one]).await.expect("there").remove(0)
}

fn number(wrote: &Wrote) -> u64 {
    match wrote {
        Wrote::Under(number) => *number,
        Wrote::Other(other) => unreachable!("not written over {other:?}"),
    }
}

#[tokio::test]
async fn one_writes_over_what_it_knows_and_others_hear_of_it() {
    let server = Server::start().await;
    let a = Connected::to(server.url(), "p", LIMITS, Some(BEGIN)).await;
    let b = Connected::to(server.url(), "p", LIMITS, Some(BEGIN)).await;
    let nothing = a.store.changed(0, 10).await.expect("there");
    assert_eq!((nothing.shelf.as_str(), nothing.last, nothing.networks.len()), ("", 0, 0));

    let first = number(&keep(&a, kept(1, 0, "one")).await);
    let second = number(&keep(&a, kept(2, 0, "two")).await);
    assert!(first >= BEGIN && second > first, "{first} {second}");
    let heard = b.store.changed(0, 10).await.expect("there");
    assert_eq!(heard.networks, [kept(1, first, "one"), kept(2, second, "two")]);
    assert_eq!((heard.last, heard.shelf.is_empty()), (second, false));
    let page = b.store.changed(0, 1).await.expect("there");
    assert_eq!(page.networks, [kept(1, first, "one")]);

    // Who does not know what stands there is told it, and writes nothing.
    assert_eq!(keep(&b, kept(1, 0, "other")).await, Wrote::Other(kept(1, first, "one")));
    let third = number(&keep(&b, kept(1, first, "both")).await);
    assert_eq!(keep(&a, kept(1, first, "old")).await, Wrote::Other(kept(1, third, "both")));
    let heard = a.store.changed(second, 10).await.expect("there");
    assert_eq!(heard.networks, [kept(1, third, "both")]);
    // The server's clock was set back: numbers go on rising.
    a.set(Duration::from_millis(BEGIN - 60_000));
    assert!(number(&keep(&a, kept(3, 0, "three")).await) > third);

    server.command(&["FLUSHALL"]).await;
    crate::values::eventually("the store is there again", async || a.store.changed(0, 1).await.is_ok()).await;
    let lost = a.store.changed(third, 10).await.expect("there");
    assert_eq!((lost.shelf.as_str(), lost.last), ("", 0));
    keep(&a, kept(1, third, "again")).await;
    assert_ne!(a.store.changed(0, 10).await.expect("there").shelf, heard.shelf, "another one");
}

#[tokio::test]
async fn what_is_kept_is_bounded_and_goes_after_a_week() {
    let server = Server::start().await;
    let store = Connected::to(server.url(), "p", LIMITS, Some(BEGIN)).await;
    let all: Vec<Kept> = (0..MAX_NETWORKS + 7).map(|n| kept(n, 0, "text")).collect();
    for some in all.chunks(64) {
        store.store.keep(some).await.expect("there");
    }
    let size =
        async |words: [&str; 2]| redis::from_redis_value::<usize>(server.command(&words).await).expect("a number");
    assert_eq!(size(["ZCARD", "{p}:netindex"]).await, MAX_NETWORKS);
    assert_eq!(size(["HLEN", "{p}:nettexts"]).await, MAX_NETWORKS + 1, "and the shelf's name");
    let first = store.store.changed(0, 1).await.expect("there");
    assert_eq!(first.networks[0].network, all[7].network, "those that changed first have gone");
    for key in ["{p}:netindex", "{p}:nettexts"] {
        assert!(size(["TTL", key]).await > 0, "{key}");
    }

    store.wait(u64::try_from(LIFE.as_millis()).expect("small") + 10_000);
    for _ in 0..=MAX_NETWORKS / 100 {
        store.store.keep(&[kept(1, 0, "new")]).await.expect("there");
    }
    assert_eq!(size(["ZCARD", "{p}:netindex"]).await, 1);
}
