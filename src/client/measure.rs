//! How far each region of a lobby is from here: asks relays and takes the time, as [`crate::decide::measure`] says. Every
//! failure is a region that is not known; nobody waits for longer than a moment, and nothing ends for it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{bail, ensure};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::net::{Failed, Net};
use crate::decide::measure::{Measured, PROBES, SECOND_AFTER, Survey, is_choice};
use crate::process::clock;
use crate::wire::regions::{Probe, RegionView};
use crate::wire::session::ClientPlace;

/// What all probes of a round share.
struct Round<'a> {
    net: &'a Net,
    survey: Mutex<&'a mut Survey>,
    begin: Duration,
    /// There is a sample more.
    noted: Notify,
}

/// `place` with the round trips to the lobby's regions, as far as a moment is enough to measure them. Unchanged where there
/// is nothing to choose from.
pub(super) async fn measured(net: &Net, place: ClientPlace) -> ClientPlace {
    let here = Whereabouts::new(place);
    here.measure(net).await;
    here.now()
}

/// Where a client is that stays: what it has measured is measured again, so that it is known when its relay is lost.
#[derive(Debug)]
pub(super) struct Whereabouts {
    /// What else is known of it.
    place: ClientPlace,
    survey: Mutex<Survey>,
}

impl Whereabouts {
    /// Nothing is measured yet.
    pub(super) fn new(place: ClientPlace) -> Self {
        Self { place, survey: Mutex::default() }
    }

    /// What a lobby is told now.
    pub(super) fn now(&self) -> ClientPlace {
        let latencies = self.survey().latencies_at(clock::monotonic());
        let place = self.place.clone();
        if latencies.is_empty() { place } else { ClientPlace { latencies, ..place } }
    }

    /// Measures once.
    pub(super) async fn measure(&self, net: &Net) {
        let mut survey = self.survey().clone();
        look(net, &self.place, &mut survey).await;
        *self.survey() = survey;
    }

    /// Measures again and again. Ends only when it is dropped.
    pub(super) async fn follow(&self, net: &Net, every: Duration) {
        loop {
            sleep(every).await;
            self.measure(net).await;
        }
    }

    fn survey(&self) -> MutexGuard<'_, Survey> {
        self.survey.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A round, if the lobby names several regions.
async fn look(net: &Net, place: &ClientPlace, survey: &mut Survey) {
    match net.regions().await {
        Ok(regions) if is_choice(&regions) => {
            round(net, &regions, place, survey).await;
            tracing::debug!(latencies = ?survey.latencies(), "measured");
        }
        Ok(_) => {}
        Err(Failed::Later(why)) => tracing::debug!(%why, "not measured: the lobby does not name its regions"),
        Err(Failed::Final(why)) => tracing::debug!(?why, "not measured: the lobby does not name its regions"),
    }
}

/// Measures the regions of the lobby at a URL once more; `survey` keeps what is known from one time to the next. What is
/// returned are the lobby's regions. For programs that play clients.
pub async fn measure(lobby: &str, place: &ClientPlace, survey: &mut Survey) -> anyhow::Result<Vec<RegionView>> {
    let net = Net::new(lobby, None)?;
    let regions = regions(&net).await?;
    round(&net, &regions, place, survey).await;
    Ok(regions)
}

async fn regions(net: &Net) -> anyhow::Result<Vec<RegionView>> {
    match net.regions().await {
        Ok(regions) => Ok(regions),
        Err(Failed::Later(why)) => bail!("the lobby does not name its regions: {why}"),
        Err(Failed::Final(ending)) => bail!("the lobby does not name its regions: {}", ending.words()),
    }
}

/// Probes those regions whose turn it is, all at once, until enough is known.
async fn round(net: &Net, regions: &[RegionView], place: &ClientPlace, survey: &mut Survey) {
    let begin = clock::monotonic();
    let asked = survey.begin(regions, place, begin);
    let round = Round { net, survey: Mutex::new(survey), begin, noted: Notify::new() };
    let mut probing: FuturesUnordered<_> = asked.into_iter().map(|region| round.probe(region)).collect();
    loop {
        let left = round.survey().look_again(round.so_far());
        let Some(left) = left else { return };
        tokio::select! {
            ended = probing.next() => if ended.is_none() { return },
            () = round.noted.notified() => {}
            () = sleep(left) => {}
        }
    }
}

impl<'a> Round<'a> {
    /// Takes samples of a region until there are enough: of its first relay, and of another where the first says nothing
    /// for a while.
    async fn probe(&self, region: &RegionView) {
        let sample = async |probe: &Probe, turn: u32| {
            sleep(SECOND_AFTER * turn).await;
            if turn == 0 || !self.survey().has_heard(&region.region) {
                self.sample(&region.region, probe).await;
            }
        };
        let relays = region.probes.iter().take(PROBES).zip(0..);
        let mut relays: FuturesUnordered<_> = relays.map(|(probe, turn)| sample(probe, turn)).collect();
        while relays.next().await.is_some() && self.survey().wants_more(&region.region) {}
    }

    /// Takes samples of one relay, all on one connection, as long as it answers.
    async fn sample(&self, region: &str, probe: &Probe) {
        let Some(mut line) = self.net.line(probe).await else { return };
        self.survey().hear_of(region, self.so_far());
        // Whatever stands between may open its own way to the relay only now, so this one does not count.
        if !line.probe().await {
            return;
        }
        self.survey().hear_of(region, self.so_far());
        while self.survey().wants_more(region) {
            let begin = clock::monotonic();
            if !line.probe().await {
                return;
            }
            let now = clock::monotonic();
            self.survey().note(region, now.saturating_sub(begin), now);
            self.noted.notify_one();
        }
    }

    fn so_far(&self) -> Duration {
        clock::monotonic().saturating_sub(self.begin)
    }

    fn survey(&self) -> MutexGuard<'_, &'a mut Survey> {
        self.survey.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Arguments of `convene measure`.
#[derive(Clone, Debug, clap::Args)]
pub struct MeasureArgs {
    /// URL of the lobby.
    #[arg(env = "CONVENE_LOBBY", value_name = "LOBBY")]
    lobby: String,
    /// PEM file of a private authority to trust for lobby and relays, beside those of the system.
    #[arg(long, env = "CONVENE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A table, or one JSON list.
    #[arg(long, short, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

/// One line of what is printed. What did not answer has neither time nor samples.
#[derive(Debug, Serialize)]
struct Line {
    region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
    samples: u32,
}

/// Runs `convene measure`.
pub async fn run_measure(args: MeasureArgs, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    let net = Net::new(&args.lobby, args.ca.as_deref())?;
    let mut survey = Survey::default();
    let regions = tokio::select! {
        regions = regions(&net) => regions?,
        () = shutdown.cancelled() => return Ok(ExitCode::FAILURE),
    };
    ensure!(!regions.is_empty(), "the lobby at {} has no regions: it needs a RelayPool that names it", args.lobby);
    round(&net, &regions, &ClientPlace::default(), &mut survey).await;
    let lines = lines(&regions, &survey);
    let any = lines.iter().any(|line| line.ms.is_some());
    let text = match args.output {
        Output::Text => table(&lines),
        Output::Json => format!("{}\n", serde_json::to_string(&lines)?),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
    Ok(if any { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All regions, nearest first; those that did not answer stand last.
fn lines(regions: &[RegionView], survey: &Survey) -> Vec<Line> {
    let measured = survey.measured();
    let line = |region: &RegionView| {
        let of: Option<&Measured> = measured.get(&region.region);
        let (ms, samples) = (of.map(|of| of.ms), of.map_or(0, |of| of.samples));
        Line { region: region.region.clone(), ms, samples }
    };
    let mut lines: Vec<Line> = regions.iter().map(line).collect();
    let far = |line: &Line| line.ms.unwrap_or(f64::INFINITY);
    lines.sort_by(|a, b| far(a).total_cmp(&far(b)));
    lines
}

fn table(lines: &[Line]) -> String {
    let width = lines.iter().map(|line| line.region.chars().count()).max().unwrap_or_default().max("REGION".len());
    let row = |region: &str, ms: &str, samples: &str| format!("{region:width$} {ms:>9} {samples:>8}\n");
    let ms = |line: &Line| line.ms.map_or_else(|| "no answer".to_owned(), |ms| format!("{ms:.1}"));
    let rows = lines.iter().map(|line| row(&line.region, &ms(line), &line.samples.to_string()));
    row("REGION", "MS", "SAMPLES") + &rows.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_answer_stands_last_and_has_no_number() {
        let region = |name: &str| RegionView {
            region: name.to_owned(),
            latitude: 0.0,
            longitude: 0.0,
            relays: 1,
            free_seats: 1,
            probes: vec![Probe { url: String::new(), expires_at: 0 }],
        };
        let regions = ["silent", "far-away", "near"].map(region);
        let mut survey = Survey::default();
        survey.begin(&regions, &ClientPlace::default(), Duration::ZERO);
        for (name, ms) in [("far-away", 123), ("near", 4), ("near", 5)] {
            survey.note(name, Duration::from_millis(ms), Duration::ZERO);
        }
        let lines = lines(&regions, &survey);
        let expected = "REGION          MS  SAMPLES\nnear           4.0        2\nfar-away     123.0        1\nsilent   no answer        0\n";
        assert_eq!(table(&lines), expected);
        let json = r#"[{"region":"near","ms":4.0,"samples":2},{"region":"far-away","ms":123.0,"samples":1},{"region":"silent","samples":0}]"#;
        assert_eq!(serde_json::to_string(&lines).expect("JSON"), json);
    }
}
