//! A session of people who are far apart: it moves when one joins for whom, with all others, another relay is clearly nearer,
//! and nobody's stream notices.

use std::sync::OnceLock;

use convene::client::{Approve, Event};
use convene::decide::invite::Invite;
use convene::wire::relay::REASON_MOVED;
use convene::wire::session::{ClientPlace, GeoPoint, SessionView};

use crate::handoff::through;
use crate::scene::{Guest, Host, World};
use crate::streams::echo;
use crate::world::ADMIN_TOKEN;

const TOKYO: (&str, f64, f64) = ("asia-northeast1", 35.68, 139.69);
const MUMBAI: (&str, f64, f64) = ("asia-south1", 19.08, 72.88);
const MADRID: (&str, f64, f64) = ("europe-southwest1", 40.42, -3.70);

fn place(latitude: f64, longitude: f64) -> ClientPlace {
    ClientPlace { location: Some(GeoPoint { latitude, longitude }), ..ClientPlace::default() }
}

async fn session(world: &World, link: &str) -> SessionView {
    let url = world.lobby.url(&format!("/v1/sessions/{}", Invite::parse(link).expect("a link").session));
    let view = reqwest::Client::new().get(url).bearer_auth(ADMIN_TOKEN).send().await.expect("an answer");
    view.json().await.expect("a session")
}

fn connections(events: &[Event]) -> Vec<&str> {
    let mut relays = Vec::new();
    for event in events {
        if let Event::Connected { relay, .. } = event {
            relays.push(relay.as_str());
        }
    }
    relays
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_tokyo_meets_madrid_half_way_and_nobody_loses_a_byte() {
    let world = World::at(&[TOKYO, MUMBAI, MADRID]).await;
    world.lobby.serves_everywhere().await;
    let host = Host::share_at(&world.lobby.url(""), place(TOKYO.1, TOKYO.2), echo().await, Approve::All).await;
    let osaka = Guest::at(&host.link, place(34.69, 135.50));
    let near = osaka.dial().await;
    let before = session(&world, &host.link).await;
    assert_eq!((before.relay.as_str(), before.epoch), ("asia-northeast1-0", 1), "no move for who is near");

    let madrid = OnceLock::new();
    through(near, 8 * 1024 * 1024, async |got| {
        if got > 2 * 1024 * 1024 && madrid.get().is_none() {
            let guest = Guest::at(&host.link, place(MADRID.1, MADRID.2));
            osaka.events.count(1, |event| matches!(event, Event::Back { .. })).await;
            madrid.set(guest).ok();
        }
    })
    .await;
    let madrid = madrid.into_inner().expect("it joined");
    through(madrid.dial().await, 1024 * 1024, async |_| {}).await;
    for events in [&host.events, &osaka.events] {
        events.count(1, |event| matches!(event, Event::Lost { why } if why == REASON_MOVED)).await;
    }
    // One more who is as far away: there is nothing to gain.
    let lisbon = Guest::at(&host.link, place(38.72, -9.14));
    through(lisbon.dial().await, 65_536, async |_| {}).await;
    through(osaka.dial().await, 65_536, async |_| {}).await;
    let after = session(&world, &host.link).await;
    assert_eq!((after.relay.as_str(), after.epoch), ("asia-south1-0", 2), "it has moved once");
    assert_eq!(connections(&osaka.events.all()), ["asia-northeast1-0", "asia-south1-0"]);
    assert_eq!(connections(&madrid.events.all()), ["asia-south1-0"], "who joined went there at once");
    for guest in [osaka, madrid, lisbon] {
        guest.stop().await;
    }
    host.stop().await;
}
