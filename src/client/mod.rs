//! The client: `convene share` and `convene join`. Host and guest meet through a relay that sees ciphertext only, and go
//! on through another when it is lost.
//!
//! The layers, from the outside in: the relay's addressed messages (`net`), TLS between the ends (`tls`), who may do what
//! (`share/members`, `conversation`), streams that survive a lost connection (`tunnel`, [`crate::decide::mux`]).

mod console;
mod conversation;
mod ending;
mod join;
mod line;
mod measure;
mod net;
mod pulse;
mod say;
mod share;
mod terminal;
mod tls;
mod tunnel;

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::decide::invite::{Invite, MAX_LINK};
use crate::decide::measure::AGAIN_AFTER;
use crate::wire::session::{ClientPlace, GeoPoint};
use console::{Asked, Key};

pub use ending::Ending;
pub use join::{JoinOptions, join};
pub use measure::{MeasureArgs, measure, run_measure};
pub use say::{Event, Say};
pub use share::{Answer, Approve, ShareOptions, Target, share};
pub use terminal::{Screen, Terminal};

/// At the end of `--help`.
const EXIT_CODES: &str = "Exit codes:\n  0  ended as asked, or what was shared has ended\n  1  failed\n  2  arguments that are not understood\n  3  not let in, or the link is not right\n  4  gave up: no way to the other side for too long\n  5  the session was closed";

/// Rows and columns of a shared terminal that nobody sees here.
const DEFAULT_WINDOW: (u16, u16) = (24, 80);
/// Answers that may wait.
const ANSWERS_AHEAD: usize = 16;

/// What both sides take.
#[derive(Clone, Debug, clap::Args)]
struct Common {
    /// PEM file of a private authority to trust for lobby and relays, beside those of the system.
    #[arg(long, env = "CONVENE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// One JSON object per event on standard output, for programs.
    #[arg(long)]
    json: bool,
    /// Seconds to look for a way back after a connection is lost.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    give_up_seconds: u64,
    /// Do not measure how far the lobby's regions are. The lobby then goes by --region, --location, or what it knows itself.
    #[arg(long, env = "CONVENE_NO_MEASURE")]
    no_measure: bool,
    /// Region near you, of a public cloud or of a relay pool, such as eu-west-1.
    #[arg(long, conflicts_with = "location")]
    region: Option<String>,
    /// Where you are, in decimal degrees, such as 52.5,13.4.
    #[arg(long, value_name = "LAT,LON", value_parser = location, allow_hyphen_values = true)]
    location: Option<GeoPoint>,
}

/// Arguments of `convene share`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct ShareArgs {
    /// What to share, as host:port that this machine reaches, such as 127.0.0.1:8080.
    #[arg(value_name = "HOST:PORT", required_unless_present = "terminal", conflicts_with = "terminal")]
    target: Option<String>,
    /// Share a terminal with your shell ($SHELL) instead of a port.
    #[arg(long)]
    terminal: bool,
    /// Let guests type into the shared terminal; otherwise they watch.
    #[arg(long, requires = "terminal")]
    write: bool,
    /// URL of the lobby.
    #[arg(long, env = "CONVENE_LOBBY", value_name = "URL")]
    lobby: String,
    /// Who decides whether a guest with the link is let in; `ask` if standard input is a terminal or with --json.
    #[arg(long)]
    approve: Option<Approve>,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `convene join`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct JoinArgs {
    /// The link that the host gave you, in quotes; `-` reads it from standard input, so that no list of processes shows it.
    link: String,
    /// Local port to open on 127.0.0.1; 0 = any that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Who you are, as the host sees it.
    #[arg(long, env = "USER", default_value = "guest")]
    name: String,
    #[command(flatten)]
    common: Common,
}

fn location(text: &str) -> Result<GeoPoint, String> {
    let wrong = || "must be latitude and longitude in decimal degrees, such as 52.5,13.4".to_owned();
    let (latitude, longitude) = text.split_once(',').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
    let point = GeoPoint { latitude: number(latitude)?, longitude: number(longitude)? };
    let fits = (-90.0..=90.0).contains(&point.latitude) && (-180.0..=180.0).contains(&point.longitude);
    if fits { Ok(point) } else { Err(wrong()) }
}

impl Common {
    /// What the lobby is told of where this client is.
    fn place(&self) -> ClientPlace {
        ClientPlace { location: self.location, region: self.region.clone(), ..ClientPlace::default() }
    }

    fn say(&self) -> Say {
        if self.json { Say::json() } else { Say::words() }
    }
}

/// Runs `convene share` until `shutdown`.
pub async fn run_share(args: ShareArgs, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    let interactive = std::io::stdin().is_terminal();
    let approve = match args.approve {
        Some(approve) => approve,
        None if interactive || args.common.json => Approve::Ask,
        None => bail!(
            "--approve: nobody can be asked about guests, since standard input is not a terminal; \
            give --approve all to let in whoever has the link, or --json to answer by lines"
        ),
    };
    let asked = Asked::default();
    let say = asked.note(args.common.say());
    let (answers, receiver) = mpsc::channel(ANSWERS_AHEAD);
    let target = match args.target {
        Some(target) => Target::Port(target),
        None => Target::Terminal(start_shell(args.write, args.common.json)?),
    };
    let raw = match &target {
        Target::Terminal(_) if interactive && !args.common.json => Some(terminal::RawMode::enter()?),
        Target::Terminal(_) | Target::Port(_) => None,
    };
    let terminal = match &target {
        Target::Terminal(terminal) => Some(Arc::clone(terminal)),
        Target::Port(_) => None,
    };
    let options = ShareOptions {
        lobby: args.lobby,
        ca: args.common.ca.clone(),
        measure: !args.common.no_measure,
        place: args.common.place(),
        target,
        approve,
        give_up: Duration::from_secs(args.common.give_up_seconds),
    };
    let attended = async {
        if args.common.json {
            console::json_answers(console::typed(), answers).await;
        } else if interactive {
            tokio::join!(attend_keys(&asked, terminal.as_deref(), &answers), follow_window(terminal.as_deref()));
        }
        std::future::pending::<()>().await;
    };
    let ending = tokio::select! {
        ending = share(options, say.clone(), receiver, shutdown) => ending?,
        () = attended => unreachable!("the keys outlive the session"),
    };
    drop(raw);
    say.say(&Event::Ended { why: ending.words().to_owned() });
    Ok(ending.exit())
}

/// The user's shell in a terminal, shown here as well unless a program reads our output.
fn start_shell(write: bool, json: bool) -> anyhow::Result<Arc<Terminal>> {
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let size = terminal::window().unwrap_or(DEFAULT_WINDOW);
    Terminal::start(&shell, size, write, move |bytes| {
        if !json {
            print(bytes);
        }
    })
}

fn print(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Keys are answers while the host is asked, and go to the shared terminal otherwise.
async fn attend_keys(asked: &Asked, terminal: Option<&Terminal>, answers: &mpsc::Sender<Answer>) {
    let mut typed = console::typed();
    while let Some(piece) = typed.recv().await {
        let mut keys = Vec::new();
        for key in piece {
            match asked.key(key) {
                Key::Answer(answer) => {
                    answers.send(answer).await.ok();
                }
                Key::NotAsked => keys.push(key),
                Key::NoAnswer => {}
            }
        }
        if let Some(terminal) = terminal.filter(|_| !keys.is_empty()) {
            terminal.keys(keys).await;
        }
    }
}

/// The shared terminal is as large as the host's own.
async fn follow_window(terminal: Option<&Terminal>) {
    let Some(terminal) = terminal else { return };
    let changes = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change());
    let Ok(mut changes) = changes else { return };
    while changes.recv().await.is_some() {
        if let Some((rows, columns)) = terminal::window() {
            terminal.resize(rows, columns).await;
        }
    }
}

/// Runs `convene join` until `shutdown`.
pub async fn run_join(args: JoinArgs, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    let from_stdin = args.link == "-";
    let link = if from_stdin { read_link()? } else { args.link };
    let invite = Invite::parse(&link)?;
    let interactive = std::io::stdin().is_terminal() && !from_stdin;
    let shows = std::io::stdout().is_terminal() && !args.common.json;
    let screen = shows.then(|| {
        let keys = if interactive { console::typed() } else { mpsc::channel(1).1 };
        Screen::new(print, keys, interactive)
    });
    let options = JoinOptions {
        invite,
        ca: args.common.ca.clone(),
        place: args.common.place(),
        measure: (!args.common.no_measure).then_some(AGAIN_AFTER),
        listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.port),
        name: args.name,
        give_up: Duration::from_secs(args.common.give_up_seconds),
        screen,
    };
    let say = args.common.say();
    let ending = join(options, say.clone(), shutdown).await?;
    say.say(&Event::Ended { why: ending.words().to_owned() });
    Ok(ending.exit())
}

fn read_link() -> anyhow::Result<String> {
    use std::io::{BufRead as _, Read as _};
    let mut line = String::new();
    let mut limited = std::io::BufReader::new(std::io::stdin().lock().take(MAX_LINK as u64 + 2));
    limited.read_line(&mut line).context("read the link from standard input")?;
    ensure!(!line.trim().is_empty(), "standard input holds no link");
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_or_refused() {
        assert_eq!(location("52.5, -13.4"), Ok(GeoPoint { latitude: 52.5, longitude: -13.4 }));
        for wrong in ["", "52.5", "a,b", "91,0", "0,181", "nan,0"] {
            assert!(location(wrong).is_err(), "{wrong}");
        }
    }
}
