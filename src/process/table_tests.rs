//! How old a table is, and what is heard of its ConfigMap while the API server comes and goes.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::*;

#[test]
fn a_table_ages_from_the_first_doubt_until_it_is_confirmed() {
    let seconds = Duration::from_secs;
    let mut age = Age::default();
    assert_eq!(age.at(seconds(9)), seconds(0), "its source is well");
    age.doubt(seconds(10));
    age.doubt(seconds(12));
    assert_eq!(age.at(seconds(15)), seconds(5));
    assert_eq!(age.at(seconds(3)), seconds(0), "never less than nothing");
    age.confirm();
    assert_eq!(age.at(seconds(20)), seconds(0));
    age.outdate(seconds(21));
    age.confirm();
    assert_eq!(age.at(seconds(25)), seconds(4), "the source has another by now, which is no table");
}

#[test]
fn what_comes_is_counted_and_before_the_first_table_there_is_no_age() {
    let mut catalogue = Catalogue::new();
    let standing = Standing::new(Metrics::new(&mut catalogue, "lobby"));
    let is_doubted = |standing: &Standing| standing.age().is_some_and(|age| age.doubted.is_some());
    standing.broken("file", "no JSON");
    standing.confirm();
    assert_eq!(standing.show_age(), None, "what was never good has no age");
    standing.applies("configMap", &RelayTable::default());
    assert_eq!(standing.show_age(), Some(Duration::ZERO));
    standing.missing("table");
    assert!(is_doubted(&standing));
    standing.confirm();
    assert_eq!(standing.show_age(), Some(Duration::ZERO));
    standing.broken("file", "no JSON");
    standing.confirm();
    assert!(is_doubted(&standing));
    standing.applies("file", &RelayTable::default());
    assert_eq!(standing.show_age(), Some(Duration::ZERO));
    let shown = crate::process::metrics::encode(&catalogue.registry()).expect("text");
    for line in [
        "convene_lobby_table_age_seconds 0",
        r#"convene_lobby_table_reads_total{outcome="applied",source="configMap"} 1"#,
        r#"convene_lobby_table_reads_total{outcome="broken",source="file"} 2"#,
        r#"convene_lobby_table_reads_total{outcome="applied",source="file"} 1"#,
        r#"convene_lobby_table_reads_total{outcome="gone",source="configMap"} 1"#,
    ] {
        assert!(shown.contains(line), "{line} in:\n{shown}");
    }
}

/// What a small API server does with whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Answers,
    /// 500 to all, and no watch stays open.
    Fails,
    /// As behind a network that swallows everything: nothing is answered, nothing is closed.
    Silent,
}

/// An API server with one ConfigMap, of which its watches never say a word.
#[derive(Clone, Copy, Debug)]
struct World {
    mood: Mood,
    /// Nothing: it is not there.
    version: Option<u32>,
}

type Server = tokio::sync::watch::Sender<World>;

impl World {
    fn map(self) -> Option<Value> {
        let version = self.version?.to_string();
        Some(json!({"metadata": {"name": "table", "resourceVersion": version}, "data": {TABLE_KEY: version}}))
    }
}

/// What a request to it gets.
async fn serve(server: Server, uri: Uri) -> Response {
    let mut world = server.subscribe();
    let now = *world.wait_for(|world| world.mood != Mood::Silent).await.expect("it is there");
    if now.mood == Mood::Fails {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    if uri.query().is_some_and(|query| query.contains("watch=true")) {
        let end = async move {
            let _ = world.wait_for(|world| world.mood == Mood::Fails).await;
            Ok::<_, Infallible>(Vec::new())
        };
        return Body::from_stream(futures::stream::once(end)).into_response();
    }
    if uri.path().ends_with("/table") {
        return now.map().map_or_else(|| StatusCode::NOT_FOUND.into_response(), |map| Json(map).into_response());
    }
    let items: Vec<Value> = now.map().into_iter().collect();
    Json(json!({"metadata": {"resourceVersion": "1"}, "items": items})).into_response()
}

async fn start() -> (Server, Api<ConfigMap>) {
    let server = Server::new(World { mood: Mood::Answers, version: Some(1) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let of = server.clone();
    let app = Router::new().fallback(move |uri: Uri| serve(of.clone(), uri));
    tokio::spawn(async move { axum::serve(listener, app).await.expect("served") });
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let client = Client::try_from(kube::Config::new(url.parse().expect("a URL"))).expect("a client");
    (server, Api::namespaced(client, "n"))
}

/// Takes every table but the number 0.
struct Taken {
    standing: Standing,
    last: Mutex<String>,
}

impl Taker for Taken {
    fn standing(&self) -> &Standing {
        &self.standing
    }

    fn take_table(&self, source: &str, text: &str) -> Result<(), String> {
        if text == "0" {
            return Err("no table".to_owned());
        }
        text.clone_into(&mut self.last.lock().expect("not poisoned"));
        self.standing.applies(source, &RelayTable::default());
        Ok(())
    }
}

impl Taken {
    /// Waits until the table of this version serves, doubted or not.
    async fn has(&self, why: &str, version: &str, is_doubted: bool) {
        let has = || {
            let doubted = self.standing.age().map(|age| age.doubted.is_some());
            doubted == Some(is_doubted) && *self.last.lock().expect("not poisoned") == version
        };
        let waits = async {
            while !has() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waits).await.expect(why);
    }
}

#[tokio::test]
async fn a_table_is_confirmed_by_asking_when_the_watch_says_nothing() {
    let (server, api) = start().await;
    let standing = Standing::new(Metrics::new(&mut Catalogue::new(), "lobby"));
    let taken = Taken { standing, last: Mutex::default() };
    let pace =
        Pace { well: Duration::from_millis(50), doubt: Duration::from_millis(10), patience: Duration::from_secs(1) };
    let set = |mood, version| server.send_replace(World { mood, version });
    let story = async {
        taken.has("it is listed", "1", false).await;
        set(Mood::Fails, Some(1));
        taken.has("the API server fails", "1", true).await;
        set(Mood::Answers, Some(1));
        taken.has("its watch goes on, and says nothing", "1", false).await;
        set(Mood::Silent, Some(1));
        taken.has("nothing is answered any more", "1", true).await;
        set(Mood::Answers, Some(1));
        taken.has("it is answered again", "1", false).await;
        set(Mood::Answers, Some(2));
        taken.has("the watch has missed one", "2", false).await;
        set(Mood::Answers, Some(0));
        taken.has("that is no table", "2", true).await;
        set(Mood::Answers, Some(3));
        taken.has("a good one again", "3", false).await;
        set(Mood::Answers, None);
        taken.has("it is gone", "3", true).await;
        set(Mood::Answers, Some(4));
        taken.has("it is back", "4", false).await;
    };
    tokio::select! {
        () = story => {}
        () = follow_config_map(&taken, &api, "table", pace) => unreachable!("it goes on for ever"),
    }
}
