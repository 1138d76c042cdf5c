//! A session whose lobby asks the host: guests wait for its word, and hear it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use convene::client::{Approve, Ending, Event};
use convene::wire::session::{GuestList, GuestState, SessionCreated};
use http::HeaderMap;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::scene::{Guest, Host, World, in_time};
use crate::streams::echo;

/// What a host's request goes through that wants its lobby to ask: `convene share` itself decides about guests end to end.
#[derive(Clone)]
struct Asking {
    lobby: String,
    created: Arc<Mutex<Option<SessionCreated>>>,
}

impl Asking {
    async fn start(lobby: String) -> (Self, String) {
        let asking = Self { lobby, created: Arc::default() };
        let router = axum::Router::new().route("/v1/sessions", post(Self::create)).with_state(asking.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (asking, url)
    }

    async fn create(State(asking): State<Self>, headers: HeaderMap, body: axum::Json<Value>) -> axum::Json<Value> {
        let mut body = body.0;
        body["approval"] = true.into();
        let request = reqwest::Client::new().post(format!("{}/v1/sessions", asking.lobby)).json(&body);
        let answer = request.header("idempotency-key", &headers["idempotency-key"]).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("a session");
        let created = serde_json::from_value(answer.clone()).expect("a session");
        asking.created.lock().expect("not poisoned").replace(created);
        axum::Json(answer)
    }

    fn created(&self) -> SessionCreated {
        self.created.lock().expect("not poisoned").clone().expect("created")
    }

    /// The lobby, as the session's host speaks to it.
    async fn host(&self, method: reqwest::Method, path: &str) -> reqwest::Response {
        let SessionCreated { session, host_token, .. } = self.created();
        let url = format!("{}/v1/sessions/{}{path}", self.lobby, session.id);
        reqwest::Client::new().request(method, url).bearer_auth(host_token).send().await.expect("an answer")
    }

    async fn decide(&self, guest: &str, word: &str) {
        let answer = self.host(reqwest::Method::POST, &format!("/guests/{guest}/{word}")).await;
        assert!(answer.status().is_success(), "{word}: {}", answer.status());
    }

    /// Waits until the host sees who asks: its name comes with its second question.
    async fn sees(&self, guest: &str, name: &str) {
        crate::world::eventually("the host sees who asks", async || {
            let list: GuestList = self.host(reqwest::Method::GET, "/guests").await.json().await.expect("a list");
            let found = list.guests.into_iter().find(|known| known.id == guest).expect("it has asked");
            assert_eq!(found.state, GuestState::Waiting);
            found.name.as_deref() == Some(name)
        })
        .await;
    }
}

async fn asked(guest: &Guest) -> String {
    let id = |event: &Event| if let Event::Asked { guest } = event { Some(guest.clone()) } else { None };
    guest.events.find(id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_waits_for_the_host_that_its_lobby_asks() {
    let world = World::new(1).await;
    let (asking, url) = Asking::start(world.lobby.url("")).await;
    let host = Host::share(&url, None, echo().await, Approve::All, Duration::from_secs(60)).await.expect("a session");

    let allowed = Guest::join(&host.link);
    let id = asked(&allowed).await;
    asking.sees(&id, "Ada").await;
    let events = allowed.events.all();
    assert!(!events.iter().any(|event| matches!(event, Event::Connected { .. })), "not before the answer: {events:#?}");
    asking.decide(&id, "approve").await;
    let mut socket = allowed.dial().await;
    socket.write_all(b"hello").await.expect("sent");
    let mut back = [0; 5];
    in_time("the echo", socket.read_exact(&mut back)).await.expect("received");
    assert_eq!(&back, b"hello");

    let refused = Guest::join(&host.link);
    asking.decide(&asked(&refused).await, "refuse").await;
    assert_eq!(refused.ended().await, Ending::Refused("the host did not let you in".to_owned()));

    // One that tires of waiting just goes; one that still waits when the session ends hears that it has ended.
    let impatient = Guest::join(&host.link);
    asked(&impatient).await;
    assert_eq!(impatient.stop().await, Ending::Done("ended".to_owned()));
    let late = Guest::join(&host.link);
    asked(&late).await;
    assert!(asking.host(reqwest::Method::DELETE, "").await.status().is_success());
    let Ending::Refused(why) = late.ended().await else { unreachable!("refused") };
    assert!(why.contains("the session is over"), "{why}");
    assert!(matches!(allowed.ended().await, Ending::Closed(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_waits_for_a_person_does_not_give_up_but_for_a_lobby_that_is_gone() {
    let world = World::new(1).await;
    let (asking, url) = Asking::start(world.lobby.url("")).await;
    let host = Host::share(&url, None, echo().await, Approve::All, Duration::from_secs(60)).await.expect("a session");
    let patience = Duration::from_secs(1);
    let guest = Guest::with(&host.link, None, patience);
    let id = asked(&guest).await;
    tokio::time::sleep(2 * patience).await;
    asking.decide(&id, "approve").await;
    guest.port().await;

    let guest = Guest::with(&host.link, None, patience);
    asked(&guest).await;
    world.lobby.stop().await;
    assert!(matches!(guest.ended().await, Ending::GaveUp(_)));
}
