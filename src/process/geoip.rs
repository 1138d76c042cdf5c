//! Databases of places and of autonomous systems by address (MaxMind's format, "mmdb"), which whoever installs Convene
//! supplies: read at the start and again when a file changes. What is broken never replaces what is good, and no database is no error: then an
//! address says nothing of a place.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus::{IntCounterVec, IntGaugeVec};
use tokio_util::sync::CancellationToken;

mod database;
pub mod download;
mod reading;

pub use database::{BadDatabase, Database};
use download::Remote;
use reading::Reading;

use super::clock;
use super::metrics::Catalogue;
use crate::api::places::MAX_DATABASE_MIB;
use crate::wire::session::GeoPoint;

/// How often the files are looked at. A mounted volume changes by a swapped link, which file notifications miss.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = MAX_DATABASE_MIB as u64 * 1024 * 1024;

/// Which databases there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[group(id = "geoip")]
pub struct Args {
    /// Databases (mmdb) that say in which place an address is, such as one of cities; several are separated by commas, and
    /// the first that knows an address counts. One with the numbers of autonomous systems lets what clients measure help others
    /// of their system. Each is held in memory (for a moment the largest twice, when it changes), and may be missing: then
    /// clients that tell nothing of their place are placed by the pools' declared order.
    #[arg(long, env = "CONVENE_GEOIP_FILE", value_delimiter = ',')]
    pub geoip_file: Vec<PathBuf>,
    /// Days after which a database is too old to be believed; 0 = never.
    #[arg(long, env = "CONVENE_GEOIP_MAX_AGE_DAYS", default_value_t = 365)]
    pub geoip_max_age_days: u32,
    /// Those that are downloaded.
    #[command(flatten)]
    pub download: download::Args,
}

/// What of a file tells that it is another, or has been written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    file: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let of = std::fs::metadata(path)?;
        Ok(Self { device: of.dev(), file: of.ino(), bytes: of.len(), changed: (of.mtime(), of.mtime_nsec()) })
    }
}

/// What the last look at a file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    File(Stamp),
    Failed(std::io::ErrorKind),
}

/// One file and the last good database that it was.
#[derive(Debug)]
struct Source {
    /// As it was given: a path or a URL.
    name: String,
    path: PathBuf,
    database: ArcSwapOption<Database>,
    looked: Mutex<Looked>,
}

/// What looks at the file came to so far.
#[derive(Debug, Default)]
struct Looked {
    seen: Option<Seen>,
    /// It was said that the database is too old.
    said_old: bool,
}

/// All databases of a process.
#[derive(Clone, Debug)]
pub struct GeoIp(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sources: Vec<Source>,
    remotes: Vec<Remote>,
    download: download::Args,
    most_days: Option<u32>,
    reading: Reading,
    /// How many databases were read so far.
    read: AtomicU64,
    metrics: Metrics,
}

/// What an address says of a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Located {
    /// There is no database of places at all: nobody asked for one.
    Off,
    /// The databases are missing, broken or too old.
    NoDatabase,
    /// They do not know the address.
    Unknown,
    /// Where it is; the coordinates may be anything.
    At(GeoPoint),
}

impl GeoIp {
    /// The files of `args`; [`Self::follow`] reads them, since a large one takes seconds, for which nobody is to wait.
    pub fn new(args: &Args, metrics: Metrics) -> Self {
        let source = |name: String, path: &Path| {
            let (database, looked) = (ArcSwapOption::empty(), Mutex::default());
            Source { name, path: path.to_owned(), database, looked }
        };
        let reading = Reading::default();
        let remotes = args.download.remotes(&reading);
        let given = args.geoip_file.iter().map(|path| source(path.display().to_string(), path));
        let sources = given.chain(remotes.iter().map(|remote| source(remote.url.to_string(), &remote.file))).collect();
        let most_days = (args.geoip_max_age_days > 0).then_some(args.geoip_max_age_days);
        let download = args.download.clone();
        Self(Arc::new(Inner { sources, remotes, download, most_days, reading, read: AtomicU64::default(), metrics }))
    }

    /// Reads the files, and again when they change, and downloads those that come from elsewhere, until `stop`.
    pub async fn follow(&self, stop: &CancellationToken) {
        let Inner { sources, remotes, download, metrics, .. } = &*self.0;
        // What is there serves first, and need not come again.
        self.look().await;
        let downloaded = sources.iter().skip(sources.len() - remotes.len());
        let downloads = remotes.iter().zip(downloaded).map(|(remote, source)| {
            let serves = || source.database.load().is_some();
            remote.follow(download, serves, &metrics.downloads)
        });
        let downloads = stop.run_until_cancelled(futures::future::join_all(downloads));
        futures::join!(self.read_files(stop), downloads);
    }

    async fn read_files(&self, stop: &CancellationToken) {
        while !self.0.sources.is_empty() {
            self.look().await;
            if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// Where `address` is, as the databases say that are good now.
    pub fn locate(&self, address: IpAddr) -> Located {
        let Inner { sources, most_days, .. } = &*self.0;
        if sources.is_empty() {
            return Located::Off;
        }
        let now = clock::unix_seconds();
        // A file that could not be read yet may be one of places.
        let mut answer = Located::Off;
        for source in sources {
            match source.serves(*most_days, now).map(|database| (database.has_places, database.locate(address))) {
                Some((_, Some(point))) => return Located::At(point),
                Some((true, None)) => answer = Located::Unknown,
                None if answer == Located::Off => answer = Located::NoDatabase,
                Some((false, None)) | None => {}
            }
        }
        answer
    }

    /// The number of the autonomous system of which `address` is, where a database says so.
    pub fn system(&self, address: IpAddr) -> Option<u32> {
        let Inner { sources, most_days, .. } = &*self.0;
        let now = clock::unix_seconds();
        let good = sources.iter().filter_map(|source| source.serves(*most_days, now));
        good.filter(|database| database.has_systems).find_map(|database| database.system(address))
    }

    /// Rises with each database that was read: what was asked before may have another answer now.
    pub fn generation(&self) -> u64 {
        self.0.read.load(Ordering::Acquire)
    }

    /// Reads what has changed, away from the threads that answer requests.
    async fn look(&self) {
        let this = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            for source in &this.0.sources {
                source.look(&this.0);
            }
        });
        if let Err(error) = looked.await {
            tracing::error!(%error, "reading a database of places has failed; the last good one keeps serving");
        }
    }
}

impl Source {
    /// The database, if there is a good one that is not too old.
    fn serves(&self, most_days: Option<u32>, now: i64) -> Option<Arc<Database>> {
        self.database.load_full().filter(|database| !database.is_old(most_days, now))
    }

    fn look(&self, of: &Inner) {
        let name = &self.name;
        let seen = match Stamp::of(&self.path) {
            Ok(stamp) => Seen::File(stamp),
            Err(error) => Seen::Failed(error.kind()),
        };
        // One look at a time; who asks does not wait for it.
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.seen.as_ref() != Some(&seen) {
            let read = read(&self.path, &of.reading);
            let outcome = match &read {
                Ok(database) => {
                    tracing::info!(file = name, built_at = database.built_at, "a database of places serves");
                    "loaded"
                }
                Err((outcome, why)) => {
                    let what = "cannot use a database of places; the last good one, if there was one, keeps serving";
                    tracing::warn!(file = name, why, "{what}");
                    outcome
                }
            };
            of.metrics.loads.with_label_values(&[outcome]).inc();
            looked.seen = Some(seen);
            if let Ok(database) = read {
                self.database.store(Some(Arc::new(database)));
                looked.said_old = false;
                of.read.fetch_add(1, Ordering::Release);
            }
        }
        let database = self.database.load();
        let old = database.as_ref().is_some_and(|it| it.is_old(of.most_days, clock::unix_seconds()));
        if old && !looked.said_old {
            looked.said_old = true;
            tracing::warn!(
                file = name,
                days = of.most_days,
                "a database of places is older than it may be, and not used"
            );
        }
        let serves = database.is_some() && !old;
        of.metrics.serving.with_label_values(&[name]).set(i64::from(serves));
        let built_at = database.as_ref().map_or(0, |database| database.built_at);
        of.metrics.built.with_label_values(&[name]).set(built_at);
    }
}

/// The database in a file; or the outcome to be counted, and why.
fn read(path: &Path, reading: &Reading) -> Result<Database, (&'static str, String)> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| {
        let outcome = if error.kind() == std::io::ErrorKind::NotFound { "missing" } else { "unreadable" };
        (outcome, error.to_string())
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length > MAX_FILE_BYTES {
        return Err(("too_large", format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    let _alone = reading.begin(length).map_err(|why| ("too_large", why))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Database::parse(bytes).map_err(|error| {
        let outcome = match error {
            BadDatabase::Broken(_) | BadDatabase::Endless => "broken",
            BadDatabase::NoPlaces(_) => "no_places",
        };
        (outcome, error.to_string())
    })
}

/// Metrics of the databases.
#[derive(Clone, Debug)]
pub struct Metrics {
    loads: IntCounterVec,
    downloads: download::Metrics,
    serving: IntGaugeVec,
    built: IntGaugeVec,
}

impl Metrics {
    /// Declares them.
    pub fn new(catalogue: &mut Catalogue) -> Self {
        Self {
            loads: catalogue.counters(
                "convene_geoip_loads_total",
                "Databases of places that were read because they had changed, by outcome: loaded, or missing, unreadable, too_large, broken, no_places (it is a database of something else than places or autonomous systems); after these the last good one keeps serving.",
                &["outcome"],
            ),
            downloads: download::Metrics::new(catalogue),
            serving: catalogue.gauges(
                "convene_geoip_serving",
                "1 while a database of places is used, 0 while there is no good one or it is older than it may be: then clients that tell nothing of their place are placed by declared order.",
                &["file"],
            ),
            built: catalogue.gauges(
                "convene_geoip_built_timestamp_seconds",
                "When the database of places that was read last was built, seconds since 1970; 0 = there is none.",
                &["file"],
            ),
        }
    }
}

#[cfg(test)]
#[path = "geoip_tests.rs"]
mod tests;
