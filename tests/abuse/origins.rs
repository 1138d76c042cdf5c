//! Pages of other origins cannot use a browser's access: the handshake is refused before the token counts.

use crate::site::{HOME, Site};

#[tokio::test]
async fn only_pages_of_listed_origins_are_let_in() {
    let site = Site::start(&["--allowed-origins=https://app.example.com,https://edit.example.com:8443"]).await;
    let with = |origins: &[&str]| {
        let mut lines = vec![site.pass("s")];
        lines.extend(origins.iter().map(|origin| format!("Origin: {origin}")));
        lines
    };
    for good in
        [&[][..], &["https://app.example.com"], &["https://edit.example.com:8443"], &["https://APP.example.com"]]
    {
        let head = site.answer_head(HOME, "/s/s", &with(good)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{good:?}: {head}");
    }
    let bad: [&[&str]; 12] = [
        &["https://evil.example"],
        &["http://app.example.com"],
        &["https://app.example.com:444"],
        &["https://app.example.com.evil.example"],
        &["https://evil.example/https://app.example.com"],
        &["https://app.example.com@evil.example"],
        &["https://sub.app.example.com"],
        &["null"],
        &[""],
        &["file://"],
        &["https://app.example.com", "https://evil.example"],
        &["https://evil.example", "https://app.example.com"],
    ];
    let forged = site.answer(HOME, "/s/s", &["Authorization: Bearer let-me-in".to_owned()]).await;
    for origins in bad {
        assert_eq!(site.answer(HOME, "/s/s", &with(origins)).await, forged, "{origins:?}: as any other stranger");
    }
    assert_eq!(site.refused("origin").await, 12);
    let token = site.pass("s");
    let refused = site.answer(HOME, "/s/s", &[token.clone(), "Origin: https://evil.example".to_owned()]).await;
    assert_eq!(refused, forged);
    let head = site.answer_head(HOME, "/s/s", &[token]).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "a page elsewhere cannot use up a token: {head}");
}
