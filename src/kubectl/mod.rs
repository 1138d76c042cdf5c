//! `kubectl convene`: what people ask of lobbies and pools, and what they tell relays. The same binary under the name
//! `kubectl-convene` is the plugin; `convene ctl` is the same without kubectl.
//!
//! It reads and writes with the rights of whoever calls it, and tells the operator nothing but what is written on a Pod.

mod cluster;
mod relay;
mod route;
mod status;
mod table;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::api::RelayPool;
use crate::process::clock;
use cluster::Cluster;
pub use cluster::Where;
use relay::{Progress, Relay, Wish, holds, name, other_cause, progress};
use table::span;

/// Name under which kubectl looks for the plugin.
const PLUGIN: &str = "kubectl-convene";
/// Between two looks at a drain.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is said how a drain stands that does not change.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Look at lobbies and relay pools, and tell relays to leave or to stay.
#[derive(Debug, Parser)]
#[command(name = "kubectl convene", bin_name = "kubectl convene", version)]
struct Plugin {
    #[command(flatten)]
    args: Args,
}

/// Arguments of `convene ctl` and of the plugin.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    at: Where,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Show lobbies and relay pools: who serves, sessions and seats, what leaves and why, what is wrong.
    Status {
        /// Those of all namespaces.
        #[arg(short = 'A', long)]
        all_namespaces: bool,
    },
    /// Explain where a lobby would send somebody now: every pool with what is known of its distance, its load, and why
    /// it is chosen or not. Where nothing is said of the place, what the address says counts: of who asks, or with --ip.
    Route(route::Args),
    /// Have relays leave: they take no new sessions, and go once those that they have have ended or moved, or when the pool's
    /// drain time is over. Others take their place.
    Drain {
        #[command(flatten)]
        relays: Relays,
        /// Wait until they are gone, and tell how far they are.
        #[arg(long)]
        wait: bool,
        /// Seconds to wait at most; the drain goes on. As long as it takes unless given.
        #[arg(long, value_name = "SECONDS", requires = "wait")]
        timeout: Option<u64>,
    },
    /// Take back what `drain` or `keep` said. A relay that leaves for another reason goes on leaving.
    Uncordon {
        #[command(flatten)]
        relays: Relays,
    },
    /// Keep relays, whatever scaling, a rollout or their lobby would have.
    Keep {
        #[command(flatten)]
        relays: Relays,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct Relays {
    /// Names of relays, which are those of their Pods: the pool's name and a number, such as europe-north1-0.
    #[arg(value_name = "RELAY", required = true)]
    names: Vec<String>,
}

/// Whether this process was called as the plugin.
pub fn is_plugin() -> bool {
    std::env::args_os().next().is_some_and(|program| is_plugin_name(&program))
}

fn is_plugin_name(program: &OsString) -> bool {
    Path::new(program).file_stem().is_some_and(|name| name == PLUGIN)
}

/// Runs as the plugin.
pub async fn plugin(shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    run(Plugin::parse().args, shutdown).await
}

/// Runs one command. `shutdown` ends a wait; what was asked of relays stands.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Status { all_namespaces } => show(&Cluster::connect(&args.at).await?, all_namespaces).await?,
        Command::Route(route) => explain(&args.at, &route).await?,
        Command::Drain { relays, wait, timeout } => {
            let cluster = Cluster::connect(&args.at).await?;
            let relays = tell(&cluster, &relays, Some(Wish::Leave)).await?;
            if wait {
                let timeout = timeout.map(Duration::from_secs);
                return follow(&cluster, &relays, timeout, &shutdown).await;
            }
        }
        Command::Uncordon { relays } => {
            drop(tell(&Cluster::connect(&args.at).await?, &relays, None).await?);
        }
        Command::Keep { relays } => {
            drop(tell(&Cluster::connect(&args.at).await?, &relays, Some(Wish::Stay)).await?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// To standard output, whose reader may have gone.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

async fn show(cluster: &Cluster, all_namespaces: bool) -> anyhow::Result<()> {
    let (lobbies, pools) = cluster.all(all_namespaces).await?;
    let text = status::render(&lobbies, &pools, all_namespaces, clock::now());
    if text.is_empty() {
        let place =
            if all_namespaces { "any namespace".to_owned() } else { format!("namespace {}", cluster.namespace) };
        say(&format!("No lobbies and no relay pools in {place}."));
    } else {
        say(text.trim_end());
    }
    Ok(())
}

/// Where the lobby's URL is given, no cluster is needed.
async fn explain(at: &Where, args: &route::Args) -> anyhow::Result<()> {
    let name = args.lobby();
    let (mut lobby, mut token) = (None, None);
    if args.needs_lobby() || args.needs_secret() {
        let cluster = Cluster::connect(at).await?;
        if args.needs_lobby() {
            let found = cluster.lobby(name).await.with_context(|| format!("cannot read Lobby {name}"))?;
            lobby =
                Some(found.with_context(|| format!("there is no Lobby {name} in namespace {}", cluster.namespace))?);
        }
        if args.needs_secret() {
            token = cluster.admin_token(name).await?;
        }
    }
    say(route::render(&route::ask(args, lobby.as_ref(), token).await?).trim_end());
    Ok(())
}

/// Writes what is wanted of relays, and says so. All are looked at before anything is written, so that a wrong name among
/// them changes nothing.
async fn tell(cluster: &Cluster, relays: &Relays, wish: Option<Wish>) -> anyhow::Result<Vec<Relay>> {
    let mut found = Vec::new();
    for given in &relays.names {
        let name = name(given);
        let pod = cluster.pod(name).await.with_context(|| format!("cannot read Pod {name}"))?;
        let Some(pod) = pod else { bail!("there is no relay {name} in namespace {}", cluster.namespace) };
        let relay = Relay::of(&pod)?;
        if relay.ends && wish != Some(Wish::Leave) {
            bail!("{name} cannot be kept any more: its Pod is being deleted");
        }
        found.push(relay);
    }
    for relay in &found {
        if relay.wish != wish && !relay.ends {
            cluster.wish(relay, wish).await?;
        }
        // Only to say more: who may not read pools can tell relays to leave all the same.
        let pool = cluster.pool(&relay.pool).await.ok().flatten();
        say(&told(relay, wish, pool.as_ref()));
    }
    Ok(found)
}

/// What follows from a wish, in words.
fn told(relay: &Relay, wish: Option<Wish>, pool: Option<&RelayPool>) -> String {
    let (name, status) = (&relay.name, pool.and_then(|pool| relay.status(pool)));
    match wish {
        Some(Wish::Leave) if relay.ends => format!("{name} leaves already: its Pod is being deleted"),
        Some(Wish::Leave) => {
            let now = if relay.wish == wish { "already is to leave" } else { "is to leave" };
            let holds = status.map_or_else(String::new, |status| format!(", and has {}", holds(status)));
            let most = pool.map_or_else(String::new, |pool| {
                format!("; it goes within {} of that at the latest", span(pool.spec.drain.timeout_seconds.into()))
            });
            format!("{name} {now}{holds}{most}")
        }
        Some(Wish::Stay) => format!("{name} is to stay; `uncordon` takes that back"),
        None => {
            let before = match relay.wish {
                Some(Wish::Leave) => "is no longer to leave",
                Some(Wish::Stay) => "is no longer kept",
                None => "was not told anything",
            };
            let other = other_cause(status).map_or_else(String::new, |(cause, can_be_kept)| {
                let keep = if can_be_kept { ": `keep` would keep it" } else { "" };
                format!("; it leaves for another reason, {cause}{keep}")
            });
            format!("{name} {before}{other}")
        }
    }
}

/// Tells how far drains are until all relays are gone.
async fn follow(
    cluster: &Cluster,
    relays: &[Relay],
    timeout: Option<Duration>,
    shutdown: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let mut left: Vec<(&Relay, Said)> = relays.iter().map(|relay| (relay, Said::default())).collect();
    let (begin, mut failed) = (clock::monotonic(), false);
    while !left.is_empty() {
        let mut still = Vec::new();
        for (relay, mut said) in left {
            match look(cluster, relay).await? {
                None => still.push((relay, said)),
                Some(Progress::Gone) => say(&format!("{} is gone", relay.name)),
                Some(Progress::TakenBack) => {
                    say(&format!("{} is no longer to leave: somebody has taken it back", relay.name));
                    failed = true;
                }
                Some(Progress::Leaving { state, times }) => {
                    said.news(&relay.name, state, &times, clock::monotonic());
                    still.push((relay, said));
                }
            }
        }
        left = still;
        if timeout.is_some_and(|timeout| clock::monotonic().saturating_sub(begin) >= timeout) && !left.is_empty() {
            let names: Vec<&str> = left.iter().map(|(relay, _)| relay.name.as_str()).collect();
            bail!("not gone in time: {}; they go on leaving", names.join(", "));
        }
        if !left.is_empty() && shutdown.run_until_cancelled(sleep(LOOK_EVERY)).await.is_none() {
            say("no longer looking; the drain goes on");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// How far a relay's drain is; none = cannot be told now.
async fn look(cluster: &Cluster, relay: &Relay) -> anyhow::Result<Option<Progress>> {
    let pod = match cluster.pod(&relay.name).await {
        Ok(pod) => pod,
        Err(error) if is_refused(&error) => {
            return Err(error).with_context(|| format!("cannot read Pod {}", relay.name));
        }
        Err(_) => return Ok(None),
    };
    let pool = match cluster.pool(&relay.pool).await {
        Ok(pool) => pool,
        Err(error) if is_refused(&error) => None,
        Err(_) => return Ok(None),
    };
    Ok(Some(progress(&relay.pod_uid, pod.as_ref(), pool.as_ref(), clock::now())))
}

/// Whether asking again would bring the same.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..429).contains(&status.code))
}

/// What was said of a relay last.
#[derive(Default)]
struct Said(Option<(String, Duration)>);

impl Said {
    /// Says what is new, and what is not from time to time.
    fn news(&mut self, relay: &str, state: String, times: &str, now: Duration) {
        if self.0.as_ref().is_some_and(|(said, at)| *said == state && now.saturating_sub(*at) < SAY_EVERY) {
            return;
        }
        let times = if times.is_empty() { String::new() } else { format!(", {times}") };
        say(&format!("{relay}: {state}{times}"));
        self.0 = Some((state, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_is_known_by_its_name() {
        let is = |name: &str| is_plugin_name(&OsString::from(name));
        assert!(is("kubectl-convene") && is("/usr/local/bin/kubectl-convene") && is("kubectl-convene.exe"));
        assert!(!is("convene") && !is("/opt/kubectl-convene/convene"));
    }

    #[test]
    fn arguments_are_as_kubectls() {
        let parse = |line: &str| Plugin::try_parse_from(line.split(' '));
        for line in [
            "kubectl-convene status",
            "kubectl-convene status -A",
            "kubectl-convene -n team status",
            "kubectl-convene drain eu-0 pod/eu-1 -n team --wait --timeout 60",
            "kubectl-convene uncordon eu-0 --context prod",
            "kubectl-convene keep eu-0 --kubeconfig x",
            "kubectl-convene route meet --from -35.68,139.69 --latency a=1,b=2 --residency eu",
            "kubectl-convene route meet --region eu-west-1 --url http://localhost:8080 --ca x",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in ["kubectl-convene", "kubectl-convene drain", "kubectl-convene drain eu-0 --timeout 5"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_follows_from_a_wish_is_said() {
        let relay = |wish| {
            let (name, pod_uid, pool) = ("eu-0".to_owned(), "u".to_owned(), "eu".to_owned());
            Relay { name, pod_uid, pool, wish, ends: false }
        };
        let pool: RelayPool = serde_json::from_value(serde_json::json!({
            "apiVersion": "convene.dev/v1alpha1", "kind": "RelayPool", "metadata": {"name": "eu"},
            "spec": {"lobbyRef": {"name": "meet"}, "drain": {"timeoutSeconds": 300}},
            "status": {"relays": [{
                "name": "eu-0", "podUid": "u", "phase": "Draining", "sessions": 2, "leases": 0,
                "drain": {"cause": "ScaleDown", "since": "2026-01-01T00:00:00Z"},
            }]},
        }))
        .expect("a pool");
        for (before, wish, pool, words) in [
            (
                None,
                Some(Wish::Leave),
                Some(&pool),
                "eu-0 is to leave, and has 2 sessions; it goes within 5m0s of that at the latest",
            ),
            (Some(Wish::Leave), Some(Wish::Leave), None, "eu-0 already is to leave"),
            (Some(Wish::Leave), Some(Wish::Stay), None, "eu-0 is to stay; `uncordon` takes that back"),
            (Some(Wish::Leave), None, None, "eu-0 is no longer to leave"),
            (Some(Wish::Stay), None, None, "eu-0 is no longer kept"),
            (
                None,
                None,
                Some(&pool),
                "eu-0 was not told anything; it leaves for another reason, ScaleDown: `keep` would keep it",
            ),
        ] {
            assert_eq!(told(&relay(before), wish, pool), words);
        }
        let ends = Relay { ends: true, ..relay(None) };
        assert_eq!(told(&ends, Some(Wish::Leave), None), "eu-0 leaves already: its Pod is being deleted");
    }
}
