//! Who comes by HTTP is sent on.

use http::StatusCode;

use crate::world::{Running, eventually, table};

/// Status, and where to.
async fn ask(router: &Running, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Option<String>) {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let mut request = client.get(format!("http://{}{path}", router.http));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    let location = answer.headers().get("location").map(|location| location.to_str().expect("text").to_owned());
    (answer.status(), location)
}

#[tokio::test]
async fn who_comes_is_sent_to_the_nearest_relay_with_the_path_that_they_asked_for() {
    let router = Running::start_with(&table(), &["--trusted-proxies=127.0.0.1"]).await;
    let to = async |path: &str, headers: &[(&str, &str)]| ask(&router, path, headers).await;
    let moved = |url: &str| (StatusCode::TEMPORARY_REDIRECT, Some(url.to_owned()));
    assert_eq!(
        to("/s/abc?x=1", &[("x-forwarded-for", "2001:db8:77::5")]).await,
        moved("http://192.0.2.20:7000/s/abc?x=1")
    );
    let tokyo = to("/", &[("x-forwarded-for", "203.0.113.9")]).await.1.expect("somewhere");
    assert!(["https://192.0.2.9/", "https://[2001:db8::9]:8443/"].contains(&tokyo.as_str()), "{tokyo}");
    assert_eq!(to("/?location=-23.5,-46.6", &[]).await, moved("http://192.0.2.20:7000/"));
    assert_eq!(to("/a?region=southamerica-east1&b=%2F", &[]).await, moved("http://192.0.2.20:7000/a?b=%2F"));
    // What is the lobby's goes there as it came, whatever the lobby makes of it.
    for of_the_lobby in [
        "/v1/sessions?a=b",
        "/v1/route?location=35.68,139.69&region=eu-west-1",
        "/v1/route?location=x&region=",
        "/.well-known/jwks.json",
        "/openapi.json?",
    ] {
        assert_eq!(to(of_the_lobby, &[]).await, moved(&format!("https://meet.example.com{of_the_lobby}")));
    }
    let beside = to("/openapi.jsonx?region=southamerica-east1", &[]).await;
    assert_eq!(beside, moved("http://192.0.2.20:7000/openapi.jsonx"), "that is none of the lobby's");
    // Nothing of the request but its path and query says where to.
    let forged =
        [("host", "evil.example"), ("x-forwarded-host", "evil.example"), ("x-forwarded-for", "2001:db8:77::5")];
    assert_eq!(to("//evil.example/", &forged).await, moved("http://192.0.2.20:7000//evil.example/"));
    for wrong in ["/?location=91,0", "/?location=x", "/?region="] {
        assert_eq!(to(wrong, &[]).await, (StatusCode::BAD_REQUEST, None), "{wrong}");
    }
    assert_eq!(to(&format!("/{}", "a".repeat(5000)), &[]).await, (StatusCode::BAD_REQUEST, None));
    assert_eq!(router.metric("convene_router_redirects_total{outcome=\"bad_request\"}").await, 4);
    assert_eq!(router.metric("convene_router_forwarded_total{outcome=\"believed\"}").await, 3);
    let mut closed = table();
    closed.url = String::new();
    closed.pools.iter_mut().flat_map(|pool| &mut pool.relays).for_each(|relay| relay.cordoned = true);
    router.write_table(&serde_json::to_string(&closed).expect("JSON"));
    let nobody = (StatusCode::SERVICE_UNAVAILABLE, None);
    eventually("no relay takes anybody", async || to("/", &[]).await == nobody).await;
    assert_eq!(to("/v1/sessions", &[]).await, nobody);
    router.stop().await;
}

#[tokio::test]
async fn clients_are_believed_as_the_lobby_believes_them() {
    let settings = ["--trusted-proxies=127.0.0.1", "--forwarded-header=forwarded", "--distrust-location"];
    let router = Running::start_with(&table(), &settings).await;
    let forwarded = [("forwarded", "for=\"[2001:db8:77::5]\"")];
    let (_, to) = ask(&router, "/a?location=53.35,-6.26&region=eu-west-1&b", &forwarded).await;
    assert_eq!(to.as_deref(), Some("http://192.0.2.20:7000/a?b"), "by the address, and not by what is said");
    router.stop().await;
}

#[tokio::test]
async fn what_somebody_else_writes_into_a_proxys_header_is_ignored_and_counted() {
    let router = Running::start(&table()).await;
    let count =
        async |outcome: &str| router.metric(&format!("convene_router_forwarded_total{{outcome=\"{outcome}\"}}")).await;
    let declared = ask(&router, "/", &[]).await;
    assert_eq!((count("ignored").await, count("believed").await), (0, 0), "nobody has written one");
    for header in [("x-forwarded-for", "2001:db8:77::5"), ("forwarded", "for=\"[2001:db8:77::5]\"")] {
        assert_eq!(ask(&router, "/", &[header]).await, declared, "not to Rio");
    }
    assert_eq!((count("ignored").await, count("believed").await), (2, 0));
    router.stop().await;
}

#[tokio::test]
async fn a_proxys_header_that_cannot_be_read_is_counted_as_that() {
    let router = Running::start_with(&table(), &["--trusted-proxies=127.0.0.1"]).await;
    assert_eq!(ask(&router, "/", &[("x-forwarded-for", "somebody")]).await.0, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(router.metric("convene_router_forwarded_total{outcome=\"unreadable\"}").await, 1);
    router.stop().await;
}
