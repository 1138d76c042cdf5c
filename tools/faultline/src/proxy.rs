//! What happens to one request on its way: the plan is asked, the server is asked, and both are written down.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use crate::answer::{Body, Broken, Whole, streamed};
use crate::door::{Door, Scope};
use crate::held::{Held, Release, Waiting};
use crate::log::{Entry, Exchange, Log};
use crate::plan::{Counted, Fault, Plan, Side};
use crate::recordings::Recordings;
use crate::target::{Target, Verb};
use crate::upstream::Upstream;
use crate::watch::Stream;

/// Bytes of a request's body; the API server's own limit is far below.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// Events that wait for a slow client.
const EVENTS_WAITING: usize = 64;

/// A proxy before one API server. Clones are the same proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
}

/// What all doors share.
#[derive(Debug)]
pub(crate) struct Shared {
    upstream: Upstream,
    rules: Mutex<Counted>,
    /// Counts plans: what a rule holds back looks again when there is another.
    pub(crate) revision: watch::Sender<u64>,
    pub(crate) log: Log,
    waiting: Waiting,
    recordings: Recordings,
    numbers: Numbers,
}

#[derive(Debug, Default)]
struct Numbers {
    writes: AtomicU64,
    reads: AtomicU64,
    events: AtomicU64,
}

impl Shared {
    pub(crate) fn rules(&self) -> MutexGuard<'_, Counted> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn number_of_event(&self) -> u64 {
        self.numbers.events.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Proxy {
    /// A proxy without doors, and without faults.
    pub fn new(upstream: Upstream) -> Self {
        let shared = Shared {
            upstream,
            rules: Mutex::default(),
            revision: watch::Sender::new(0),
            log: Log::default(),
            waiting: Waiting::default(),
            recordings: Recordings::default(),
            numbers: Numbers::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Opens a door for the client of this name.
    pub async fn open(&self, name: &str, at: impl ToSocketAddrs, scope: Option<Scope>) -> std::io::Result<Door> {
        Door::open(Arc::clone(&self.shared), TcpListener::bind(at).await?, name, scope)
    }

    /// Replaces the plan; counting starts anew, and watches that were stalled are closed.
    pub fn set_plan(&self, plan: Plan) {
        *self.shared.rules() = Counted::new(plan);
        self.shared.revision.send_modify(|revision| *revision += 1);
    }

    /// The plan.
    pub fn plan(&self) -> Plan {
        self.shared.rules().plan().clone()
    }

    /// What went through.
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// Requests that wait to be released.
    pub fn held(&self) -> Vec<Held> {
        self.shared.waiting.all()
    }

    /// Waits until a request of this client is held.
    pub async fn next_held(&self, client: &str) -> Held {
        self.shared.waiting.next(client).await
    }

    /// Lets a request that is held go on; whether there was one.
    pub fn release(&self, id: u64, release: Release) -> bool {
        self.shared.waiting.release(id, release)
    }

    /// Keeps answers to reads from now on, or no more, for [`Fault::Replay`].
    pub fn record(&self, on: bool) {
        self.shared.recordings.set(on);
    }
}

/// Who asks, and through what.
pub(crate) struct Caller {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: String,
    pub(crate) scope: Option<Scope>,
    pub(crate) writes: TaskTracker,
}

/// A request that was read.
struct Asked {
    number: u64,
    at: u64,
    target: Target,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
    fault: Option<Fault>,
}

impl Asked {
    fn path_and_query(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }
}

impl Caller {
    /// Answers one request. An error closes the connection.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
        if request.headers().contains_key(http::header::UPGRADE) {
            let why = "connections that change their protocol (exec, attach, port-forward) do not go through";
            return Ok(Whole::made_up(501, None, why).response());
        }
        let asked = self.read(request).await?;
        match asked.fault.clone() {
            Some(Fault::Drop) => {
                self.note(&asked, None);
                return Err(Broken);
            }
            Some(Fault::Hold { side: Side::Before }) => {
                self.note(&asked, None);
                self.wait(&asked, Side::Before).await?;
            }
            Some(Fault::Delay { milliseconds }) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            Some(Fault::Answer { status, retry_after, committed: false }) => {
                self.note(&asked, None);
                return Ok(Whole::made_up(status, retry_after, "the plan says so").response());
            }
            Some(Fault::Replay) => {
                self.note(&asked, None);
                let known = self.shared.recordings.find(&asked.path, &asked.query);
                let answer = known.unwrap_or_else(|| Whole::made_up(503, None, "never recorded"));
                return Ok(answer.response());
            }
            // The rest happens after the server has answered, or to events.
            _ => {}
        }
        if asked.target.verb == Verb::Watch { self.watch(asked).await } else { self.ask(asked).await }
    }

    async fn read(&self, request: Request<Incoming>) -> Result<Asked, Broken> {
        let shared = &self.shared;
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| Broken)?.to_bytes();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let asked_for = head.uri.path().to_owned();
        let path = self.scope.as_ref().and_then(|scope| scope.apply(&asked_for)).unwrap_or(asked_for);
        let target = Target::of(&head.method, &path, &query, &body);
        let numbers = if target.verb.mutates() { &shared.numbers.writes } else { &shared.numbers.reads };
        let number = numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let fault = shared.rules().request(&self.client, &target);
        let (method, headers) = (head.method, head.headers);
        Ok(Asked { number, at: shared.log.now(), target, method, path, query, headers, body, fault })
    }

    /// One answer, whole.
    async fn ask(self: Arc<Self>, asked: Asked) -> Result<Response<Body>, Broken> {
        let asked = Arc::new(asked);
        let (caller, one) = (Arc::clone(&self), Arc::clone(&asked));
        let send = async move {
            let (method, headers, body) = (one.method.clone(), one.headers.clone(), one.body.clone());
            let answer = caller.shared.upstream.ask(method, &one.path_and_query(), headers, body).await;
            caller.note(&one, answer.as_ref().ok().map(|answer| answer.status.as_u16()));
            answer
        };
        // A write that has begun is seen to its end even if its client goes away: the log says what the server did.
        let answer =
            if asked.target.verb.mutates() { self.writes.spawn(send).await.map_err(|_| Broken)? } else { send.await };
        let answer = match answer {
            Ok(answer) => answer,
            // As without a proxy: nobody there.
            Err(error) if error.is_connect() => return Err(Broken),
            Err(error) => Whole::made_up(502, None, &error.to_string()),
        };
        match asked.fault.clone() {
            Some(Fault::LoseAnswer) => Err(Broken),
            Some(Fault::CutAnswer { after_bytes }) => Ok(answer.cut(after_bytes)),
            Some(Fault::Answer { status, retry_after, committed: true }) => {
                Ok(Whole::made_up(status, retry_after, "the plan says so, after the commit").response())
            }
            Some(Fault::Hold { side: Side::After }) => {
                self.wait(&asked, Side::After).await?;
                Ok(answer.response())
            }
            _ => {
                if !asked.target.verb.mutates() {
                    self.shared.recordings.keep(&asked.path, &asked.query, &answer);
                }
                Ok(answer.response())
            }
        }
    }

    /// An answer that goes on.
    async fn watch(&self, asked: Asked) -> Result<Response<Body>, Broken> {
        let (method, headers, body) = (asked.method.clone(), asked.headers.clone(), asked.body.clone());
        let response = self.shared.upstream.send(method, &asked.path_and_query(), headers, body).await;
        self.note(&asked, response.as_ref().ok().map(|response| response.status().as_u16()));
        let response = response.map_err(|_| Broken)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let (sender, pieces) = mpsc::channel(EVENTS_WAITING);
        let (shared, client) = (Arc::clone(&self.shared), self.client.clone());
        tokio::spawn(Stream { shared, client, target: asked.target, pieces: sender }.run(response));
        Ok(streamed(status, headers, pieces))
    }

    async fn wait(&self, asked: &Asked, side: Side) -> Result<(), Broken> {
        match self.shared.waiting.hold(&self.client, &asked.target, side).await {
            Release::Forward => Ok(()),
            Release::Drop => Err(Broken),
        }
    }

    fn note(&self, asked: &Asked, status: Option<u16>) {
        let request = Some(Exchange { body: digest(&asked.body), status });
        let (number, at, client) = (asked.number, asked.at, self.client.clone());
        let (target, fault) = (asked.target.clone(), asked.fault.clone());
        self.shared.log.push(Entry { number, at, client, target, request, event: None, fault });
    }
}

/// First half of SHA-256, in hex.
fn digest(body: &[u8]) -> String {
    if body.is_empty() {
        return String::new();
    }
    let whole = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    let half = whole.as_ref().first_chunk().map_or(0, |half| u128::from_be_bytes(*half));
    format!("{half:032x}")
}
