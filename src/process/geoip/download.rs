//! Databases of places from a web server: fetched into a folder, checked there, and only then put in the place of the last
//! good one. What has been fetched outlives the server and, with the folder, the process.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prometheus::{IntCounterVec, IntGaugeVec};
use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION};
use reqwest::{Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use super::reading::Reading;
use super::{MAX_FILE_BYTES, read};
use crate::process::metrics::Catalogue;
use crate::process::{clock, tls};

/// Longest wait for a connection, and for the next bytes.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest wait for a whole database: 70 MB at 40 kB/s.
const WHOLE: Duration = Duration::from_secs(1800);
/// Waits after failures in a row: doubled from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// What a file packed by gzip begins with (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Which databases are downloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[group(id = "geoip-download")]
pub struct Args {
    /// Databases as in --geoip-file that are downloaded, after those that are files: http or https, packed by gzip or not, up to
    /// 512 MiB each; several are separated by commas. Redirects are not followed. What has been fetched stays until the
    /// server has another one that is whole.
    #[arg(long, env = "CONVENE_GEOIP_URL", value_delimiter = ',', requires = "geoip_folder")]
    pub geoip_url: Vec<Url>,
    /// Where downloaded databases are kept; it must be there.
    #[arg(long, env = "CONVENE_GEOIP_FOLDER")]
    pub geoip_folder: Option<PathBuf>,
    /// Hours after which the servers are asked whether there is a newer one, 1 to 8760.
    #[arg(long, env = "CONVENE_GEOIP_EVERY_HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8760))]
    pub geoip_every_hours: u32,
    /// File with authorities (PEM) that are believed for these servers besides the machine's or, where it has none, Mozilla's.
    /// While it is missing, they are believed without it.
    #[arg(long, env = "CONVENE_GEOIP_CA")]
    pub geoip_ca: Option<PathBuf>,
}

impl Args {
    pub(super) fn remotes(&self, reading: &Reading) -> Vec<Remote> {
        let folder = self.geoip_folder.as_deref();
        self.geoip_url.iter().filter_map(|url| Some(Remote::new(url.clone(), folder?, reading.clone()))).collect()
    }
}

/// One database that is downloaded.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) url: Url,
    /// Where the last good one is.
    pub(super) file: PathBuf,
    reading: Reading,
}

/// What the server said of the database that it gave, to be asked whether it has another.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    etag: Option<String>,
    modified: Option<String>,
}

/// What a server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetched {
    New,
    Unchanged,
}

/// What to count, and why.
#[derive(Debug)]
struct Failed {
    outcome: &'static str,
    why: anyhow::Error,
}

impl Failed {
    fn of(outcome: &'static str) -> impl FnOnce(anyhow::Error) -> Self {
        move |why| Self { outcome, why }
    }
}

impl Remote {
    fn new(url: Url, folder: &Path, reading: Reading) -> Self {
        // Another URL has another file: what one has given is not taken for the other's.
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, url.as_str().as_bytes());
        let name = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..12]);
        Self { url, file: folder.join(name).with_extension("mmdb"), reading }
    }

    /// Fetches it, and again as time goes by. Ends only when it is dropped. `serves` tells whether the file, as it was read,
    /// is a database: one that was lost or torn on its disk is fetched again, whatever the server said of it.
    pub(super) async fn follow(&self, args: &Args, serves: impl Fn() -> bool, metrics: &Metrics) {
        let every = Duration::from_secs(3600) * args.geoip_every_hours;
        let mut after_failure = FIRST_WAIT;
        loop {
            match self.fetch(args.geoip_ca.as_deref(), serves()).await {
                Ok(fetched) => {
                    metrics.count(&self.url, fetched);
                    tracing::info!(url = %self.url, ?fetched, "a database of places is as its server has it");
                    after_failure = FIRST_WAIT;
                    tokio::time::sleep(every).await;
                }
                Err(Failed { outcome, why }) => {
                    metrics.downloads.with_label_values(&[outcome]).inc();
                    let again = after_failure.min(every);
                    tracing::warn!(
                        url = %self.url,
                        why = format!("{why:#}"),
                        again_seconds = again.as_secs(),
                        "cannot download a database of places; what was downloaded before, if anything was, keeps serving"
                    );
                    tokio::time::sleep(again).await;
                    after_failure = (after_failure * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Asks the server once, for another one than the file if that `serves`. Whatever fails, the file is as it was.
    async fn fetch(&self, ca: Option<&Path>, serves: bool) -> Result<Fetched, Failed> {
        let known = if serves { self.version() } else { Version::default() };
        let response = self.ask(ca, &known).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Fetched::Unchanged);
        }
        let version = Version::of(response.headers());
        let whole = tokio::time::timeout(WHOLE, self.take(response)).await;
        let too_slow = || anyhow::anyhow!("it was not whole after {} s", WHOLE.as_secs());
        let part = whole.unwrap_or_else(|_| Err(Failed::of("unreachable")(too_slow())))?;
        let (file, reading) = (self.file.clone(), self.reading.clone());
        let placed = tokio::task::spawn_blocking(move || place(part.path(), &file, &version, &reading)).await;
        placed.unwrap_or_else(|error| Err(Failed::of("broken")(error.into())))?;
        Ok(Fetched::New)
    }

    async fn ask(&self, ca: Option<&Path>, known: &Version) -> Result<Response, Failed> {
        // Made anew each time: the authorities may be others by now.
        let client = client(ca).map_err(Failed::of("unreachable"))?;
        let request = client.get(self.url.clone()).headers(known.conditions());
        let response = request.send().await.context("no answer").map_err(Failed::of("unreachable"))?;
        let status = response.status();
        let why = match status {
            StatusCode::OK | StatusCode::NOT_MODIFIED => return Ok(response),
            status if status.is_redirection() => {
                let to = response.headers().get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
                let to = to.unwrap_or_default();
                anyhow::anyhow!("it answers {status} and leads to {to}: redirects are not followed; give that URL")
            }
            status => anyhow::anyhow!("it answers {status}"),
        };
        Err(Failed::of("refused")(why))
    }

    /// The body, in a file beside the database's, which goes with it.
    async fn take(&self, mut response: Response) -> Result<tempfile::NamedTempFile, Failed> {
        let part = beside(&self.file, "packed")?;
        let unwritable = |error: std::io::Error| Failed::of("unwritable")(error.into());
        let mut file = tokio::fs::File::from_std(part.reopen().map_err(unwritable)?);
        let mut bytes = 0;
        while let Some(chunk) = response.chunk().await.context("broken off").map_err(Failed::of("unreachable"))? {
            bytes += chunk.len() as u64;
            if bytes > MAX_FILE_BYTES {
                return Err(Failed::of("too_large")(anyhow::anyhow!("it has more than {MAX_FILE_BYTES} bytes")));
            }
            file.write_all(&chunk).await.map_err(unwritable)?;
        }
        file.flush().await.map_err(unwritable)?;
        Ok(part)
    }

    /// What was said of the database that is there; nothing where it is not.
    fn version(&self) -> Version {
        let said = self.file.is_file().then(|| std::fs::read(self.file.with_extension("json")).ok()).flatten();
        said.and_then(|said| serde_json::from_slice(&said).ok()).unwrap_or_default()
    }
}

impl Version {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
        Self { etag: text(ETAG), modified: text(LAST_MODIFIED) }
    }

    fn conditions(&self) -> HeaderMap {
        let named = [(IF_NONE_MATCH, &self.etag), (IF_MODIFIED_SINCE, &self.modified)];
        let value = |text: &Option<String>| HeaderValue::from_str(text.as_deref()?).ok();
        named.into_iter().filter_map(|(name, text)| Some((name, value(text)?))).collect()
    }
}

fn client(ca: Option<&Path>) -> anyhow::Result<reqwest::Client> {
    // It may be made later; then it is looked at with the next question.
    let config = tls::public_client_config(ca.filter(|ca| ca.exists()))?;
    let builder = reqwest::Client::builder().tls_backend_preconfigured(config);
    // Only what was allowed is asked, and nobody in between.
    let builder = builder.no_proxy().redirect(reqwest::redirect::Policy::none());
    let builder = builder.connect_timeout(SILENCE).read_timeout(SILENCE);
    Ok(builder.user_agent(concat!("convene/", env!("CARGO_PKG_VERSION"))).build()?)
}

/// A file beside another that goes when this is dropped. What a killed process left goes first: in a container that is started
/// again, the next one has the same number. No file that is there is written to, wherever its name may lead.
fn beside(file: &Path, what: &str) -> Result<tempfile::NamedTempFile, Failed> {
    let path = file.with_extension(format!("{}-{what}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let made = File::options().read(true).write(true).create_new(true).open(&path);
    let made =
        made.and_then(|made| Ok(tempfile::NamedTempFile::from_parts(made, tempfile::TempPath::try_from_path(&path)?)));
    made.with_context(|| format!("cannot write {}", path.display())).map_err(Failed::of("unwritable"))
}

/// Puts what was downloaded in the place of the last one, unpacked, if it is a database.
fn place(part: &Path, file: &Path, version: &Version, reading: &Reading) -> Result<(), Failed> {
    let unwritable = |error: std::io::Error| Failed::of("unwritable")(error.into());
    let unpacked = beside(file, "unpacked")?;
    unpack(part, unpacked.as_file())?;
    read(unpacked.path(), reading).map_err(|(outcome, why)| Failed::of(outcome)(anyhow::anyhow!(why)))?;
    // On its disk before it has the name: a machine that loses its power leaves the last one or this one.
    unpacked.as_file().sync_all().map_err(unwritable)?;
    // What is said of the last one goes first: of a file that is not the server's last, nothing must be said.
    let said = file.with_extension("json");
    if said.exists() {
        std::fs::remove_file(&said).map_err(unwritable)?;
    }
    unpacked.persist(file).map_err(|error| unwritable(error.error))?;
    let text = serde_json::to_vec(version).expect("a version is JSON");
    std::fs::write(said, text).map_err(unwritable)
}

/// Writes what a file holds, unpacked if it is packed, to another; of what is larger than a database may be, one byte more.
fn unpack(path: &Path, mut to: &File) -> Result<(), Failed> {
    let open = || File::open(path).map_err(|error| Failed::of("unwritable")(error.into()));
    let mut start = Vec::new();
    let begin = open()?.take(GZIP.len() as u64).read_to_end(&mut start);
    let file = std::io::BufReader::new(open()?);
    let copied = begin.and_then(|_| {
        if start == GZIP {
            std::io::copy(&mut flate2::bufread::MultiGzDecoder::new(file).take(MAX_FILE_BYTES + 1), &mut to)
        } else {
            std::io::copy(&mut file.take(MAX_FILE_BYTES + 1), &mut to)
        }
    });
    copied.map(|_| ()).map_err(|error| {
        // Its bytes are no gzip, or come to their end too soon; all else is the disk's.
        let of_bytes = matches!(
            error.kind(),
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
        );
        let outcome = if of_bytes { "broken" } else { "unwritable" };
        Failed::of(outcome)(anyhow::Error::new(error).context("it cannot be unpacked"))
    })
}

/// Metrics of downloads.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    downloads: IntCounterVec,
    confirmed: IntGaugeVec,
}

impl Metrics {
    pub(super) fn new(catalogue: &mut Catalogue) -> Self {
        Self {
            downloads: catalogue.counters(
                "convene_geoip_downloads_total",
                "Questions to the servers of databases of places, by outcome: new, unchanged, or unreachable, refused (another answer than 200 or 304), unwritable (the folder), too_large, broken, no_places (as of loads); after these the last good one keeps serving.",
                &["outcome"],
            ),
            confirmed: catalogue.gauges(
                "convene_geoip_confirmed_timestamp_seconds",
                "When the server of a database of places last gave it, or said that there is no other, seconds since 1970.",
                &["url"],
            ),
        }
    }

    fn count(&self, url: &Url, fetched: Fetched) {
        let outcome = match fetched {
            Fetched::New => "new",
            Fetched::Unchanged => "unchanged",
        };
        self.downloads.with_label_values(&[outcome]).inc();
        self.confirmed.with_label_values(&[url.as_str()]).set(clock::unix_seconds());
    }
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
