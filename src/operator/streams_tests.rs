//! A stream that tells, falls silent and comes back.

use std::convert::Infallible;

use axum::Router;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures::stream::unfold;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::decide::heard::Heard;
use crate::operator::control::tests::Site;
use crate::operator::ears::{LobbyNews, OfLobby};
use crate::process::control::Control;
use crate::process::http::Limits;
use crate::wire::stats::{STORE_EVENT, StoreState};

type OfTest = Streams<LobbyRef, OfLobby>;

/// Tells on the port until the sender is dropped, then ends all connections.
async fn serve(port: Control, state: watch::Receiver<bool>) {
    let (ended, mut states) = (CancellationToken::new(), state.clone());
    let end = ended.clone().drop_guard();
    tokio::spawn(async move {
        while states.changed().await.is_ok() {}
        drop(end);
    });
    let events = move || {
        let stream = unfold((state.clone(), true), |(mut state, first)| async move {
            if !first
                && tokio::time::timeout(Duration::from_millis(200), state.changed())
                    .await
                    .is_ok_and(|told| told.is_err())
            {
                return None;
            }
            let said = StoreState { available: *state.borrow_and_update() };
            let event = Event::default().event(STORE_EVENT).json_data(said).ok()?;
            Some((Ok::<_, Infallible>(event), (state, false)))
        });
        std::future::ready(Sse::new(stream))
    };
    port.serve(Router::new().route(EVENTS_PATH, get(events)), Limits::default(), ended).await;
}

fn hub() -> LobbyRef {
    LobbyRef::new("hub").within("here")
}

async fn hears(streams: &OfTest, at: &BTreeMap<String, SocketAddr>, expected: Heard<StoreState>) {
    let told = || streams.follow(&hub(), at).values().map(|process| process.store).collect::<Vec<_>>();
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while told() != [expected] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "not heard: {expected:?}, but {:?}", told());
}

#[tokio::test]
async fn a_process_is_heard_its_silence_is_noticed_and_it_is_heard_again() {
    let told = |available| Heard::Told(StoreState { available });
    let (wake, mut woken) = mpsc::unbounded_channel();
    let wake = move |owner: &LobbyRef, news| wake.send((owner.clone(), news)).expect("somebody listens");
    let site = Site::new(hub().server());
    site.mount();
    let streams: OfTest = Streams::new(site.client(), wake, CancellationToken::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (state, states) = watch::channel(true);
    let server = tokio::spawn(serve(site.open(listener).await, states));
    let at: BTreeMap<String, SocketAddr> = [("uid".to_owned(), address)].into();
    assert_eq!(streams.follow(&hub(), &at)["uid"], OfLobby::default());
    hears(&streams, &at, told(true)).await;
    // Said again and again, it wakes nobody.
    tokio::time::sleep(Duration::from_secs(1)).await;
    state.send_replace(false);
    hears(&streams, &at, told(false)).await;
    drop(state);
    server.await.expect("it ends");
    hears(&streams, &at, Heard::Silent).await;
    let listener = TcpListener::bind(address).await.expect("the port is still free");
    let (_state, states) = watch::channel(true);
    tokio::spawn(serve(site.open(listener).await, states));
    hears(&streams, &at, told(true)).await;
    let mut wakes = Vec::new();
    while let Ok(Some((owner, news))) = tokio::time::timeout(2 * WAKE_GAP, woken.recv()).await {
        assert_eq!(owner, hub());
        wakes.push(news);
    }
    let of_store = wakes.iter().filter(|news| **news == LobbyNews::Store).count();
    assert_eq!(of_store, 4, "one for each change: {wakes:?}");
    assert!(streams.follow(&hub(), &BTreeMap::new()).is_empty());
    assert_eq!(streams.follow(&hub(), &at)["uid"], OfLobby::default(), "followed anew");
}
