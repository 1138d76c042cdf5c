//! What a plan tells a process, the process understands: its environment, files and ports as planned are those of its
//! arguments, and nothing that it must be told is missing.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::{Args, Command, FromArgMatches};
use convene::decide::plan::{Plan, names};
use convene::process::{control, geoip};
use convene::wire::table::TABLE_KEY;
use convene::{lobby, operator, relay, router};
use k8s_openapi::api::core::v1::PodSpec;
use kube::ResourceExt as _;

use crate::cluster::Cluster;
use crate::examples;
use crate::properties::pods;

#[test]
fn a_lobby_starts_with_what_its_pod_gives_it() {
    for example in examples::all() {
        for (name, plan) in Cluster::of(&example).lobby_plans() {
            let pod = only_pod(plan);
            let args: lobby::Args = started("lobby", &pod);
            assert_eq!(i32::from(args.listen.port()), names::PUBLIC_PORT);
            assert_eq!(i32::from(args.health_listen.port()), names::HEALTH_PORT);
            let keys = [names::SIGNING_KEY, names::ADMIN_TOKEN].map(|key| args.keys_dir.join(key));
            assert!(keys.iter().all(|file| mounted(&pod, file)), "{name}: {keys:?} are not mounted");
            assert!(mounted(&pod, &args.table_file), "{name}: {} is not mounted", args.table_file.display());
            assert_eq!(args.table_file.file_name().and_then(|file| file.to_str()), Some(TABLE_KEY));
            assert!(args.table_config_map.is_some(), "{name}: it would not follow its ConfigMap");
            assert_eq!(i32::from(args.link.listen.port()), names::LINK_PORT);
            for file in [&args.link.certificate, &args.link.key] {
                let file = file.as_ref().expect("relays link by TLS");
                assert!(held(&pod, file), "{name}: nothing mounted has {}", file.display());
            }
            control_port_is_secure(name, &pod, &args.control);
            databases_have_their_place(name, &pod, &args.origins.geoip);
        }
    }
}

#[test]
fn a_router_starts_with_what_its_pod_gives_it() {
    let mut seen = 0;
    for example in examples::all() {
        for (name, plan) in Cluster::of(&example).lobby_plans() {
            let is_router = |pod: &PodSpec| pod.containers[0].name == "router";
            let Some((_, pod)) = pods(plan).into_iter().find(|(_, pod)| is_router(pod)) else { continue };
            seen += 1;
            let args: router::Args = started("router", &pod);
            assert_eq!(i32::from(args.listen.port()), names::PUBLIC_PORT);
            assert_eq!(i32::from(args.health_listen.port()), names::HEALTH_PORT);
            let ports: Vec<i32> = args.dns_listen.iter().map(|address| i32::from(address.port())).collect();
            assert_eq!(ports, [names::DNS_PORT]);
            assert!(mounted(&pod, &args.table_file), "{name}: {} is not mounted", args.table_file.display());
            assert_eq!(args.table_file.file_name().and_then(|file| file.to_str()), Some(TABLE_KEY));
            assert!(args.table_config_map.is_some(), "{name}: it would not follow its ConfigMap");
            assert!(
                args.lobby_url.is_some_and(|url| url.starts_with("https://")),
                "{name}: it would ask its lobby plainly"
            );
            let authority = args.lobby_ca.as_ref().expect("an authority");
            assert!(mounted(&pod, authority), "{name}: {} is not mounted", authority.display());
            assert_eq!(authority.file_name().and_then(|file| file.to_str()), Some(names::AUTHORITY));
            databases_have_their_place(name, &pod, &args.geoip);
        }
    }
    assert!(seen > 0, "no example has a router");
}

#[test]
fn a_relay_starts_with_what_its_pod_gives_it() {
    for example in examples::all() {
        let cluster = Cluster::of(&example);
        let ours =
            |name: &str| example.pools.iter().any(|pool| pool.name_any() == name && pool.spec.lobby_ref.is_some());
        for (name, plan) in cluster.pool_plans().filter(|(name, _)| ours(name)) {
            let pod = only_pod(plan);
            let args: relay::Args = started("relay", &pod);
            assert_eq!(i32::from(args.listen.port()), names::PUBLIC_PORT);
            assert_eq!(i32::from(args.health_listen.port()), names::HEALTH_PORT);
            control_port_is_secure(name, &pod, &args.control);
            let proof = args.pool.pool_key.as_ref().unwrap_or(&args.identity_file);
            assert!(mounted(&pod, proof), "{name}: {} is not mounted", proof.display());
            assert!(args.lobby_uid.is_some() != args.pool.pool_key.is_some(), "{name}: whose tokens does it take?");
            assert!(mounted(&pod, &args.pool.addresses_file), "{name}: it would not know its address");
            assert!(mounted(&pod, &args.jwks_file), "{name}: {} is not mounted", args.jwks_file.display());
            assert_eq!(args.jwks_file.file_name().and_then(|file| file.to_str()), Some(names::JWKS));
            assert!(args.lobby_url.starts_with("https://"), "{name}: its link would be plain: {}", args.lobby_url);
            let authority = args.lobby_ca.as_ref().expect("an authority");
            assert!(mounted(&pod, authority), "{name}: {} is not mounted", authority.display());
            assert_eq!(authority.file_name().and_then(|file| file.to_str()), Some(names::AUTHORITY));
            let grace = pod.termination_grace_period_seconds.expect("it has time to leave");
            let drain = i64::try_from(args.drain_seconds).expect("seconds");
            assert!(
                grace > drain,
                "{name}: the kubelet kills it after {grace} s, in the middle of its drain of {drain} s"
            );
        }
    }
}

#[test]
fn the_chart_tells_the_operator_only_what_it_reads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/convene/templates/deployment.yaml");
    let template = std::fs::read_to_string(path).expect("the template is text");
    let told =
        template.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("CONVENE_"));
    let command = operator::Args::augment_args(Command::new("operator"));
    for variable in told.filter(|name| !OF_ALL.contains(name)) {
        let read = command.get_arguments().any(|argument| argument.get_env().is_some_and(|env| env == variable));
        assert!(read, "charts/convene/templates/deployment.yaml: {variable} is read by nobody: see operator::Args");
    }
}

fn control_port_is_secure(name: &str, pod: &PodSpec, args: &control::Args) {
    assert_eq!(args.listen, (Ipv4Addr::UNSPECIFIED, u16::try_from(names::CONTROL_PORT).expect("a port")).into());
    for file in [&args.certificate, &args.key, &args.authorities] {
        let file = file.as_ref().expect("the control port speaks TLS, or it would answer nobody");
        assert!(held(pod, file), "{name}: nothing mounted has {}", file.display());
    }
}

/// Variables that every process reads; main.rs declares them.
const OF_ALL: [&str; 2] = ["CONVENE_LOG", "CONVENE_LOG_FORMAT"];

fn only_pod(plan: &Plan) -> PodSpec {
    pods(plan).remove(0).1
}

/// Arguments of a process as its Pod's environment gives them.
fn started<A: Args + FromArgMatches>(name: &'static str, pod: &PodSpec) -> A {
    let command = A::augment_args(Command::new(name));
    let mut line = vec![name.to_owned()];
    for variable in pod.containers[0].env.iter().flatten().filter(|variable| !OF_ALL.contains(&variable.name.as_str()))
    {
        let argument =
            command.get_arguments().find(|argument| argument.get_env().is_some_and(|env| *env == *variable.name));
        let argument = argument.unwrap_or_else(|| panic!("`convene {name}` does not read {}", variable.name));
        line.push(format!("--{}", argument.get_long().expect("every argument has a long name")));
        let value = variable.value.clone().unwrap_or_else(|| "from-the-pod".to_owned());
        if argument.get_action().takes_values() {
            line.push(value);
        } else {
            assert_eq!(value, "true", "{} is set, or it is not there", variable.name);
        }
    }
    let matches = command.try_get_matches_from(line).unwrap_or_else(|error| panic!("`convene {name}`: {error}"));
    A::from_arg_matches(&matches).expect("they were just matched")
}

/// Whether a volume that is mounted at the file's folder projects this file.
fn held(pod: &PodSpec, file: &Path) -> bool {
    let folder = file.parent().map(PathBuf::from).unwrap_or_default();
    let mut mounts = pod.containers[0].volume_mounts.iter().flatten();
    let Some(mount) = mounts.find(|mount| Path::new(&mount.mount_path) == folder) else { return false };
    let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name);
    let sources = volume.and_then(|volume| volume.projected.as_ref()?.sources.clone()).unwrap_or_default();
    let secrets = sources.iter().filter_map(|source| source.secret.as_ref()?.items.clone());
    let maps = sources.iter().filter_map(|source| source.config_map.as_ref()?.items.clone());
    secrets.chain(maps).flatten().any(|item| file.ends_with(&item.path))
}

/// What is mounted is read, and what is downloaded is kept where the process may write.
fn databases_have_their_place(name: &str, pod: &PodSpec, geoip: &geoip::Args) {
    assert!(geoip.geoip_file.iter().all(|file| mounted(pod, file)), "{name}: no database of places");
    let download = &geoip.download;
    assert!(download.geoip_ca.iter().all(|file| mounted(pod, file)), "{name}: no authorities of a mirror");
    assert_eq!(download.geoip_url.is_empty(), download.geoip_folder.is_none(), "{name}");
    if let Some(folder) = &download.geoip_folder {
        let mut mounts = pod.containers[0].volume_mounts.iter().flatten();
        let mount = mounts.find(|mount| Path::new(&mount.mount_path) == folder);
        assert!(mount.is_some_and(|mount| mount.read_only != Some(true)), "{name}: it cannot write to {folder:?}");
    }
}

/// Whether a volume is mounted at the file's folder.
fn mounted(pod: &PodSpec, file: &Path) -> bool {
    let folder = file.parent().map(PathBuf::from).unwrap_or_default();
    pod.containers[0].volume_mounts.iter().flatten().any(|mount| Path::new(&mount.mount_path) == folder)
}
