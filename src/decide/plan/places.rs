//! What a lobby's processes are told of their clients' addresses: the proxies before them, and the databases of places, which
//! are mounted, or downloaded by the process.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, EnvVar, KeyToPath, PersistentVolumeClaimVolumeSource,
    SecretVolumeSource, Volume,
};
use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{policy, workload};
use crate::api::places::{Authorities, ClientLocation, Download, FileOf, ForwardedHeader, GeoIp, MAX_DATABASE_MIB};
use crate::decide::valid::{Clients, Hindered};

/// Where the databases are mounted, or downloaded to.
const FOLDER: &str = "/etc/convene/places";
/// Where the authorities of those who have them are mounted.
const CA_FOLDER: &str = "/etc/convene/places-ca";

pub(super) fn env(clients: &Clients) -> Vec<EnvVar> {
    let Clients { proxies, location, geoip, geoip_hindered: _ } = clients;
    let mut env = Vec::new();
    if let Some(proxies) = proxies {
        env.push(workload::env("CONVENE_TRUSTED_PROXIES", proxies.trusted.join(",")));
        if proxies.header == ForwardedHeader::Forwarded {
            env.push(workload::env("CONVENE_FORWARDED_HEADER", "forwarded"));
        }
    }
    if *location == ClientLocation::Ignored {
        env.push(workload::env("CONVENE_DISTRUST_LOCATION", "true"));
    }
    if let Some(geoip) = geoip {
        env.extend(of_database(geoip));
    }
    env
}

fn of_database(geoip: &GeoIp) -> Vec<EnvVar> {
    let mut env = Vec::new();
    if let Some(file) = file(geoip) {
        let files: Vec<String> = file.files().map(|file| format!("{FOLDER}/{file}")).collect();
        env.push(workload::env("CONVENE_GEOIP_FILE", files.join(",")));
    }
    if let Some(Download { urls, every_hours, ca_config_map_ref }) = &geoip.download {
        env.push(workload::env("CONVENE_GEOIP_URL", urls.join(",")));
        env.push(workload::env("CONVENE_GEOIP_FOLDER", FOLDER));
        env.push(workload::env("CONVENE_GEOIP_EVERY_HOURS", every_hours.to_string()));
        let ca = ca_config_map_ref.as_ref().map(|ca| format!("{CA_FOLDER}/{}", ca.key));
        env.extend(ca.map(|ca| workload::env("CONVENE_GEOIP_CA", ca)));
    }
    env.push(workload::env("CONVENE_GEOIP_MAX_AGE_DAYS", geoip.max_age_days.to_string()));
    env
}

fn file(geoip: &GeoIp) -> Option<&FileOf> {
    geoip.secret_ref.as_ref().or(geoip.config_map_ref.as_ref()).or(geoip.volume_claim_ref.as_ref())
}

/// The way to those who have the databases: where their hosts are, no selector can say.
pub(super) fn egress(clients: &Clients) -> Option<NetworkPolicyEgressRule> {
    let download = clients.geoip.as_ref()?.download.as_ref()?;
    let mut ports: Vec<u16> = download.urls.iter().filter_map(|url| port(url)).collect();
    ports.sort_unstable();
    ports.dedup();
    Some(policy::egress_anywhere(&ports))
}

fn port(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    match authority.split_once(':') {
        Some((_, port)) => port.parse().ok(),
        None => Some(if scheme == "https" { 443 } else { 80 }),
    }
}

/// The volumes with the databases. None of them need be there: without it the lobby starts all the same. Of a claim, the
/// kubelet does not know that, so one that is missing is not mounted; the process misses its file, and says so.
pub(super) fn volumes(clients: &Clients) -> Vec<(Volume, &'static str)> {
    let Some(geoip) = &clients.geoip else { return vec![] };
    if let Some(Hindered::NoClaim(_)) = clients.geoip_hindered {
        return vec![];
    }
    let mut volumes = vec![(of_databases(geoip), FOLDER)];
    let authorities = geoip.download.as_ref().and_then(|download| download.ca_config_map_ref.as_ref());
    volumes.extend(authorities.map(|authorities| (of_authorities(authorities), CA_FOLDER)));
    volumes
}

fn of_databases(geoip: &GeoIp) -> Volume {
    let GeoIp { secret_ref, config_map_ref, volume_claim_ref, download, max_age_days: _ } = geoip;
    let items = |file: &FileOf| Some(file.files().map(|key| item(key)).collect());
    let secret = secret_ref.as_ref().map(|file| SecretVolumeSource {
        secret_name: Some(file.name.clone()),
        items: items(file),
        default_mode: Some(0o440),
        optional: Some(true),
    });
    let config_map = config_map_ref.as_ref().map(|file| ConfigMapVolumeSource {
        name: file.name.clone(),
        items: items(file),
        optional: Some(true),
        ..ConfigMapVolumeSource::default()
    });
    let claim = volume_claim_ref
        .as_ref()
        .map(|file| PersistentVolumeClaimVolumeSource { claim_name: file.name.clone(), read_only: Some(true) });
    // Who fills it beyond its limit is evicted. Of each there may be the last one, and the next one packed and unpacked.
    let room = |download: &Download| Quantity(format!("{}Mi", download.urls.len() * 3 * MAX_DATABASE_MIB as usize));
    let scratch =
        download.as_ref().map(|download| EmptyDirVolumeSource { medium: None, size_limit: Some(room(download)) });
    let name = "places".to_owned();
    Volume { name, secret, config_map, persistent_volume_claim: claim, empty_dir: scratch, ..Volume::default() }
}

fn of_authorities(authorities: &Authorities) -> Volume {
    let config_map = ConfigMapVolumeSource {
        name: authorities.name.clone(),
        items: Some(vec![item(&authorities.key)]),
        optional: Some(true),
        ..ConfigMapVolumeSource::default()
    };
    Volume { name: "places-ca".to_owned(), config_map: Some(config_map), ..Volume::default() }
}

fn item(key: &str) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path: key.to_owned(), mode: None }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use serde_json::json;

    use super::*;

    fn clients(geoip: serde_json::Value) -> Clients {
        Clients { geoip: Some(serde_json::from_value(geoip).expect("a source")), ..Clients::default() }
    }

    #[test]
    fn all_files_are_mounted_and_read() {
        let file = json!({"name": "places", "key": "v4.mmdb", "moreKeys": ["v6.mmdb", "asn.mmdb"]});
        let clients = clients(json!({"secretRef": file, "maxAgeDays": 30}));
        let files = env(&clients).into_iter().find(|env| env.name == "CONVENE_GEOIP_FILE").and_then(|env| env.value);
        let expected = "/etc/convene/places/v4.mmdb,/etc/convene/places/v6.mmdb,/etc/convene/places/asn.mmdb";
        assert_eq!(files.as_deref(), Some(expected));
        let [(volume, _)] = &volumes(&clients)[..] else { unreachable!("one volume") };
        let items = volume.secret.clone().expect("a Secret").items.expect("items");
        assert_eq!(items.iter().map(|item| &item.path).collect::<Vec<_>>(), ["v4.mmdb", "v6.mmdb", "asn.mmdb"]);
        assert!(egress(&clients).is_none());
    }

    #[test]
    fn a_claim_that_is_not_there_is_not_mounted_and_its_file_is_missed() {
        let clients = clients(json!({"volumeClaimRef": {"name": "places"}, "maxAgeDays": 30}));
        assert_eq!(volumes(&clients).len(), 1);
        let missing = Clients { geoip_hindered: Some(Hindered::NoClaim("places".to_owned())), ..clients };
        assert_eq!(volumes(&missing), vec![]);
        assert!(env(&missing).iter().any(|env| env.name == "CONVENE_GEOIP_FILE"));
    }

    #[test]
    fn the_way_to_downloads_is_open_and_they_have_room() {
        let urls =
            ["https://a.example/b/c.mmdb", "http://d.example/e.mmdb", "https://f:8443/g.mmdb", "https://h/i.mmdb"];
        let clients = clients(json!({"download": {"urls": urls}}));
        let ports = egress(&clients).and_then(|rule| rule.ports).expect("ports");
        let ports: Vec<_> = ports.into_iter().filter_map(|port| port.port).collect();
        assert_eq!(ports, [80, 443, 8443].map(IntOrString::Int));
        let [(volume, folder)] = &volumes(&clients)[..] else { unreachable!("one volume") };
        assert_eq!(*folder, FOLDER);
        let room = volume.empty_dir.clone().expect("scratch space").size_limit;
        assert_eq!(room, Some(Quantity("6144Mi".to_owned())));
    }
}
