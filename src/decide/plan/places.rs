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
    let Clients { proxies, location, geoip } = clients;
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
        env.push(workload::env("CONVENE_GEOIP_FILE", format!("{FOLDER}/{}", file.key)));
        env.push(workload::env("CONVENE_GEOIP_MAX_AGE_DAYS", geoip.max_age_days.to_string()));
    }
    env
}

fn file(geoip: &GeoIp) -> Option<&FileOf> {
    geoip.secret_ref.as_ref().or(geoip.config_map_ref.as_ref()).or(geoip.volume_claim_ref.as_ref())
}

/// The volume with the database. A Secret or ConfigMap need not be there: without it the lobby starts all the same.
pub(super) fn volume(clients: &Clients) -> Option<(Volume, &'static str)> {
    let GeoIp { secret_ref, config_map_ref, volume_claim_ref, max_age_days: _ } = clients.geoip.as_ref()?;
    let items = |file: &FileOf| Some(vec![KeyToPath { key: file.key.clone(), path: file.key.clone(), mode: None }]);
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
