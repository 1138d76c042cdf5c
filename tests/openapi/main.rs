//! The lobby's API against its own OpenAPI document, by a program that makes requests from it: such that the document
//! allows, such that it forbids, and chains of them. Every answer must be one that the document tells.
//!
//! The lobby is real; its relays only speak the link. `make test-openapi` runs this; it needs `CONVENE_SCHEMATHESIS`, the
//! program, and writes its report to `CONVENE_OPENAPI_REPORT`.

#![allow(
    unreachable_pub,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test with a main of its own is not known as one"
)]

#[path = "../lobby/fake_relay.rs"]
mod fake_relay;
#[path = "../lobby/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use convene::wire::session::{GuestWaits, SessionCreated};
use serde_json::{Value, json};

use fake_relay::FakeRelay;
use world::{ADMIN_TOKEN, Cluster, Running, table, three_pools};

/// Seats of each relay: more than all requests together can take.
const SEATS: u32 = 100_000;
/// The same requests each time; another number tries others.
const SEED: &str = "20261123";
/// A key that was used for another request is refused with 422, whatever else is right with the request.
const EXPECTED: &str =
    "[checks.positive_data_acceptance]\nexpected-statuses = [\"2xx\", 401, 403, 404, 409, 422, 429, 503]\n";
/// Fewer operations than this in the document would mean that some were not tried.
const OPERATIONS: usize = 17;

fn main() -> ExitCode {
    let setting = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (Some(program), Some(report)) = (setting("CONVENE_SCHEMATHESIS"), setting("CONVENE_OPENAPI_REPORT")) else {
        println!("CONVENE_SCHEMATHESIS or CONVENE_OPENAPI_REPORT is not set: run `make test-openapi`");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let passed = runtime.block_on(run(&program, &report));
    runtime.shutdown_background();
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(program: &Path, report: &Path) -> bool {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, three_pools(SEATS))).await;
    let mut relays = Vec::new();
    for name in ["eu-west-1-0", "asia-northeast1-0", "southamerica-east1-0"] {
        let relay = FakeRelay::link(&lobby, &cluster, name, SEATS).await;
        relay.keep_alive(SEATS);
        relays.push(relay);
    }
    let created = lasting_session(&lobby, &relays[0]).await;
    let guest = lasting_guest(&lobby, &created).await;

    let document: Value = reqwest::get(lobby.url("/openapi.json")).await.expect("served").json().await.expect("JSON");
    let operations: usize = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .map(|item| item.as_object().map_or(0, serde_json::Map::len))
        .sum();
    assert!(operations >= OPERATIONS, "the document has {operations} operations");

    let target = Target { program, url: lobby.url(""), report };
    // First each operation by itself, on a session that lives as long as nobody ends it; then chains of operations, each
    // on what the one before has made.
    let single = target.try_out("single", "examples,coverage,fuzzing", settings(&created, &guest)).await;
    let chains = target.try_out("chains", "stateful", format!("{EXPECTED}{}", events(""))).await;

    // What was thrown at it has left the lobby as it was.
    let still = reqwest::Client::new().get(lobby.url("/v1/regions")).send().await.expect("an answer");
    assert!(still.status().is_success());
    lobby.stop().await;
    single && chains
}

/// What is tried, by what, and where the report goes.
struct Target<'a> {
    program: &'a Path,
    url: String,
    report: &'a Path,
}

impl Target<'_> {
    async fn try_out(&self, name: &str, phases: &str, settings: String) -> bool {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("schemathesis.toml");
        std::fs::write(&config, settings).expect("written");
        std::fs::create_dir_all(self.report).expect("a folder for the report");
        let examples = std::env::var("CONVENE_OPENAPI_EXAMPLES").unwrap_or_else(|_| "20".to_owned());
        let mut command = Command::new(self.program);
        command.arg("--config-file").arg(&config).arg("run").arg(format!("{}/openapi.json", self.url));
        command.args(["--url", &self.url]).args(["--header", &format!("Authorization: Bearer {ADMIN_TOKEN}")]);
        command.args(["--checks", "all", "--max-examples", &examples, "--seed", SEED, "--workers", "1"]);
        command.args(["--phases", phases, "--continue-on-failure", "--no-color"]);
        command.args(["--generation-database", "none"]);
        command.args(["--report", "junit", "--report-junit-path"]).arg(self.report.join(format!("{name}.xml")));
        command.current_dir(folder.path());
        let status = tokio::task::spawn_blocking(move || command.status()).await.expect("no panic");
        status.expect("the program can be run").success()
    }
}

/// A session that somebody has joined, so that it does not end with its lease.
async fn lasting_session(lobby: &Running, relay: &FakeRelay) -> SessionCreated {
    let body = json!({"name": "tried", "approval": true, "place": {"region": "eu-west-1"}});
    let answer = reqwest::Client::new().post(lobby.url("/v1/sessions")).json(&body).send().await.expect("an answer");
    let created: SessionCreated = answer.json().await.expect("a session");
    let id = created.session.id.clone();
    world::eventually("the seat is held", async || relay.know(|memory| memory.held.contains_key(&id))).await;
    relay.open(&id);
    created
}

/// A guest that has asked, whom the host can approve and refuse.
async fn lasting_guest(lobby: &Running, session: &SessionCreated) -> GuestWaits {
    let url = lobby.url(&format!("/v1/sessions/{}/join", session.session.id));
    let asked = reqwest::Client::new().post(url).json(&json!({"joinKey": session.join_key})).send().await;
    let guest: GuestWaits = asked.expect("an answer").json().await.expect("a guest");
    let url = lobby.url(&format!("/v1/sessions/{}/guests/{}/approve", session.session.id, guest.guest.id));
    let approved = reqwest::Client::new().post(url).bearer_auth(&session.host_token).send().await;
    assert!(approved.expect("an answer").status().is_success());
    guest
}

/// Operations that do not end a session get one that lives; else nearly all requests would meet none.
fn settings(created: &SessionCreated, guest: &GuestWaits) -> String {
    let (id, guest) = (&created.session.id, &guest.guest.id);
    let operations = [("GET", ""), ("PATCH", ""), ("POST", "/join"), ("POST", "/move"), ("GET", "/guests")]
        .map(|(method, path)| {
            format!(
                "[[operations]]\ninclude-name = \"{method} /v1/sessions/{{id}}{path}\"\nparameters = {{ \"path.id\" = \"{id}\" }}\n"
            )
        })
        .concat();
    let of_guest = ["approve", "refuse"]
        .map(|word| {
            format!(
                "[[operations]]\ninclude-name = \"POST /v1/sessions/{{id}}/guests/{{guest}}/{word}\"\nparameters = {{ \"path.id\" = \"{id}\", \"path.guest\" = \"{guest}\" }}\n"
            )
        })
        .concat();
    let of_relay = ["drain", "uncordon"]
        .map(|word| {
            format!(
                "[[operations]]\ninclude-name = \"POST /v1/relays/{{pool}}/{{relay}}/{word}\"\nparameters = {{ \"path.pool\" = \"southamerica-east1\", \"path.relay\" = \"southamerica-east1-0\" }}\n"
            )
        })
        .concat();
    format!("{EXPECTED}{operations}{of_guest}{of_relay}{}", events(&format!(", \"path.id\" = \"{id}\"")))
}

/// A stream of events that ends by itself; else nobody would see its end.
fn events(session: &str) -> String {
    format!(
        "[[operations]]\ninclude-name = \"GET /v1/sessions/{{id}}/events\"\nparameters = {{ \"query.for\" = 0{session} }}\n"
    )
}
