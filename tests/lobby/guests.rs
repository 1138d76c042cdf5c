//! Sessions whose host is to be asked: guests wait, are let in or refused, and the host hears of all that happens. In
//! memory, and with two lobby processes on one Redis.

use std::time::Duration;

use convene::process::secret;
use convene::wire::session::{Guest, GuestList, GuestState, GuestWaits, Joined, Problem, SessionCreated, SessionEvent};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::{create, with_bearer};
use crate::fake_relay::FakeRelay;
use crate::redis::Server;
use crate::world::{ADMIN_TOKEN, Cluster, Running, eventually, table, three_pools};

const TOKYO: &str = "asia-northeast1-0";

/// A lobby, or two on one store, with a relay at the first.
struct Scene {
    lobbies: Vec<Running>,
    relay: FakeRelay,
    cluster: Cluster,
    _server: Option<Server>,
}

impl Scene {
    async fn in_memory() -> Self {
        let cluster = Cluster::new();
        let lobby = Running::start(&table(&cluster, three_pools(4))).await;
        Self::with(cluster, vec![lobby], None).await
    }

    async fn in_redis() -> Self {
        let (cluster, server) = (Cluster::new(), Server::start().await);
        let lobbies = Running::start_on_redis(2, &server.url(), &table(&cluster, three_pools(4))).await;
        Self::with(cluster, lobbies, Some(server)).await
    }

    async fn with(cluster: Cluster, lobbies: Vec<Running>, server: Option<Server>) -> Self {
        let relay = FakeRelay::link(&lobbies[0], &cluster, TOKYO, 4).await;
        relay.keep_alive(4);
        Self { lobbies, relay, cluster, _server: server }
    }

    /// The lobby process of the host, and that of the guests.
    fn sides(&self) -> (&Running, &Running) {
        (&self.lobbies[0], &self.lobbies[self.lobbies.len() - 1])
    }

    async fn session(&self) -> SessionCreated {
        for lobby in &self.lobbies {
            // Each process knows the relay.
            eventually("there are seats", async || {
                let regions = reqwest::get(lobby.url("/v1/regions")).await.expect("an answer");
                regions.text().await.expect("text").contains("\"freeSeats\":4")
            })
            .await;
        }
        let created = create(self.sides().0, &json!({"approval": true})).await;
        assert!(created.session.approval);
        let id = &created.session.id;
        eventually("the seat is held", async || self.relay.know(|memory| memory.held.contains_key(id))).await;
        self.relay.open(id);
        created
    }

    async fn stop(self) {
        for lobby in self.lobbies {
            lobby.stop().await;
        }
    }
}

fn ask(lobby: &Running, session: &SessionCreated, wait: u64, token: Option<&str>) -> JoinHandle<Response> {
    let url = lobby.url(&format!("/v1/sessions/{}/join?wait={wait}", session.session.id));
    let mut body = json!({"joinKey": session.join_key, "name": "Ada"});
    if let Some(token) = token {
        body["guestToken"] = token.into();
    }
    tokio::spawn(async move { Client::new().post(url).json(&body).send().await.expect("an answer") })
}

async fn waits(answer: JoinHandle<Response>) -> GuestWaits {
    let answer = answer.await.expect("no panic");
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    answer.json().await.expect("a guest")
}

async fn joined(answer: JoinHandle<Response>) -> Joined {
    let answer = answer.await.expect("no panic");
    assert_eq!(answer.status(), StatusCode::OK);
    answer.json().await.expect("a pass")
}

async fn code(answer: Response) -> (u16, String) {
    (answer.status().as_u16(), answer.json::<Problem>().await.expect("a problem").code)
}

async fn decide(lobby: &Running, session: &SessionCreated, guest: &str, word: &str) -> Response {
    let path = format!("/v1/sessions/{}/guests/{guest}/{word}", session.session.id);
    with_bearer(lobby, Method::POST, &path, &session.host_token).await
}

async fn guests(lobby: &Running, session: &SessionCreated) -> Vec<Guest> {
    let path = format!("/v1/sessions/{}/guests", session.session.id);
    let list = with_bearer(lobby, Method::GET, &path, &session.host_token).await;
    list.json::<GuestList>().await.expect("a list").guests
}

/// What a stream tells, event by event.
struct Stream {
    answer: Response,
    text: String,
}

impl Stream {
    async fn open(lobby: &Running, session: &SessionCreated) -> Self {
        let path = format!("/v1/sessions/{}/events", session.session.id);
        let answer = with_bearer(lobby, Method::GET, &path, &session.host_token).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new() }
    }

    /// The next event; none at the end.
    async fn next(&mut self) -> Option<SessionEvent> {
        let next = async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let (event, rest) = (event.to_owned(), rest.to_owned());
                    self.text = rest;
                    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                    if let Some(data) = field("data: ") {
                        let read: SessionEvent = serde_json::from_str(&data).expect("an event");
                        assert_eq!(field("event: ").as_deref(), Some(read.as_str()));
                        return Some(read);
                    }
                }
                let bytes = self.answer.chunk().await.expect("no error")?;
                self.text.push_str(std::str::from_utf8(&bytes).expect("text"));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), next).await.expect("an event in time")
    }

    async fn words(&mut self, count: usize) -> Vec<&'static str> {
        let mut words = Vec::new();
        for _ in 0..count {
            words.push(self.next().await.expect("an event").as_str());
        }
        words
    }
}

async fn guests_come_in_when_their_host_says_so(scene: &Scene) {
    let (hosts, guests_lobby) = scene.sides();
    let session = scene.session().await;
    // One that does not wait comes again with the token that it was given, or was its own from the beginning.
    let first = waits(ask(guests_lobby, &session, 0, None)).await;
    assert_eq!((first.guest.state, first.guest.name.as_deref()), (GuestState::Waiting, Some("Ada")));
    let own = secret::random_secret();
    let second = waits(ask(hosts, &session, 0, Some(&own))).await;
    assert_eq!(waits(ask(guests_lobby, &session, 1, Some(&own))).await.guest, second.guest, "the same guest");
    assert_eq!(second.guest_token, own);
    let mut known: Vec<String> = guests(hosts, &session).await.into_iter().map(|guest| guest.id).collect();
    known.sort();
    let mut both = vec![first.guest.id.clone(), second.guest.id.clone()];
    both.sort();
    assert_eq!(known, both);

    let waiting = ask(guests_lobby, &session, 60, Some(&first.guest_token));
    let approved = decide(hosts, &session, &first.guest.id, "approve").await;
    assert_eq!(approved.json::<Guest>().await.expect("a guest").state, GuestState::Approved);
    // It comes in as who the host knows it to be, and again after it was away.
    for answer in [waiting, ask(hosts, &session, 0, Some(&first.guest_token))] {
        assert_eq!(joined(answer).await.connect.participant, first.guest.id);
    }
    let waiting = ask(guests_lobby, &session, 60, Some(&own));
    let refused = decide(hosts, &session, &second.guest.id, "refuse").await;
    assert_eq!(refused.json::<Guest>().await.expect("a guest").state, GuestState::Refused);
    for answer in [waiting, ask(hosts, &session, 0, Some(&own))] {
        assert_eq!(code(answer.await.expect("no panic")).await, (403, "guest_refused".to_owned()));
    }
    // The host itself is not asked; whoever closes the session sends those home who wait.
    let path = format!("/v1/sessions/{}", session.session.id);
    let host = with_bearer(hosts, Method::POST, &format!("{path}/join"), &session.host_token).await;
    assert_eq!(host.status(), StatusCode::OK);
    let third = waits(ask(guests_lobby, &session, 0, None)).await;
    let waiting = ask(guests_lobby, &session, 60, Some(&third.guest_token));
    assert_eq!(with_bearer(hosts, Method::DELETE, &path, &session.host_token).await.status(), StatusCode::NO_CONTENT);
    // Its relays have not all been heard: what is not known may yet be told.
    let (status, word) = code(waiting.await.expect("no panic")).await;
    assert!([(401, "unauthorized"), (503, "rebuilding")].contains(&(status, word.as_str())), "{status} {word}");
}

#[tokio::test]
async fn guests_come_in_when_their_host_says_so_in_memory() {
    let scene = Scene::in_memory().await;
    guests_come_in_when_their_host_says_so(&scene).await;
    scene.stop().await;
}

#[tokio::test]
async fn guests_come_in_when_their_host_says_so_at_another_lobby_process() {
    let scene = Scene::in_redis().await;
    guests_come_in_when_their_host_says_so(&scene).await;
    scene.stop().await;
}

async fn the_host_hears_what_happens(scene: &Scene) {
    let (hosts, others) = scene.sides();
    let session = scene.session().await;
    let path = format!("/v1/sessions/{}", session.session.id);
    eventually("the session is open", async || {
        let view = with_bearer(hosts, Method::GET, &path, &session.host_token).await;
        view.text().await.expect("text").contains("\"open\"")
    })
    .await;
    let mut stream = Stream::open(others, &session).await;
    let Some(SessionEvent::Snapshot { session: view, guests }) = stream.next().await else {
        unreachable!("a snapshot comes first")
    };
    assert_eq!((view.id.as_str(), guests.len()), (session.session.id.as_str(), 0));
    let guest = waits(ask(hosts, &session, 0, None)).await.guest;
    assert_eq!(stream.next().await, Some(SessionEvent::GuestWaiting { guest: guest.clone() }));
    decide(hosts, &session, &guest.id, "approve").await;
    assert_eq!(stream.words(1).await, ["guestApproved"]);
    decide(hosts, &session, &guest.id, "refuse").await;
    assert_eq!(stream.words(1).await, ["guestRefused"]);
    let renamed = Client::new().patch(hosts.url(&path)).bearer_auth(ADMIN_TOKEN).json(&json!({"name": "x"}));
    assert_eq!(renamed.send().await.expect("an answer").status(), StatusCode::OK);
    assert_eq!(stream.words(1).await, ["renamed"]);

    let dublin = FakeRelay::link(hosts, &scene.cluster, "eu-west-1-0", 4).await;
    dublin.keep_alive(4);
    eventually("there is room in Dublin", async || {
        let to = Client::new().post(hosts.url(&format!("{path}/move"))).bearer_auth(ADMIN_TOKEN);
        let answer = to.json(&json!({"region": "eu-west-1"})).send().await.expect("an answer");
        answer.status() == StatusCode::OK
    })
    .await;
    assert_eq!(stream.words(1).await, ["moved"]);
    let id = &session.session.id;
    eventually("the seat is held", async || dublin.know(|memory| memory.held.contains_key(id))).await;
    dublin.open(id);
    assert_eq!(stream.words(1).await, ["opened"]);
    // Who comes later begins with how things stand; who has had enough says so beforehand.
    let short = with_bearer(hosts, Method::GET, &format!("{path}/events?for=0"), ADMIN_TOKEN).await;
    let text = short.text().await.expect("it ends");
    assert!(text.starts_with("event: snapshot\ndata: ") && text.matches("event: ").count() == 1, "{text}");
    assert!(text.contains("\"state\":\"refused\"") && text.contains("\"name\":\"x\""), "{text}");
    assert_eq!(with_bearer(hosts, Method::DELETE, &path, &session.host_token).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(stream.words(1).await, ["closed"]);
    assert_eq!(stream.next().await, None, "the stream ends with the session");
}

#[tokio::test]
async fn the_host_hears_what_happens_in_memory() {
    let scene = Scene::in_memory().await;
    the_host_hears_what_happens(&scene).await;
    scene.stop().await;
}

#[tokio::test]
async fn the_host_hears_what_happens_at_another_lobby_process() {
    let scene = Scene::in_redis().await;
    the_host_hears_what_happens(&scene).await;
    scene.stop().await;
}

#[tokio::test]
async fn only_host_and_admin_decide_and_follow_and_only_so_many_streams_are_open() {
    let scene = Scene::in_memory().await;
    let (lobby, _) = scene.sides();
    let session = scene.session().await;
    let guest = waits(ask(lobby, &session, 0, None)).await;
    let path = format!("/v1/sessions/{}", session.session.id);
    let of_guest = format!("{path}/guests/{}", guest.guest.id);
    for (method, path) in [
        (Method::GET, format!("{path}/guests")),
        (Method::GET, format!("{path}/events")),
        (Method::POST, format!("{of_guest}/approve")),
        (Method::POST, format!("{of_guest}/refuse")),
    ] {
        for wrong in [&guest.guest_token, session.join_key.as_ref().expect("a key")] {
            let (status, _) = code(with_bearer(lobby, method.clone(), &path, wrong).await).await;
            assert!([401, 503].contains(&status), "{method} {path}: {status}");
        }
        let query = format!("{path}?x=1");
        let answer = with_bearer(lobby, method, &query, ADMIN_TOKEN).await;
        assert_eq!(code(answer).await, (400, "invalid_query".to_owned()), "{query}");
    }
    let nobody = decide(lobby, &session, "AAAAAAAAAAAAAAAAAAAAAA", "approve").await;
    assert_eq!(code(nobody).await, (404, "no_such_guest".to_owned()));
    for query in ["for=3601", "for=-1", "for=x", "for="] {
        let answer = with_bearer(lobby, Method::GET, &format!("{path}/events?{query}"), ADMIN_TOKEN).await;
        assert_eq!(code(answer).await, (400, "invalid_query".to_owned()), "{query}");
    }
    let body = |token: &str| json!({"joinKey": session.join_key, "guestToken": token});
    for (wrong, field) in [(body("short"), "guestToken"), (json!({"joinKey": "x", "name": "a\nb"}), "name")] {
        let url = lobby.url(&format!("{path}/join"));
        let answer: Value =
            Client::new().post(url).json(&wrong).send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(answer["code"], "invalid_body", "{answer}");
        assert!(answer["detail"].as_str().expect("a detail").starts_with(field), "{answer}");
    }
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(Stream::open(lobby, &session).await);
    }
    let events = format!("{path}/events");
    let more = with_bearer(lobby, Method::GET, &events, ADMIN_TOKEN).await;
    assert_eq!(code(more).await, (503, "too_many_streams".to_owned()));
    streams.pop();
    eventually("a stream that was left is free", async || {
        with_bearer(lobby, Method::GET, &format!("{events}?for=0"), ADMIN_TOKEN).await.status() == StatusCode::OK
    })
    .await;
    assert_eq!(streams[0].words(1).await, ["snapshot"]);
    scene.stop().await;
    // The lobby's end is the stream's.
    assert_eq!(streams[0].next().await, None);
}

#[tokio::test]
async fn a_lobby_that_has_lost_its_store_still_asks_the_host() {
    let scene = Scene::in_memory().await;
    let session = scene.session().await;
    let guest = waits(ask(&scene.lobbies[0], &session, 0, None)).await;
    decide(&scene.lobbies[0], &session, &guest.guest.id, "approve").await;
    let Scene { mut lobbies, relay, cluster, .. } = scene;
    let lobby = lobbies.pop().expect("one");
    let tables = lobby.table();
    let (folder, address) = lobby.stop().await;
    let lobby = Running::start_in(folder, &tables, Some(address)).await;
    let memory = relay.know(|memory| memory.clone());
    let relay = FakeRelay::link_with(&lobby, &cluster, TOKYO, "boot-1", 4, memory).await;
    relay.keep_alive(4);
    // It remembers that the host is to be asked, and not what the host has said.
    let again = waits(ask(&lobby, &session, 0, Some(&guest.guest_token))).await;
    assert_eq!((again.guest.id, again.guest.state), (guest.guest.id, GuestState::Waiting));
    lobby.stop().await;
}
