//! Each fault against a small server that counts what reaches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::{Authority, Door, Fault, Plan, Proxy, Release, Rule, Scope, Side, Upstream, Verb, When};

const PODS: &str = "/api/v1/namespaces/x/pods";

/// A server, the proxy before it, and a client of one door.
struct World {
    made: Arc<AtomicU32>,
    proxy: Proxy,
    door: Door,
    http: reqwest::Client,
}

impl World {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let made = Arc::new(AtomicU32::new(0));
        let upstream = listen(made.clone()).await;
        let proxy = Proxy::new(Upstream::new(&upstream, &Authority::Any).expect("a client"));
        let scope = Scope { resources: vec!["things".to_owned()], namespace: "x".to_owned() };
        let door = proxy.open("first", "127.0.0.1:0", Some(scope)).await.expect("listens");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { made, proxy, door, http }
    }

    fn plan(&self, rules: Vec<Rule>) {
        self.proxy.set_plan(Plan { rules });
    }

    fn create(&self) -> impl Future<Output = reqwest::Result<reqwest::Response>> + Send + 'static {
        let body = r#"{"metadata":{"name":"a-0"}}"#;
        self.http.post(format!("{}{PODS}", self.door.url())).bearer_auth("word").body(body).send()
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.door.url())).send().await.expect("an answer")
    }

    fn made(&self) -> u32 {
        self.made.load(Ordering::SeqCst)
    }
}

/// Pods are counted; a list tells the count; a watch tells two events and goes on.
async fn listen(made: Arc<AtomicU32>) -> String {
    let create = async |State(made): State<Arc<AtomicU32>>, headers: HeaderMap| {
        if headers.get("authorization").is_none_or(|token| token != "Bearer word") {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let count = made.fetch_add(1, Ordering::SeqCst) + 1;
        (StatusCode::CREATED, format!("made {count}")).into_response()
    };
    let list = async |State(made): State<Arc<AtomicU32>>, uri: http::Uri| {
        if !uri.query().unwrap_or_default().contains("watch=true") {
            return made.load(Ordering::SeqCst).to_string().into_response();
        }
        let events = ["a", "b"].map(|name| {
            Ok::<_, std::io::Error>(format!(
                "{{\"type\":\"ADDED\",\"object\":{{\"metadata\":{{\"name\":\"{name}\"}}}}}}\n"
            ))
        });
        let events = futures::StreamExt::chain(futures::stream::iter(events), futures::stream::pending());
        Body::from_stream(events).into_response()
    };
    let router = Router::new()
        .route(PODS, post(create).get(list))
        .route("/apis/a.dev/v1/namespaces/x/things", get(async || "of x"))
        .with_state(made);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn writes() -> When {
    When { verbs: vec!["write".to_owned()], ..When::default() }
}

#[tokio::test]
async fn without_a_plan_everything_goes_through_and_is_written_down() {
    let world = World::start().await;
    let answer = world.create().await.expect("an answer");
    assert_eq!((answer.status(), answer.text().await.expect("text")), (StatusCode::CREATED, "made 1".to_owned()));
    assert_eq!(world.get("/apis/a.dev/v1/things").await.text().await.expect("text"), "of x");
    let log = world.proxy.log().entries(0);
    assert_eq!(
        log.iter().map(|entry| entry.target.to_string()).collect::<Vec<_>>(),
        ["create pods a-0", "list things"]
    );
    assert!(log[0].created() && log[0].client == "first" && !log[1].took_effect());
    assert_eq!(log[0].request.as_ref().expect("a request").body.len(), 32);
    assert!(!serde_json::to_string(&log).expect("JSON").contains("word"), "a token in the log");
}

#[tokio::test]
async fn faults_of_requests_happen_on_their_side_of_the_commit() {
    let world = World::start().await;
    let answer = |status, committed| Fault::Answer { status, retry_after: Some(7), committed };
    for (fault, made, seen) in [
        (Fault::Drop, 0, None),
        (Fault::LoseAnswer, 1, None),
        (Fault::CutAnswer { after_bytes: 2 }, 1, Some((201, None))),
        (answer(429, false), 0, Some((429, Some("7")))),
        (answer(504, true), 1, Some((504, Some("7")))),
        (Fault::Delay { milliseconds: 1 }, 1, Some((201, Some("made")))),
    ] {
        let before = world.made();
        world.plan(vec![Rule::always(writes(), fault.clone())]);
        let answer = world.create().await.ok();
        assert_eq!(world.made() - before, made, "{fault:?}");
        assert_eq!(answer.as_ref().map(|answer| answer.status().as_u16()), seen.map(|(status, _)| status), "{fault:?}");
        let Some(answer) = answer else { continue };
        let retry = answer.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
        let body = answer.text().await.ok();
        match seen.and_then(|(_, text)| text) {
            Some("made") => assert!(body.expect("a body").starts_with("made")),
            told => assert_eq!((retry.as_deref(), body.is_some()), (told, told.is_some()), "{fault:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_held_is_sent_answered_or_dropped_as_told() {
    let world = World::start().await;
    for (side, release, made, answered) in [
        (Side::Before, Release::Forward, 1, true),
        (Side::Before, Release::Drop, 0, false),
        (Side::After, Release::Forward, 1, true),
        (Side::After, Release::Drop, 1, false),
    ] {
        let before = world.made();
        world.plan(vec![Rule::nth(writes(), 1, Fault::Hold { side })]);
        let request = tokio::spawn(world.create());
        let held = world.proxy.next_held("first").await;
        assert_eq!((held.target.verb, held.side), (Verb::Create, side));
        assert_eq!(world.made() - before, u32::from(side == Side::After), "what waits before is not sent");
        assert!(world.proxy.release(held.id, release) && world.proxy.held().is_empty());
        assert_eq!(request.await.expect("no panic").is_ok(), answered, "{side:?} {release:?}");
        assert_eq!(world.made() - before, made);
    }
}

#[tokio::test]
async fn nothing_that_was_held_gets_through_a_door_that_is_closed() {
    let world = World::start().await;
    world.plan(vec![Rule::always(writes(), Fault::Hold { side: Side::Before })]);
    let request = tokio::spawn(world.create());
    world.proxy.next_held("first").await;
    world.door.close().await;
    assert!(request.await.expect("no panic").is_err());
    assert!(world.proxy.held().is_empty());
    assert_eq!(world.made.load(Ordering::SeqCst), 0);
    let log = world.proxy.log().entries(0);
    assert!(log.len() == 1 && !log[0].took_effect() && log[0].fault.is_some(), "{log:?}");
}

#[tokio::test]
async fn a_list_can_be_answered_as_it_was() {
    let world = World::start().await;
    world.proxy.record(true);
    world.get(PODS).await;
    world.proxy.record(false);
    world.create().await.expect("an answer");
    assert_eq!(world.get(PODS).await.text().await.expect("text"), "1");
    world.plan(vec![Rule::always(When::default(), Fault::Replay)]);
    assert_eq!(world.get(PODS).await.text().await.expect("text"), "0");
    assert_eq!(world.get("/api/v1/nodes").await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// What comes of a watch under this plan: all that is said until it ends or both events were told.
async fn watched(world: &World, rules: Vec<Rule>) -> (String, bool) {
    world.plan(rules);
    let mut watch = world.get(&format!("{PODS}?watch=true")).await;
    let mut text = String::new();
    let mut ended = false;
    while text.matches('\n').count() < 2 && !ended {
        match watch.chunk().await {
            Ok(Some(chunk)) => text.push_str(&String::from_utf8_lossy(&chunk)),
            Ok(None) | Err(_) => ended = true,
        }
    }
    (text, ended)
}

#[tokio::test]
async fn events_come_are_swallowed_or_end_the_watch() {
    let world = World::start().await;
    let named = |name: &str| When { names: vec![name.to_owned()], ..When::default() };
    let (text, _) = watched(&world, vec![]).await;
    assert!(text.contains("\"a\"") && text.contains("\"b\""), "{text}");
    let (text, ended) = watched(&world, vec![Rule::always(named("b"), Fault::Gone)]).await;
    assert!(text.contains("\"a\"") && text.contains("ERROR") && text.contains("410") && !ended, "{text}");
    let swallow = Rule::always(named("a"), Fault::Swallow);
    let (text, ended) = watched(&world, vec![swallow, Rule::always(named("b"), Fault::Gone)]).await;
    assert!(!text.contains("\"a\"") && text.contains("ERROR") && ended, "{text}");
}

#[tokio::test]
async fn a_stalled_watch_says_nothing_until_there_is_another_plan() {
    let world = World::start().await;
    world.plan(vec![Rule::always(When::default(), Fault::Stall)]);
    let mut watch = world.get(&format!("{PODS}?watch=true")).await;
    let silent = tokio::time::timeout(std::time::Duration::from_millis(200), watch.chunk()).await;
    assert!(silent.is_err(), "{silent:?}");
    world.plan(vec![]);
    assert!(matches!(watch.chunk().await, Ok(None)), "it ends, and the client looks again");
}

#[tokio::test]
async fn the_control_interface_takes_a_plan_and_gives_the_log() {
    let world = World::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let control = format!("http://{}", listener.local_addr().expect("an address"));
    let router = crate::control::router(world.proxy.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let put = async |text: &'static str| {
        let request = world.http.put(format!("{control}/plan")).header("content-type", "application/json").body(text);
        request.send().await.expect("an answer").status()
    };
    assert_eq!(put(r#"{"rules":[{"fault":{"hold":{"side":"before"}}}]}"#).await, StatusCode::NO_CONTENT);
    assert!(put(r#"{"rules":[{"fault":"nothing"}]}"#).await.is_client_error());
    let request = tokio::spawn(world.create());
    let held = world.proxy.next_held("first").await;
    let post =
        async |path: String| world.http.post(format!("{control}{path}")).send().await.expect("an answer").status();
    assert_eq!(post(format!("/held/{}/forward", held.id)).await, StatusCode::NO_CONTENT);
    assert_eq!(post(format!("/held/{}/forward", held.id)).await, StatusCode::NOT_FOUND);
    assert!(request.await.expect("no panic").is_ok());
    let log = world.http.get(format!("{control}/log?from=1")).send().await.expect("an answer");
    let log = log.text().await.expect("text");
    assert_eq!(log.lines().count(), 1, "{log}");
    let entry: crate::Entry = serde_json::from_str(log.trim()).expect("an entry");
    assert!(entry.created() && entry.number == 1);
}
