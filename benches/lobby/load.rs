//! The load: creates and joins over keep-alive connections, with the latency of each.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::body::Bytes;
use convene::wire::session::{Joined, SessionCreated};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::processes::{Cpu, Site};

/// Where hosts are: as many places as make every pool somebody's nearest.
const PLACES: [(f64, f64); 6] =
    [(48.86, 2.35), (35.68, 139.69), (-23.53, -46.79), (1.35, 103.82), (40.71, -74.01), (-33.87, 151.21)];

/// How much, for how long.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    /// Placements a second; none = each connection asks again as soon as it was answered.
    pub(crate) per_second: Option<u32>,
    pub(crate) connections: u32,
    pub(crate) lasts: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) load: &'static str,
    pub(crate) took: Duration,
    /// Of each placement, ascending.
    pub(crate) latencies: Vec<Duration>,
    /// Answers that were no placements.
    pub(crate) failed: usize,
    pub(crate) cpu: Cpu,
}

#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    failed: usize,
    first_failure: Option<String>,
}

/// Runs a load to its end.
pub(crate) async fn run(site: &Site, load: &Load) -> anyhow::Result<Outcome> {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let tasks = LocalSet::new();
    let begin = Instant::now();
    for number in 0..load.connections {
        let lobby = site.lobbies[number as usize % site.lobbies.len()];
        let (load, seen) = (load.clone(), Rc::clone(&seen));
        tasks.spawn_local(async move {
            if let Err(error) = one_connection(lobby, number, &load, begin, &seen).await {
                let mut seen = seen.borrow_mut();
                seen.failed += 1;
                seen.first_failure.get_or_insert(format!("{error:#}"));
            }
        });
    }
    tasks.await;
    let Seen { mut latencies, failed, first_failure } = seen.take();
    if let Some(failure) = first_failure {
        eprintln!("bench-lobby: {}: {failed} failed, the first: {failure}", load.name);
    }
    ensure!(!latencies.is_empty(), "{}: no placement at all", load.name);
    latencies.sort_unstable();
    Ok(Outcome { load: load.name, took: begin.elapsed(), latencies, failed, cpu: Cpu::default() })
}

async fn one_connection(
    lobby: SocketAddr,
    number: u32,
    load: &Load,
    begin: Instant,
    seen: &RefCell<Seen>,
) -> anyhow::Result<()> {
    let stream = TcpStream::connect(lobby).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    let mut session: Option<SessionCreated> = None;
    for turn in 0_u32.. {
        let due = match load.per_second {
            // Connections take turns: each has its own moments of the rate.
            Some(rate) => begin + Duration::from_secs(1) * (turn * load.connections + number) / rate,
            None => Instant::now(),
        };
        if due.duration_since(begin) >= load.lasts {
            return Ok(());
        }
        tokio::time::sleep_until(due.into()).await;
        let placed = match session.take() {
            Some(created) => join(&mut sender, lobby, &created).await.map(|()| None),
            None => create(&mut sender, lobby, (number + turn) as usize).await.map(Some),
        };
        let mut seen = seen.borrow_mut();
        match placed {
            Ok(created) => {
                session = created;
                seen.latencies.push(due.elapsed());
            }
            Err(error) => {
                seen.failed += 1;
                seen.first_failure.get_or_insert(format!("{error:#}"));
            }
        }
    }
    Ok(())
}

async fn create(sender: &mut SendRequest<Full<Bytes>>, lobby: SocketAddr, at: usize) -> anyhow::Result<SessionCreated> {
    let (latitude, longitude) = PLACES[at % PLACES.len()];
    let body = format!(r#"{{"place":{{"location":{{"latitude":{latitude},"longitude":{longitude}}}}}}}"#);
    let (status, answer) = post(sender, lobby, "/v1/sessions", body).await?;
    ensure!(status == StatusCode::CREATED, "create: {status} {}", String::from_utf8_lossy(&answer));
    serde_json::from_slice(&answer).context("create")
}

async fn join(
    sender: &mut SendRequest<Full<Bytes>>,
    lobby: SocketAddr,
    created: &SessionCreated,
) -> anyhow::Result<()> {
    let key = created.join_key.as_deref().context("the answer has no join key")?;
    let path = format!("/v1/sessions/{}/join", created.session.id);
    let (status, answer) = post(sender, lobby, &path, format!(r#"{{"joinKey":"{key}"}}"#)).await?;
    ensure!(status == StatusCode::OK, "join: {status} {}", String::from_utf8_lossy(&answer));
    let joined: Joined = serde_json::from_slice(&answer).context("join")?;
    ensure!(joined.session.epoch == created.session.epoch, "the session was moved");
    Ok(())
}

async fn post(
    sender: &mut SendRequest<Full<Bytes>>,
    lobby: SocketAddr,
    path: &str,
    body: String,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let request = Request::post(path)
        .header(header::HOST, lobby.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}
