//! Create, join, read, list, close; idempotency; refusals.

use convene::decide::token::VerifyKeys;
use convene::wire::claims::{Role, audience};
use convene::wire::session::{Joined, Problem, SessionCreated, SessionList, SessionState, SessionView};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fake_relay::FakeRelay;
use crate::world::{ADMIN_TOKEN, Cluster, LOBBY_UID, Running, eventually, pool, table, three_pools, uid};

const TOKYO: &str = "asia-northeast1-0";

pub async fn create(lobby: &Running, body: &Value) -> SessionCreated {
    let answer = Client::new().post(lobby.url("/v1/sessions")).json(body).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
    answer.json().await.expect("a session")
}

pub async fn join(lobby: &Running, id: &str, join_key: impl serde::Serialize) -> Response {
    let body = json!({ "joinKey": join_key });
    Client::new().post(lobby.url(&format!("/v1/sessions/{id}/join"))).json(&body).send().await.expect("an answer")
}

pub async fn with_bearer(lobby: &Running, method: Method, path: &str, token: &str) -> Response {
    Client::new().request(method, lobby.url(path)).bearer_auth(token).send().await.expect("an answer")
}

async fn one_relay() -> (Running, FakeRelay) {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, vec![pool("asia-northeast1", 35.68, 139.69, 1, 100)])).await;
    let relay = FakeRelay::link(&lobby, &cluster, TOKYO, 100).await;
    relay.keep_alive(100);
    (lobby, relay)
}

#[tokio::test]
async fn a_join_key_of_the_clients_own_stays_with_the_client() {
    let (lobby, _relay) = one_relay().await;
    let key = convene::process::secret::random_secret();
    let hash = convene::process::secret::hash(&key);
    let created = create(&lobby, &json!({ "joinKeyHash": hash })).await;
    let id = &created.session.id;
    assert_eq!(created.join_key, None);
    assert_eq!(created.join_link, format!("http://{}/j/{id}", lobby.address));
    assert_eq!(join(&lobby, id, &key).await.status(), StatusCode::OK);
    assert_eq!(join(&lobby, id, &hash).await.status(), StatusCode::UNAUTHORIZED);
    lobby.stop().await;
}

#[tokio::test]
async fn a_session_is_created_joined_read_listed_and_closed() {
    let (lobby, relay) = one_relay().await;
    let created = create(&lobby, &json!({})).await;
    let id = created.session.id.clone();
    assert_eq!(created.session.epoch, 1);
    assert_eq!(created.session.relay, TOKYO);
    assert_eq!(created.session.state, SessionState::Leased);
    assert_eq!(created.connect.url, format!("ws://{TOKYO}.test:8080/s/{id}"));
    assert_eq!(
        created.join_link,
        format!("http://{}/j/{id}#{}", lobby.address, created.join_key.as_deref().expect("a key"))
    );

    // The relay was told to hold a seat, with a record that it can return.
    eventually("the relay holds the seat", async || relay.know(|memory| memory.held.contains_key(&id))).await;

    let joined = join(&lobby, &id, &created.join_key).await;
    assert_eq!(joined.status(), StatusCode::OK);
    let joined: Joined = joined.json().await.expect("a pass");
    assert_eq!(joined.connect.role, Role::Guest);
    let as_host = with_bearer(&lobby, Method::POST, &format!("/v1/sessions/{id}/join"), &created.host_token).await;
    let as_host: Joined = as_host.json().await.expect("a pass");
    assert_eq!(as_host.connect.role, Role::Host);

    // The tokens are what the relay takes, each for itself.
    let jwks: Value = reqwest::get(lobby.url("/v1/jwks.json")).await.expect("keys").json().await.expect("JSON");
    let keys = VerifyKeys::from_jwks(&jwks).expect("keys");
    let now = convene::process::clock::unix_seconds();
    let mut participants = Vec::new();
    for connect in [&created.connect, &joined.connect, &as_host.connect] {
        let claims = keys.verify_join(&connect.token, LOBBY_UID, &audience(&uid(TOKYO), "boot-1"), now).expect("valid");
        assert_eq!((claims.sid.as_str(), claims.epoch, claims.role), (id.as_str(), 1, connect.role));
        assert_eq!((claims.exp, &claims.sub), (connect.expires_at, &connect.participant));
        assert!(keys.verify_join(&connect.token, LOBBY_UID, &audience(&uid("other"), "boot-1"), now).is_err());
        participants.push(claims.sub);
        participants.push(claims.jti);
    }
    participants.sort();
    participants.dedup();
    assert_eq!(participants.len(), 6, "each pass has its own participant and token id");

    // Opened by the first participant.
    relay.open(&id);
    let path = format!("/v1/sessions/{id}");
    eventually("the session is open", async || {
        let view: SessionView =
            with_bearer(&lobby, Method::GET, &path, &created.host_token).await.json().await.expect("a view");
        view.state == SessionState::Open
    })
    .await;

    let list: SessionList =
        with_bearer(&lobby, Method::GET, "/v1/sessions", ADMIN_TOKEN).await.json().await.expect("a list");
    assert_eq!(list.sessions.iter().map(|session| session.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);

    for _ in 0..2 {
        // The repeat of a close is no error.
        let closed = with_bearer(&lobby, Method::DELETE, &path, &created.host_token).await;
        assert_eq!(closed.status(), StatusCode::NO_CONTENT);
    }
    eventually("the relay is told to close", async || relay.know(|memory| memory.closed == [(id.clone(), 1)])).await;
    assert_eq!(join(&lobby, &id, &created.join_key).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(with_bearer(&lobby, Method::GET, &path, ADMIN_TOKEN).await.status(), StatusCode::NOT_FOUND);
    lobby.stop().await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_answer() {
    let (lobby, _relay) = one_relay().await;
    let post = async |key: &str, body: &str| {
        Client::new()
            .post(lobby.url("/v1/sessions"))
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(body.to_owned())
            .send()
            .await
            .expect("an answer")
    };
    let first = post("0123456789abcdef", "{}").await.text().await.expect("text");
    let again = post("0123456789abcdef", "{}").await;
    assert_eq!(again.status(), StatusCode::CREATED);
    assert_eq!(again.text().await.expect("text"), first);
    let other = post("another-key-123456", "{}").await.text().await.expect("text");
    assert_ne!(other, first);

    let mismatch = post("0123456789abcdef", r#"{"place": {"region": "eu-west-1"}}"#).await;
    assert_eq!(mismatch.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(mismatch.json::<Problem>().await.expect("a problem").code, "idempotency_mismatch");
    let short = post("short", "{}").await;
    assert_eq!(short.json::<Problem>().await.expect("a problem").code, "invalid_header");

    // Ten at once under one key: one session.
    let same: Vec<String> = futures::future::join_all(
        (0..10).map(|_| async { post("fedcba9876543210", "{}").await.text().await.expect("text") }),
    )
    .await;
    assert!(same.iter().all(|answer| *answer == same[0]));
    let list = with_bearer(&lobby, Method::GET, "/v1/sessions", ADMIN_TOKEN).await;
    assert_eq!(list.json::<SessionList>().await.expect("a list").sessions.len(), 3);

    // A session that has ended frees its key.
    let ended: SessionCreated = serde_json::from_str(&first).expect("a session");
    with_bearer(&lobby, Method::DELETE, &format!("/v1/sessions/{}", ended.session.id), &ended.host_token).await;
    assert_ne!(post("0123456789abcdef", "{}").await.text().await.expect("text"), first);
    lobby.stop().await;
}

/// All of an answer but its date.
async fn bytes(answer: Response) -> String {
    let mut headers = answer.headers().clone();
    headers.remove("date");
    format!("{} {headers:?} {}", answer.status(), answer.text().await.expect("text"))
}

#[tokio::test]
async fn every_wrong_secret_and_unknown_session_is_refused_with_the_same_bytes() {
    let (lobby, _relay) = one_relay().await;
    let (mine, other) = (create(&lobby, &json!({})).await, create(&lobby, &json!({})).await);
    let path = |id: &str| format!("/v1/sessions/{id}");
    let join_path = |id: &str| format!("/v1/sessions/{id}/join");
    let (id, unknown) = (&mine.session.id, "AAAAAAAAAAAAAAAAAAAAAA");
    let expected = bytes(join(&lobby, id, "wrong").await).await;
    assert!(expected.starts_with("401") && expected.contains("\"www-authenticate\": \"Bearer\""), "{expected}");
    let client = Client::new();
    let refused = [
        join(&lobby, id, "").await,
        join(&lobby, id, &other.join_key).await,
        join(&lobby, id, &mine.host_token).await,
        join(&lobby, id, &"x".repeat(10_000)).await,
        join(&lobby, unknown, &mine.join_key).await,
        join(&lobby, "%ff", &mine.join_key).await,
        client.post(lobby.url(&join_path(id))).send().await.expect("an answer"),
        with_bearer(&lobby, Method::POST, &join_path(id), &other.host_token).await,
        with_bearer(&lobby, Method::POST, &join_path(id), mine.join_key.as_deref().expect("a key")).await,
        with_bearer(&lobby, Method::POST, &join_path(id), ADMIN_TOKEN).await,
        with_bearer(&lobby, Method::POST, &join_path(unknown), &mine.host_token).await,
        client.get(lobby.url(&path(id))).send().await.expect("an answer"),
        with_bearer(&lobby, Method::GET, &path(id), &other.host_token).await,
        with_bearer(&lobby, Method::GET, &path(id), mine.join_key.as_deref().expect("a key")).await,
        with_bearer(&lobby, Method::GET, &path(unknown), &mine.host_token).await,
        client.get(lobby.url(&path(id))).basic_auth("a", Some(&mine.host_token)).send().await.expect("an answer"),
        with_bearer(&lobby, Method::DELETE, &path(id), &other.host_token).await,
        with_bearer(&lobby, Method::DELETE, &path(unknown), &mine.host_token).await,
        with_bearer(&lobby, Method::GET, "/v1/sessions", &mine.host_token).await,
        with_bearer(&lobby, Method::GET, "/v1/sessions", "").await,
        client.get(lobby.url("/v1/sessions?limit=nonsense")).send().await.expect("an answer"),
        client.get(lobby.url("/v1/relay-link")).send().await.expect("an answer"),
    ];
    for (case, answer) in refused.into_iter().enumerate() {
        assert_eq!(bytes(answer).await, expected, "case {case}");
    }
    assert_eq!(join(&lobby, id, &mine.join_key).await.status(), StatusCode::OK);
    lobby.stop().await;
}

#[tokio::test]
async fn bad_input_is_refused_and_the_field_is_named() {
    let (lobby, _relay) = one_relay().await;
    let many: serde_json::Map<String, Value> = (0..300).map(|n| (format!("r{n}"), json!(1))).collect();
    let cases = [
        ("{", 400, "invalid_body", "EOF"),
        ("[]", 400, "invalid_body", "invalid type"),
        ("{} {}", 400, "invalid_body", "trailing"),
        (r#"{"place": {"location": [139.7, 35.7]}}"#, 400, "invalid_body", "place.location"),
        (r#"{"plaice": {}}"#, 400, "invalid_body", "plaice"),
        (r#"{"place": {"latency": {}}}"#, 400, "invalid_body", "place.latency"),
        (r#"{"place": {"location": {"latitude": 1}}}"#, 400, "invalid_body", "longitude"),
        (
            r#"{"place": {"location": {"latitude": "1", "longitude": 1}}}"#,
            400,
            "invalid_body",
            "place.location.latitude",
        ),
        (
            r#"{"place": {"location": {"latitude": 91, "longitude": 1}}}"#,
            400,
            "invalid_place",
            "place.location.latitude",
        ),
        (
            r#"{"place": {"location": {"latitude": 1, "longitude": -181}}}"#,
            400,
            "invalid_place",
            "place.location.longitude",
        ),
        (
            r#"{"place": {"location": {"latitude": 1e999, "longitude": 1}}}"#,
            400,
            "invalid_body",
            "place.location.latitude",
        ),
        (r#"{"place": {"latencies": {"tokyo": -1}}}"#, 400, "invalid_place", "place.latencies.tokyo"),
        (r#"{"place": {"latencies": {"tokyo": 1e9}}}"#, 400, "invalid_place", "place.latencies.tokyo"),
        (r#"{"place": {"latencies": {"tokyo": NaN}}}"#, 400, "invalid_body", "place.latencies.tokyo"),
        (r#"{"place": {"latencies": {"tokyo": null}}}"#, 400, "invalid_body", "place.latencies.tokyo"),
        (r#"{"joinKeyHash": "short"}"#, 400, "invalid_body", "joinKeyHash"),
        (r#"{"place": {"region": 7}}"#, 400, "invalid_body", "place.region"),
        (r#"{"place": {"region": ""}}"#, 400, "invalid_place", "place.region"),
    ];
    let many = json!({"place": {"latencies": many}}).to_string();
    let cases = cases.into_iter().chain([(many.as_str(), 400, "invalid_place", "place.latencies")]);
    for (body, status, code, names) in cases {
        let answer = Client::new()
            .post(lobby.url("/v1/sessions"))
            .header("content-type", "application/json")
            .body(body.to_owned())
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{body}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{body}");
        let problem: Problem = answer.json().await.expect("a problem");
        assert_eq!((problem.status, problem.code.as_str()), (status, code), "{body}");
        assert!(problem.detail.as_deref().is_some_and(|detail| detail.contains(names)), "{body}: {problem:?}");
    }
    lobby.stop().await;
}

#[tokio::test]
async fn what_no_route_takes_is_a_problem_too() {
    let (lobby, _relay) = one_relay().await;
    let client = Client::new();
    let deep = format!(r#"{{"place": {}"#, "[".repeat(2000));
    let json =
        |body: String| client.post(lobby.url("/v1/sessions")).header("content-type", "application/json").body(body);
    let cases = [
        (client.get(lobby.url("/nowhere")), 404, "not_found"),
        (client.get(lobby.url("/")), 404, "not_found"),
        (client.put(lobby.url("/v1/sessions")), 405, "method_not_allowed"),
        (client.delete(lobby.url("/v1/regions")), 405, "method_not_allowed"),
        (client.post(lobby.url("/v1/sessions")).body("{}"), 415, "unsupported_media_type"),
        (
            client.post(lobby.url("/v1/sessions")).header("content-type", "text/plain").body("{}"),
            415,
            "unsupported_media_type",
        ),
        (json("x".repeat(16 * 1024 + 1)), 413, "body_too_large"),
        (json(deep), 400, "invalid_body"),
        (client.get(lobby.url("/v1/sessions?limit=0")).bearer_auth(ADMIN_TOKEN), 400, "invalid_query"),
        (client.get(lobby.url("/v1/sessions?limit=501")).bearer_auth(ADMIN_TOKEN), 400, "invalid_query"),
        (client.get(lobby.url("/v1/sessions?limit=x")).bearer_auth(ADMIN_TOKEN), 400, "invalid_query"),
        (client.get(lobby.url("/v1/sessions?after=x")).bearer_auth(ADMIN_TOKEN), 400, "invalid_query"),
        (client.get(lobby.url("/v1/sessions?page=2")).bearer_auth(ADMIN_TOKEN), 400, "invalid_query"),
        (client.post(lobby.url("/v1/sessions")).header("host", "a@b"), 400, "invalid_header"),
    ];
    for (request, status, code) in cases {
        let answer = request.send().await.expect("an answer");
        let of = answer.url().to_string();
        assert_eq!(answer.status().as_u16(), status, "{of}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{of}");
        if status == 405 {
            assert!(answer.headers().contains_key("allow"), "{of}");
        }
        assert_eq!(answer.json::<Problem>().await.expect("a problem").code, code, "{of}");
    }
    // A body without a stated length is read no farther either.
    let mut raw = tokio::net::TcpStream::connect(lobby.address).await.expect("connected");
    let head = "POST /v1/sessions HTTP/1.1\r\nHost: lobby\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    raw.write_all(head.as_bytes()).await.expect("sent");
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1024));
    for _ in 0..17 {
        let _ = raw.write_all(chunk.as_bytes()).await;
    }
    let mut status = [0; 12];
    raw.read_exact(&mut status).await.expect("an answer");
    assert_eq!(String::from_utf8_lossy(&status), "HTTP/1.1 413");
    let metrics = lobby.metrics().await;
    assert!(metrics.contains(r#"convene_lobby_refused_total{code="body_too_large"}"#), "{metrics}");
    assert!(metrics.contains(r#"convene_lobby_requests_total{route="/v1/sessions",status="405"} 1"#), "{metrics}");
    lobby.stop().await;
}

#[tokio::test]
async fn the_list_is_paged_oldest_first() {
    let (lobby, _relay) = one_relay().await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(create(&lobby, &json!({})).await.session.id);
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = with_bearer(&lobby, Method::GET, &format!("/v1/sessions?limit=3{after}"), ADMIN_TOKEN).await;
        let page: SessionList = page.json().await.expect("a page");
        assert!(page.sessions.len() <= 3);
        assert!(page.sessions.is_sorted_by_key(|session| session.created_at));
        seen.extend(page.sessions.into_iter().map(|session| session.id));
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    ids.sort();
    seen.sort();
    assert_eq!(seen, ids, "each once");
    lobby.stop().await;
}

#[tokio::test]
async fn the_documents_are_served() {
    let cluster = Cluster::new();
    let mut named = table(&cluster, three_pools(10));
    named.url = "https://lobby.example/".to_owned();
    let lobby = Running::start(&named).await;
    let relay = FakeRelay::link(&lobby, &cluster, "asia-northeast1-0", 10).await;
    relay.keep_alive(10);
    let created = create(&lobby, &json!({})).await;
    assert!(created.join_link.starts_with("https://lobby.example/j/"), "{}", created.join_link);
    let get = async |path: &str| reqwest::get(lobby.url(path)).await.expect("an answer");
    let jwks: Value = get("/.well-known/jwks.json").await.json().await.expect("JSON");
    assert_eq!(jwks["keys"][0]["alg"], "ES256");
    assert!(jwks["keys"][0].get("d").is_none(), "the private half stays");
    let openapi: Value = get("/openapi.json").await.json().await.expect("JSON");
    assert!(openapi["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    // The join page is the same for every session, known or not.
    let page = get(&format!("/j/{}", created.session.id)).await;
    assert_eq!(page.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(bytes(page).await, bytes(get("/j/none").await).await);
    let regions: Value = get("/v1/regions").await.json().await.expect("JSON");
    let regions: Vec<(&str, u64)> = regions
        .as_array()
        .expect("a list")
        .iter()
        .map(|region| (region["region"].as_str().expect("a name"), region["freeSeats"].as_u64().expect("seats")))
        .collect();
    assert_eq!(regions, [("eu-west-1", 0), ("asia-northeast1", 9), ("southamerica-east1", 0)]);
    lobby.stop().await;
}
