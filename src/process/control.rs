//! The control port of a lobby or a relay: events for the operator, and its orders. It speaks TLS 1.3 under the operator's
//! own authority and answers only who has the operator's certificate; without files for that, it is plain and serves its own
//! machine alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use axum::Router;
use clap::builder::ArgPredicate;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::http::{self, Door, Limits};
use super::tls::{self, Paths, Port, Tls};
use crate::wire::control::OPERATOR;

/// Settings of the control port.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "control")]
pub struct Args {
    /// Address of the control port, for the operator. Without --control-cert the port is plain and must be at a loopback
    /// address: 127.0.0.1:8082 by default; with it, 0.0.0.0:8082.
    #[arg(
        id = "control_listen",
        long = "control-listen",
        env = "CONVENE_CONTROL_LISTEN",
        default_value = "127.0.0.1:8082",
        default_value_if("control_cert", ArgPredicate::IsPresent, "0.0.0.0:8082")
    )]
    pub listen: SocketAddr,
    /// File with the certificate of the control port (PEM), which then speaks TLS only; read again when it changes, and
    /// waited for.
    #[arg(id = "control_cert", long = "control-cert", env = "CONVENE_CONTROL_CERT", requires_all = ["control_key", "control_ca"])]
    pub certificate: Option<PathBuf>,
    /// File with the private key of that certificate (PEM).
    #[arg(id = "control_key", long = "control-key", env = "CONVENE_CONTROL_KEY", requires = "control_cert")]
    pub key: Option<PathBuf>,
    /// File with the authorities (PEM) by one of which the operator's certificate must be signed.
    #[arg(id = "control_ca", long = "control-ca", env = "CONVENE_CONTROL_CA", requires = "control_cert")]
    pub authorities: Option<PathBuf>,
}

impl Args {
    /// A plain port.
    pub fn plain(listen: SocketAddr) -> Self {
        Self { listen, certificate: None, key: None, authorities: None }
    }

    fn files(&self) -> Option<Paths> {
        let (certificate, key) = self.certificate.clone().zip(self.key.clone())?;
        Some(Paths { certificate, key, authorities: Some(self.authorities.clone()?) })
    }
}

/// A control port that is open.
#[derive(Debug)]
pub struct Control {
    listener: TcpListener,
    tls: Option<Tls>,
}

impl Control {
    /// The one that listens here. An error where others than the operator could reach it.
    pub async fn open(args: &Args, listener: TcpListener, metrics: tls::Metrics) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("--control-listen")?;
        let Some(files) = args.files() else {
            anyhow::ensure!(
                address.ip().is_loopback(),
                "--control-listen: others can reach {address}, and a plain control port answers anybody: give --control-cert, --control-key and --control-ca, or a loopback address such as 127.0.0.1:8082"
            );
            return Ok(Self { listener, tls: None });
        };
        let tls = Tls::when_there(Port::Control { client: OPERATOR }, files, metrics).await;
        Ok(Self { listener, tls: Some(tls) })
    }

    /// Serves there until `stop`.
    pub async fn serve(self, router: Router, limits: Limits, stop: CancellationToken) {
        let door = Door { tls: self.tls.clone(), ..Door::default() };
        tokio::join!(
            http::serve_at(door, self.listener, router, limits, stop.clone()),
            tls::follow(self.tls, stop.clone()),
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::metrics::Catalogue;
    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(more: &[&str]) -> Result<Args, clap::Error> {
        let all = std::iter::once(&"x").chain(more);
        Cli::try_parse_from(all).map(|cli| cli.args)
    }

    #[test]
    fn it_is_open_to_others_only_with_all_its_files() {
        let files = ["--control-cert=c", "--control-key=k", "--control-ca=a"];
        let (plain, secure) = (parse(&[]).expect("nothing is needed"), parse(&files).expect("all are there"));
        assert_eq!((plain.listen, plain.files().is_none()), (([127, 0, 0, 1], 8082).into(), true));
        assert_eq!((secure.listen, secure.files().is_some()), (([0, 0, 0, 0], 8082).into(), true));
        for missing in 0..files.len() {
            let mut some = files.to_vec();
            some.remove(missing);
            assert!(parse(&some).is_err(), "{some:?}");
        }
        let chosen = parse(&[&files[..], &["--control-listen=192.0.2.1:1"]].concat()).expect("good");
        assert_eq!(chosen.listen, ([192, 0, 2, 1], 1).into());
    }

    #[tokio::test]
    async fn a_plain_port_that_others_can_reach_is_refused() {
        for (address, opens) in [("127.0.0.1:0", true), ("0.0.0.0:0", false)] {
            let listener = TcpListener::bind(address).await.expect("a port");
            let args = Args::plain(listener.local_addr().expect("an address"));
            let opened = Control::open(&args, listener, tls::Metrics::new(&mut Catalogue::with_process())).await;
            assert_eq!(opened.is_ok(), opens, "{address}");
            let why = opened.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(opens || why.contains("--control-cert"), "{why}");
        }
    }
}
