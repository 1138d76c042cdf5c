//! What the routers of a lobby need in the cluster: they read the lobby's table as its own processes do, and ask the lobby at
//! the port of the relay link how its regions are, under the lobby's own authority. They have no key and no Secret but a
//! database of places that may be in one.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, ContainerPort, EnvVar, KeyToPath, PodTemplateSpec, Service, ServicePort, ServiceSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names::{self, AUTHORITY, DNS_PORT, HEALTH_PORT, LINK_PORT, PUBLIC_PORT};
use super::workload::{self, Workload};
use super::{Child, ChildKind, OperatorConfig, meta, places, policy, rights, service, to_lobby};
use crate::api::PodOverrides;
use crate::api::dns::{Dns, DnsStatus, Nameserver};
use crate::decide::valid::{Exposed, ValidLobby};
use crate::wire::table::TABLE_KEY;

/// Names of the ports for questions by UDP and by TCP.
const UDP: &str = "dns";
const TCP: &str = "dns-tcp";
/// Where the table is mounted.
const TABLE_FOLDER: &str = "/etc/convene/table";

/// All children of a lobby's routers.
pub(super) fn children(lobby: &ValidLobby, dns: &Dns, config: &OperatorConfig) -> Vec<Child> {
    let owner = &lobby.owner;
    let name = names::lobby_dns(&owner.name);
    let (labels, selector) = (names::lobby_labels(&owner.name), names::lobby_dns_selector(&owner.name));
    let mut to = vec![
        policy::egress_anywhere(&config.api_server_ports),
        policy::egress_to(&owner.namespace, names::lobby_selector(&owner.name), &[LINK_PORT]),
    ];
    to.extend(places::egress(&lobby.clients));
    vec![
        rights::service_account(owner, name.clone(), labels.clone()),
        // The lobby's own: to read its one ConfigMap, and nothing else.
        rights::role_binding(owner, name.clone(), labels.clone(), names::lobby(&owner.name)),
        policy::of_routers(meta(owner, name.clone(), labels.clone()), selector.clone(), to),
        policy::disruption_budget(owner, name, labels, selector),
        Child::new(ChildKind::Service, address(lobby, dns)),
        Child::new(ChildKind::Deployment, deployment(lobby, dns, config)),
    ]
}

/// What is seen of them.
pub fn status(deployment: Option<&Deployment>, service: Option<&Service>) -> DnsStatus {
    let ready = deployment.and_then(|deployment| deployment.status.as_ref()?.ready_replicas).unwrap_or(0);
    let balancer = service.and_then(|service| service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref());
    let addresses = balancer.into_iter().flatten().filter_map(|entry| entry.ip.clone().or(entry.hostname.clone()));
    DnsStatus { ready, addresses: addresses.collect() }
}

fn address(lobby: &ValidLobby, dns: &Dns) -> Service {
    let owner = &lobby.owner;
    let mut metadata = meta(owner, names::lobby_dns(&owner.name), names::lobby_labels(&owner.name));
    let (type_, class) = match Exposed::from(dns.exposure.as_ref()) {
        // The API server lets no Ingress in.
        Exposed::Internal | Exposed::Ingress(_) => ("ClusterIP", None),
        Exposed::NodePort => ("NodePort", None),
        Exposed::LoadBalancer(settings) => {
            metadata.annotations = (!settings.annotations.is_empty()).then(|| settings.annotations.clone());
            ("LoadBalancer", settings.class)
        }
    };
    let port = |name: &str, port, to: &str, protocol: &str| ServicePort {
        name: Some(name.to_owned()),
        port,
        target_port: Some(IntOrString::String(to.to_owned())),
        protocol: Some(protocol.to_owned()),
        ..ServicePort::default()
    };
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            load_balancer_class: class,
            selector: Some(names::lobby_dns_selector(&owner.name)),
            // Keeps resolvers' addresses, by which they are placed and limited.
            external_traffic_policy: (type_ != "ClusterIP").then(|| "Local".to_owned()),
            ports: Some(vec![
                port(UDP, 53, UDP, "UDP"),
                port(TCP, 53, TCP, "TCP"),
                port("http", 80, service::PORT_NAME, "TCP"),
            ]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn deployment(lobby: &ValidLobby, dns: &Dns, config: &OperatorConfig) -> Deployment {
    let owner = &lobby.owner;
    let name = names::lobby_dns(&owner.name);
    let workload = Workload {
        command: "router",
        env: env(lobby, dns),
        ports: vec![(service::PORT_NAME, PUBLIC_PORT), ("health", HEALTH_PORT), (TCP, DNS_PORT)],
        volumes: volumes(lobby),
        service_account: name.clone(),
        api_token: true,
        grace_seconds: 10,
    };
    // Where the lobby's pods may run; what else is said of these is not of routers.
    let template = PodOverrides { env: vec![], resources: dns.resources.clone(), ..lobby.template.clone() };
    let metadata = workload::pod_labels(&template, names::lobby_dns_labels(&owner.name));
    let mut spec = workload::pod_spec(workload, &template, config);
    let udp = ContainerPort { protocol: Some("UDP".to_owned()), ..workload::container_port(UDP, DNS_PORT) };
    for container in &mut spec.containers {
        container.ports.get_or_insert_default().push(udp.clone());
    }
    Deployment {
        metadata: meta(owner, name, names::lobby_labels(&owner.name)),
        spec: Some(DeploymentSpec {
            replicas: Some(dns.replicas),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            selector: LabelSelector {
                match_labels: Some(names::lobby_dns_selector(&owner.name)),
                match_expressions: None,
            },
            template: PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn env(lobby: &ValidLobby, dns: &Dns) -> Vec<EnvVar> {
    let owner = &lobby.owner;
    let nameserver = |Nameserver { name, addresses }: &Nameserver| match addresses.as_slice() {
        [] => name.clone(),
        some => format!("{name}={}", some.join("+")),
    };
    let nameservers: Vec<String> = dns.nameservers.iter().map(nameserver).collect();
    let settings = [
        ("CONVENE_DNS_ZONE", dns.zone.clone()),
        ("CONVENE_DNS_NAMESERVERS", nameservers.join(",")),
        ("CONVENE_DNS_TTL", dns.ttl_seconds.to_string()),
        ("CONVENE_DNS_RATE", dns.rate_per_network.to_string()),
        ("CONVENE_TABLE_CONFIG_MAP", format!("{}/{}", owner.namespace, names::lobby(&owner.name))),
        ("CONVENE_LOBBY_URL", names::lobby_link_url(&owner.namespace, &owner.name)),
        ("CONVENE_LOBBY_CA", format!("{}/{AUTHORITY}", to_lobby::FOLDER)),
    ];
    let settings = settings.into_iter().map(|(name, value)| workload::env(name, value));
    // Who stands before the lobby's API may stand before the port that redirects to it, and is believed there as well.
    settings.chain(places::env(&lobby.clients)).collect()
}

fn volumes(lobby: &ValidLobby) -> Vec<(Volume, &'static str)> {
    let of = |name: &str, key: &str| {
        let source = ConfigMapVolumeSource {
            name: names::lobby(&lobby.owner.name),
            items: Some(vec![KeyToPath { key: key.to_owned(), path: key.to_owned(), mode: None }]),
            optional: Some(true),
            ..ConfigMapVolumeSource::default()
        };
        Volume { name: name.to_owned(), config_map: Some(source), ..Volume::default() }
    };
    let mut volumes = vec![(of("table", TABLE_KEY), TABLE_FOLDER), (of("lobby", AUTHORITY), to_lobby::FOLDER)];
    volumes.extend(places::volumes(&lobby.clients));
    volumes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decide::fixtures::{self, NamespaceLabels};
    use crate::decide::valid;

    #[test]
    fn routers_believe_whom_the_lobby_believes() {
        let dns = json!({"zone": "r.example.com", "nameservers": [{"name": "ns.example.net"}]});
        let spec = json!({
            "proxies": {"trusted": ["10.0.0.0/8", "192.0.2.1"], "header": "Forwarded"},
            "routing": {"clientLocation": "Ignored", "dns": dns},
        });
        let (lobby, labels) = (fixtures::lobby("here", "hub", spec), NamespaceLabels::new());
        let lobby = valid::lobby(fixtures::lobby_inputs(&lobby, &labels)).expect("valid");
        let env = env(&lobby, lobby.dns.as_ref().expect("routers"));
        let value = |name: &str| env.iter().find(|env| env.name == name)?.value.as_deref();
        assert_eq!(value("CONVENE_TRUSTED_PROXIES"), Some("10.0.0.0/8,192.0.2.1"));
        assert_eq!(value("CONVENE_FORWARDED_HEADER"), Some("forwarded"));
        assert_eq!(value("CONVENE_DISTRUST_LOCATION"), Some("true"));
    }
}
