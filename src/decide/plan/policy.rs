//! Network policies and disruption budgets.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names::{self, DNS_PORT, HEALTH_PORT, Labels, PUBLIC_PORT};
use super::{Child, ChildKind, meta};
use crate::api::LABEL_OCCUPIED;
use crate::decide::valid::Owner;

/// Who may talk to a server, and to whom it talks.
pub(super) struct Traffic {
    /// Ports that only pods with these labels reach, of any namespace.
    pub(super) from_pods: Vec<(i32, Labels)>,
    /// Ports that only pods of this namespace reach.
    pub(super) from_namespace: Vec<(i32, String)>,
    /// Where the server connects to, besides DNS.
    pub(super) to: Vec<NetworkPolicyEgressRule>,
}

/// The network policy of a server: its public port is open, its health port is open to the cluster.
pub(super) fn network_policy(owner: &Owner, name: String, labels: Labels, pods: Labels, traffic: Traffic) -> Child {
    let mut ingress = vec![
        NetworkPolicyIngressRule { from: None, ports: Some(vec![tcp(PUBLIC_PORT)]) },
        NetworkPolicyIngressRule { from: Some(vec![any_pod()]), ports: Some(vec![tcp(HEALTH_PORT)]) },
    ];
    ingress.extend(traffic.from_pods.into_iter().map(|(port, pods)| NetworkPolicyIngressRule {
        from: Some(vec![NetworkPolicyPeer { pod_selector: Some(matching(pods)), ..any_pod() }]),
        ports: Some(vec![tcp(port)]),
    }));
    ingress.extend(traffic.from_namespace.into_iter().map(|(port, namespace)| NetworkPolicyIngressRule {
        from: Some(vec![in_namespace(&namespace, None)]),
        ports: Some(vec![tcp(port)]),
    }));
    policy_of(meta(owner, name, labels), pods, ingress, traffic.to)
}

/// The network policy of relays of another image: the port of this name is open, that other one to a namespace. Names, since
/// relays of before have the numbers that they were made with. The relays themselves ask for names and talk to nobody.
pub(super) fn by_port_names(
    metadata: ObjectMeta,
    pods: Labels,
    open: &str,
    from_namespace: Option<(&str, &str)>,
) -> Child {
    let mut ingress = vec![NetworkPolicyIngressRule { from: None, ports: Some(vec![tcp_named(open)]) }];
    ingress.extend(from_namespace.map(|(port, namespace)| NetworkPolicyIngressRule {
        from: Some(vec![in_namespace(namespace, None)]),
        ports: Some(vec![tcp_named(port)]),
    }));
    policy_of(metadata, pods, ingress, vec![])
}

/// The network policy of a lobby's routers: everybody may ask them, by DNS and by HTTP.
pub(super) fn of_routers(metadata: ObjectMeta, pods: Labels, to: Vec<NetworkPolicyEgressRule>) -> Child {
    let open = vec![udp(DNS_PORT), tcp(DNS_PORT), tcp(PUBLIC_PORT)];
    let ingress = vec![
        NetworkPolicyIngressRule { from: None, ports: Some(open) },
        NetworkPolicyIngressRule { from: Some(vec![any_pod()]), ports: Some(vec![tcp(HEALTH_PORT)]) },
    ];
    policy_of(metadata, pods, ingress, to)
}

/// Besides what is listed, servers ask for names.
fn policy_of(
    metadata: ObjectMeta,
    pods: Labels,
    ingress: Vec<NetworkPolicyIngressRule>,
    to: Vec<NetworkPolicyEgressRule>,
) -> Child {
    let names = NetworkPolicyEgressRule { to: Some(vec![any_pod()]), ports: Some(vec![udp(53), tcp(53)]) };
    let policy = NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(matching(pods)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress),
            egress: Some(std::iter::once(names).chain(to).collect()),
        }),
    };
    Child::new(ChildKind::NetworkPolicy, policy)
}

/// The network policy of a server that only some pods of its namespace reach, at one port, and that itself talks to nobody.
pub(super) fn only_from(owner: &Owner, name: String, pods: Labels, from: Labels, port: i32) -> Child {
    let peer = NetworkPolicyPeer { pod_selector: Some(matching(from)), namespace_selector: None, ip_block: None };
    let policy = NetworkPolicy {
        metadata: meta(owner, name, names::lobby_labels(&owner.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(matching(pods)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule { from: Some(vec![peer]), ports: Some(vec![tcp(port)]) }]),
            egress: None,
        }),
    };
    Child::new(ChildKind::NetworkPolicy, policy)
}

/// Evictions one at a time.
pub(super) fn disruption_budget(owner: &Owner, name: String, labels: Labels, pods: Labels) -> Child {
    let budget = PodDisruptionBudget {
        metadata: meta(owner, name, labels),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(matching(pods)),
            // A pod that never became ready must not block a node's maintenance.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            min_available: None,
        }),
        status: None,
    };
    Child::new(ChildKind::PodDisruptionBudget, budget)
}

/// No relay is evicted that may hold sessions, ready or not: those carry the label, and of what carries it nothing may go. A
/// number and not `maxUnavailable: 0`, for which the API server would count from `spec.replicas`, and allow whatever there is
/// beyond it: more relays than that run during a rollout and under `spec.scaling`.
pub(super) fn occupied_budget(owner: &Owner, name: String, labels: Labels, mut pods: Labels) -> Child {
    pods.insert(LABEL_OCCUPIED.to_owned(), "true".to_owned());
    let budget = PodDisruptionBudget {
        metadata: meta(owner, name, labels),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(i32::MAX)),
            selector: Some(matching(pods)),
            unhealthy_pod_eviction_policy: Some("IfHealthyBudget".to_owned()),
            max_unavailable: None,
        }),
        status: None,
    };
    Child::new(ChildKind::PodDisruptionBudget, budget)
}

/// Egress to pods of one namespace.
pub(super) fn egress_to(namespace: &str, pods: Labels, ports: &[i32]) -> NetworkPolicyEgressRule {
    let ports = ports.iter().map(|port| tcp(*port)).collect();
    NetworkPolicyEgressRule { to: Some(vec![in_namespace(namespace, Some(pods))]), ports: Some(ports) }
}

/// Egress to any address on some ports: where the API server is, no selector can say.
pub(super) fn egress_anywhere(ports: &[u16]) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { to: None, ports: Some(ports.iter().map(|port| tcp(i32::from(*port))).collect()) }
}

fn matching(labels: Labels) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn any_pod() -> NetworkPolicyPeer {
    NetworkPolicyPeer { namespace_selector: Some(LabelSelector::default()), pod_selector: None, ip_block: None }
}

fn in_namespace(namespace: &str, pods: Option<Labels>) -> NetworkPolicyPeer {
    let name = [("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())].into();
    NetworkPolicyPeer { namespace_selector: Some(matching(name)), pod_selector: pods.map(matching), ip_block: None }
}

fn tcp(port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort { port: Some(IntOrString::Int(port)), protocol: Some("TCP".to_owned()), end_port: None }
}

fn tcp_named(port: &str) -> NetworkPolicyPort {
    let port = Some(IntOrString::String(port.to_owned()));
    NetworkPolicyPort { port, protocol: Some("TCP".to_owned()), end_port: None }
}

fn udp(port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort { port: Some(IntOrString::Int(port)), protocol: Some("UDP".to_owned()), end_port: None }
}
