//! Who is believed about where a request comes from: settings of all who serve clients that may come through proxies.

/// Who is believed about addresses and places.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "callers")]
pub struct Args {
    /// Networks of the proxies in front of this process, such as 10.0.0.0/8: for requests that they pass on, the client's
    /// address is the right-most one in their header that is none of theirs. Of everybody else such headers are ignored. With
    /// none given, everybody behind a proxy is one address to limits, and no address says where a client is.
    #[arg(long, env = "CONVENE_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<String>,
    /// The header in which those proxies write; the other one is passed on as anybody wrote it, and not looked at.
    #[arg(long, env = "CONVENE_FORWARDED_HEADER", value_enum, default_value_t)]
    pub forwarded_header: ForwardedHeader,
    /// Passes over the coordinates and regions that clients give: what is known without them counts.
    #[arg(long, env = "CONVENE_DISTRUST_LOCATION")]
    pub distrust_location: bool,
}

/// A header of proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ForwardedHeader {
    /// X-Forwarded-For.
    #[default]
    XForwardedFor,
    /// Forwarded (RFC 7239).
    Forwarded,
}

impl ForwardedHeader {
    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}
