//! A stable address for one server: its Service and, where asked for, its Ingress; and what address that gives.

use k8s_openapi::api::core::v1::{Node, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names::{Labels, PUBLIC_PORT};
use super::{Child, ChildKind, meta};
use crate::api::common::IngressExposure;
use crate::decide::valid::{Exposed, Owner};

/// Name of the public port in pods and Services.
pub(super) const PORT_NAME: &str = "public";

/// One server that gets an address.
pub(super) struct Server<'a> {
    pub(super) owner: &'a Owner,
    pub(super) exposed: &'a Exposed,
    /// Name of Service and Ingress, and host name under the Ingress' domain: unique in the namespace.
    pub(super) name: &'a str,
    pub(super) labels: Labels,
    pub(super) selector: Labels,
    /// There is one pod, and clients' addresses matter to it: keep traffic on its node, ready or not.
    pub(super) single_pod: bool,
    /// The server itself speaks TLS.
    pub(super) is_tls: bool,
    /// Domain under which its name stands for its address.
    pub(super) domain: Option<&'a str>,
}

/// Service and, where exposed so, Ingress of a server.
pub(super) fn address(server: &Server<'_>) -> Vec<Child> {
    let mut children = vec![Child::new(ChildKind::Service, service(server))];
    if let Exposed::Ingress(settings) = server.exposed {
        children.push(Child::new(ChildKind::Ingress, ingress(server, settings)));
    }
    children
}

fn service(server: &Server<'_>) -> Service {
    let mut metadata = meta(server.owner, server.name.to_owned(), server.labels.clone());
    let (type_, class) = match server.exposed {
        Exposed::Internal | Exposed::Ingress(_) => ("ClusterIP", None),
        Exposed::NodePort => ("NodePort", None),
        Exposed::LoadBalancer(settings) => {
            metadata.annotations = (!settings.annotations.is_empty()).then(|| settings.annotations.clone());
            ("LoadBalancer", settings.class.clone())
        }
    };
    let outside = matches!(server.exposed, Exposed::NodePort | Exposed::LoadBalancer(_));
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            load_balancer_class: class,
            selector: Some(server.selector.clone()),
            // A leaving relay still takes the members of its sessions; the lobby alone decides who else goes there.
            publish_not_ready_addresses: server.single_pod.then_some(true),
            // Keeps clients' addresses, on which the relay's limits count.
            external_traffic_policy: (server.single_pod && outside).then(|| "Local".to_owned()),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                port: PUBLIC_PORT,
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn ingress(server: &Server<'_>, settings: &IngressExposure) -> Ingress {
    let mut metadata = meta(server.owner, server.name.to_owned(), server.labels.clone());
    metadata.annotations = (!settings.annotations.is_empty()).then(|| settings.annotations.clone());
    let host = format!("{}.{}", server.name, settings.domain);
    let backend = IngressServiceBackend {
        name: server.name.to_owned(),
        port: Some(ServiceBackendPort { name: Some(PORT_NAME.to_owned()), number: None }),
    };
    let path = HTTPIngressPath {
        path: Some("/".to_owned()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend { service: Some(backend), resource: None },
    };
    let tls = settings
        .tls_secret_name
        .as_ref()
        .map(|secret| vec![IngressTLS { hosts: Some(vec![host.clone()]), secret_name: Some(secret.clone()) }]);
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: settings.class_name.clone(),
            rules: Some(vec![IngressRule { host: Some(host), http: Some(HTTPIngressRuleValue { paths: vec![path] }) }]),
            tls,
            default_backend: None,
        }),
        status: None,
    }
}

/// What is known of a server's address after its children were applied.
pub(super) struct Observed<'a> {
    pub(super) service: Option<&'a Service>,
    pub(super) ingress: Option<&'a Ingress>,
    /// The node whose port is offered.
    pub(super) node: Option<&'a Node>,
}

/// Host and port of a server, and whether clients meet TLS there; nothing until it has an address.
pub(super) fn authority(server: &Server<'_>, observed: &Observed<'_>) -> Option<(String, bool)> {
    let (host, port) = match server.exposed {
        Exposed::Internal => (format!("{}.{}.svc", server.name, server.owner.namespace), PUBLIC_PORT),
        Exposed::NodePort => {
            let ports = observed.service?.spec.as_ref()?.ports.as_ref()?;
            let port = ports.iter().find_map(|port| port.node_port)?;
            (bracketed(&node_address(observed.node?)?), port)
        }
        Exposed::LoadBalancer(_) => {
            let balancer = observed.service?.status.as_ref()?.load_balancer.as_ref()?;
            let entry = balancer.ingress.as_ref()?.first()?;
            (entry.hostname.clone().or_else(|| entry.ip.as_deref().map(bracketed))?, PUBLIC_PORT)
        }
        Exposed::Ingress(settings) => {
            let status = observed.ingress?.status.as_ref()?.load_balancer.as_ref()?;
            status.ingress.as_ref().filter(|entries| !entries.is_empty())?;
            return Some((format!("{}.{}", server.name, settings.domain), settings.tls_secret_name.is_some()));
        }
    };
    let host = server.domain.map_or(host, |domain| format!("{}.{domain}", server.name));
    Some((format!("{host}:{port}"), server.is_tls))
}

/// External address of a node, or its internal one where it has none.
fn node_address(node: &Node) -> Option<String> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let of_type = |type_: &str| addresses.iter().find(|a| a.type_ == type_).map(|a| a.address.clone());
    of_type("ExternalIP").or_else(|| of_type("InternalIP"))
}

/// IPv6 addresses stand in brackets in URLs.
fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}
