//! Web pages: what browsers ask before they let one call, and what they must find in the answers.

use reqwest::{Client, Method, Response, StatusCode};

use crate::world::{Cluster, Running, table, three_pools};

const PAGE: &str = "https://app.example.com";

/// As a browser asks before a page of `origin` sends `method` to `path` with `headers`.
async fn ask(lobby: &Running, origin: &str, method: &str, path: &str, headers: &str) -> Response {
    Client::new()
        .request(Method::OPTIONS, lobby.url(path))
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers)
        .send()
        .await
        .expect("an answer")
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

fn lists(answer: &Response, name: &str, word: &str) -> bool {
    header(answer, name).split(',').any(|listed| listed.trim().eq_ignore_ascii_case(word))
}

#[tokio::test]
async fn pages_of_any_origin_may_call_and_bring_no_cookies() {
    let lobby = Running::start(&table(&Cluster::new(), three_pools(1))).await;
    for (method, path, headers) in [
        ("POST", "/v1/sessions", "content-type,idempotency-key"),
        ("POST", "/v1/sessions/x/join", "authorization,content-type"),
        ("DELETE", "/v1/sessions/x", "authorization"),
        ("GET", "/v1/sessions/x", "authorization"),
    ] {
        let answer = ask(&lobby, PAGE, method, path, headers).await;
        assert_eq!(answer.status(), StatusCode::OK, "{method} {path}");
        assert_eq!(header(&answer, "access-control-allow-origin"), "*", "{method} {path}");
        assert!(lists(&answer, "access-control-allow-methods", method), "{method} {path}: {answer:?}");
        for wanted in headers.split(',') {
            assert!(lists(&answer, "access-control-allow-headers", wanted), "{wanted}: {answer:?}");
        }
    }
    // The answers themselves, refusals too: a page must be able to read why.
    let post = |path: &str| Client::new().post(lobby.url(path)).header("origin", PAGE).send();
    let none = post("/v1/sessions").await.expect("an answer");
    assert_eq!(none.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(lists(&none, "access-control-expose-headers", "retry-after"), "{none:?}");
    let refused = post("/v1/sessions/x/join").await.expect("an answer");
    let unknown = Client::new().get(lobby.url("/none")).header("origin", PAGE).send().await.expect("an answer");
    for answer in [none, refused, unknown] {
        assert_eq!(header(&answer, "access-control-allow-origin"), "*", "{answer:?}");
        assert!(!answer.headers().contains_key("access-control-allow-credentials"), "{answer:?}");
    }
    lobby.stop().await;
}

#[tokio::test]
async fn once_origins_are_listed_pages_of_others_may_not_call() {
    let listed = [PAGE, "http://localhost:5173"];
    let lobby = Running::start_for_pages_of(&listed, &table(&Cluster::new(), three_pools(1))).await;
    for (origin, told) in [
        (listed[0], listed[0]),
        (listed[1], listed[1]),
        ("https://evil.example", ""),
        ("http://app.example.com", ""),
        ("https://app.example.com:444", ""),
        ("null", ""),
    ] {
        let asked = ask(&lobby, origin, "POST", "/v1/sessions", "content-type").await;
        let called = Client::new().get(lobby.url("/v1/regions")).header("origin", origin).send().await;
        for answer in [asked, called.expect("an answer")] {
            assert_eq!(header(&answer, "access-control-allow-origin"), told, "{origin}");
            assert!(lists(&answer, "vary", "origin"), "{origin}: caches would mix the answers up: {answer:?}");
        }
    }
    // What is no browser names no origin, and is served as ever.
    assert_eq!(reqwest::get(lobby.url("/v1/regions")).await.expect("an answer").status(), StatusCode::OK);
    lobby.stop().await;
}
