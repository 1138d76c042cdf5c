//! What a lobby's processes are told of their clients' addresses: the proxies before them, and the database of places, which
//! is mounted and read by the process.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EnvVar, KeyToPath, PersistentVolumeClaimVolumeSource, SecretVolumeSource, Volume,
};

use super::workload;
use crate::api::places::{ClientLocation, FileOf, ForwardedHeader, GeoIp};
use crate::decide::valid::Clients;

/// Where the database is mounted.
const FOLDER: &str = "/etc/convene/places";

pub(super) fn env(clients: &Clients) -> Vec<EnvVar> {
    let Clients { proxies, location, geoip, missing_claim: _ } = clients;
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
    if let Some((geoip, file)) = geoip.as_ref().and_then(|geoip| Some((geoip, file(geoip)?))) {
        let files: Vec<String> = file.files().map(|file| format!("{FOLDER}/{file}")).collect();
        env.push(workload::env("CONVENE_GEOIP_FILE", files.join(",")));
        env.push(workload::env("CONVENE_GEOIP_MAX_AGE_DAYS", geoip.max_age_days.to_string()));
    }
    env
}

fn file(geoip: &GeoIp) -> Option<&FileOf> {
    geoip.secret_ref.as_ref().or(geoip.config_map_ref.as_ref()).or(geoip.volume_claim_ref.as_ref())
}

/// The volume with the database. None of it need be there: without it the lobby starts all the same. Of a claim, the kubelet
/// does not know that, so one that is missing is not mounted; the process misses its file, and says so.
pub(super) fn volume(clients: &Clients) -> Option<(Volume, &'static str)> {
    if clients.missing_claim.is_some() {
        return None;
    }
    let GeoIp { secret_ref, config_map_ref, volume_claim_ref, max_age_days: _ } = clients.geoip.as_ref()?;
    let item = |key: &String| KeyToPath { key: key.clone(), path: key.clone(), mode: None };
    let items = |file: &FileOf| Some(file.files().map(item).collect());
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
    let name = "places".to_owned();
    let volume = Volume { name, secret, config_map, persistent_volume_claim: claim, ..Volume::default() };
    Some((volume, FOLDER))
}

#[cfg(test)]
mod tests {
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
        let (volume, _) = volume(&clients).expect("a volume");
        let items = volume.secret.expect("a Secret").items.expect("items");
        assert_eq!(items.iter().map(|item| &item.path).collect::<Vec<_>>(), ["v4.mmdb", "v6.mmdb", "asn.mmdb"]);
    }

    #[test]
    fn a_claim_that_is_not_there_is_not_mounted_and_its_file_is_missed() {
        let clients = clients(json!({"volumeClaimRef": {"name": "places"}, "maxAgeDays": 30}));
        assert!(volume(&clients).is_some());
        let missing = Clients { missing_claim: Some("places".to_owned()), ..clients };
        assert!(volume(&missing).is_none());
        assert!(env(&missing).iter().any(|env| env.name == "CONVENE_GEOIP_FILE"));
    }
}
