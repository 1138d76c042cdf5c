//! What a lobby is told of its clients' addresses, taken from wherever it stands in the spec.

use std::str::FromStr;

use crate::api::LobbySpec;
use crate::api::places::{ClientLocation, GeoIp, Proxies};

/// What a lobby is told of its clients' addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// The proxies before it.
    pub proxies: Option<Proxies>,
    /// Whether what clients say of their place counts.
    pub location: ClientLocation,
    /// The database of places.
    pub geoip: Option<GeoIp>,
    /// Why it is not used, or cannot be yet.
    pub geoip_hindered: Option<Hindered>,
}

/// Why a lobby goes without the databases that its spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindered {
    /// The PersistentVolumeClaim of this name is not there.
    NoClaim(String),
    /// Who installed the operator does not allow this URL.
    NotAllowed(String),
}

/// What is known of where a lobby's databases are.
#[derive(Clone, Copy, Debug)]
pub struct GeoIpInputs<'a> {
    /// Whether the claim is there that the spec names; of no meaning where it names none.
    pub claim_there: bool,
    /// Below what databases may be downloaded.
    pub allowed: &'a [UrlFolder],
}

/// The beginning of URLs: scheme, host and folders, with a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlFolder(String);

/// A text that is no beginning of URLs.
#[derive(Debug, thiserror::Error)]
#[error(
    "must be like https://mirror.example.com/geo/: http or https, a host in lower case, and a path that ends with a slash"
)]
pub struct NoUrlFolder;

impl FromStr for UrlFolder {
    type Err = NoUrlFolder;

    fn from_str(text: &str) -> Result<Self, NoUrlFolder> {
        let rest = text.strip_prefix("https://").or(text.strip_prefix("http://")).ok_or(NoUrlFolder)?;
        let (host, path) = rest.split_once('/').ok_or(NoUrlFolder)?;
        let in_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:".contains(c);
        let in_path = |c: char| c.is_ascii_alphanumeric() || "@._~+-/".contains(c);
        let is_folder = path.is_empty() || path.ends_with('/');
        let good = !host.is_empty() && host.chars().all(in_host) && is_folder && path.chars().all(in_path);
        if good { Ok(Self(text.to_owned())) } else { Err(NoUrlFolder) }
    }
}

impl UrlFolder {
    /// Whether `url` is below it. The API server lets only URLs in that have one spelling: no `..`, nothing encoded.
    fn holds(&self, url: &str) -> bool {
        url.starts_with(&self.0)
    }
}

/// Name of the PersistentVolumeClaim that a lobby's database should be on.
pub fn geoip_claim(spec: &LobbySpec) -> Option<&str> {
    Some(geoip(spec)?.volume_claim_ref.as_ref()?.name.as_str())
}

fn geoip(spec: &LobbySpec) -> Option<&GeoIp> {
    spec.routing.as_ref()?.geoip.as_ref()
}

/// The first URL that is not allowed.
fn not_allowed<'a>(spec: &'a LobbySpec, allowed: &[UrlFolder]) -> Option<&'a String> {
    let urls = &geoip(spec)?.download.as_ref()?.urls;
    urls.iter().find(|url| !allowed.iter().any(|folder| folder.holds(url)))
}

impl Clients {
    /// What stands in the spec, and what hinders it.
    pub(super) fn new(spec: &LobbySpec, inputs: GeoIpInputs<'_>) -> Self {
        let routing = spec.routing.as_ref();
        let no_claim =
            geoip_claim(spec).filter(|_| !inputs.claim_there).map(|claim| Hindered::NoClaim(claim.to_owned()));
        let not_allowed = not_allowed(spec, inputs.allowed).map(|url| Hindered::NotAllowed(url.clone()));
        Self {
            proxies: spec.proxies.clone(),
            location: routing.map(|routing| routing.client_location).unwrap_or_default(),
            // What is not allowed is not told to anybody.
            geoip: geoip(spec).filter(|_| not_allowed.is_none()).cloned(),
            geoip_hindered: no_claim.or(not_allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_below_an_allowed_folder_is_told() {
        let of = |urls: &[&str]| -> LobbySpec {
            serde_json::from_value(json!({"routing": {"geoip": {"download": {"urls": urls}}}})).expect("a spec")
        };
        let allowed = ["https://mirror.example.com/geo/", "http://inside.example:8080/"].map(str::parse::<UrlFolder>);
        let allowed = allowed.map(|folder| folder.expect("a folder"));
        let clients = |urls: &[&str]| Clients::new(&of(urls), GeoIpInputs { claim_there: true, allowed: &allowed });
        let (city, inside) = ("https://mirror.example.com/geo/city.mmdb", "http://inside.example:8080/a/b.mmdb.gz");
        let told = clients(&[city, inside]);
        assert!(told.geoip.is_some() && told.geoip_hindered.is_none());
        for other in [
            "https://mirror.example.com/city.mmdb",
            "https://mirror.example.com/geology/city.mmdb",
            "http://mirror.example.com/geo/city.mmdb",
            "https://mirror.example.com.evil.example/geo/city.mmdb",
            "http://inside.example/a/b.mmdb.gz",
            "http://inside.example:80801/a.mmdb",
        ] {
            let told = clients(&[city, other]);
            assert_eq!(told.geoip_hindered, Some(Hindered::NotAllowed(other.to_owned())));
            assert_eq!(told.geoip, None);
        }
    }

    #[test]
    fn a_folder_is_one_with_a_slash_at_its_end() {
        for good in ["https://a/", "http://a.example:81/", "https://cdn.example/npm/@ip-location-db/"] {
            assert!(good.parse::<UrlFolder>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "a/",
            "ftp://a/",
            "https://",
            "https:///",
            "https://a",
            "https://a/b",
            "https://A/",
            "https://u@a/",
            "https://a/?b/",
        ] {
            assert!(bad.parse::<UrlFolder>().is_err(), "{bad}");
        }
    }
}
