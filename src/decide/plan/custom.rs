//! Relays of another image: under the same restrictions as our own, and with nothing that only those need.

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, Pod, PodSpec, Probe, TCPSocketAction, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::names::{self, Labels};
use super::workload::{self, Around};
use super::{Child, OperatorConfig, policy, service};
use crate::decide::valid::{Custom, ValidPool};

/// Name of the metrics' port in pods, where it is not the one for clients.
const METRICS: &str = "metrics";
/// Where a relay may write; everything else is read-only.
const SCRATCH: &str = "/tmp";
/// How much it may write there.
const SCRATCH_SIZE: &str = "64Mi";

/// What of the spec makes another generation of relays. Where their metrics are read, and how they are told to leave, is
/// followed by those that run.
pub(super) fn generation(custom: &Custom) -> Value {
    json!({"image": custom.image, "port": custom.port, "metricsPort": custom.metrics_port})
}

/// The pod's spec. Nothing but its end says that a process of which we know nothing is sick, so it is never restarted.
pub(super) fn pod_spec(pool: &ValidPool, custom: &Custom, image: String, grace_seconds: i64) -> PodSpec {
    let mut env = vec![workload::env(names::SEATS, pool.sessions_per_relay.to_string())];
    env.extend(workload::user_env(&pool.template.env));
    let public = workload::container_port(service::PORT_NAME, custom.port);
    let metrics = custom.metrics_port.map(|port| workload::container_port(METRICS, port));
    let size_limit = Some(Quantity(SCRATCH_SIZE.to_owned()));
    let scratch = EmptyDirVolumeSource { size_limit, medium: None };
    let mount = VolumeMount { name: "scratch".to_owned(), mount_path: SCRATCH.to_owned(), ..VolumeMount::default() };
    let container = Container {
        name: "relay".to_owned(),
        image: Some(image),
        env: Some(env),
        ports: Some(std::iter::once(public).chain(metrics).collect()),
        volume_mounts: Some(vec![mount]),
        readiness_probe: Some(takes_connections()),
        resources: Some(pool.template.resources.clone().unwrap_or_else(workload::default_resources)),
        security_context: Some(workload::container_security()),
        ..Container::default()
    };
    let around = Around {
        volumes: vec![Volume { name: "scratch".to_owned(), empty_dir: Some(scratch), ..Volume::default() }],
        service_account: names::pool(&pool.owner.name),
        api_token: false,
        grace_seconds,
    };
    workload::around_container(container, around, &pool.template)
}

fn takes_connections() -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::String(service::PORT_NAME.to_owned()), host: None }),
        period_seconds: Some(2),
        failure_threshold: Some(2),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

/// Clients reach their port, the operator alone that of the metrics.
pub(super) fn network_policy(metadata: ObjectMeta, pods: Labels, custom: &Custom, config: &OperatorConfig) -> Child {
    let from_operator = custom.metrics_port.map(|_| (METRICS, config.operator_namespace.as_str()));
    policy::by_port_names(metadata, pods, service::PORT_NAME, from_operator)
}

/// The port at which a relay's metrics are: as it was made, whatever the spec says by now.
pub fn metrics_port(pod: &Pod) -> Option<u16> {
    let container = pod.spec.as_ref()?.containers.first()?;
    let named = |name: &str| container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
    let port = named(METRICS).or_else(|| named(service::PORT_NAME))?;
    u16::try_from(port.container_port).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::relay_pool::MadeFrom;
    use crate::decide::plan::pool::{self, Relays};
    use crate::decide::{fixtures, valid};

    /// A pool with these in place of the usual.
    fn valid(change: impl Fn(&mut Value)) -> ValidPool {
        let metrics = json!({"sessions": "rooms", "port": 9100});
        let mut server = json!({"custom": {"image": "other:1", "port": 1234, "metrics": metrics}});
        change(&mut server["custom"]);
        let pool = fixtures::pool("here", "p", json!({"lobbyRef": null, "server": server}));
        valid::pool(&fixtures::inputs(&pool, None, None, &fixtures::NamespaceLabels::new())).expect("valid")
    }

    fn config() -> OperatorConfig {
        OperatorConfig {
            image: "operator".to_owned(),
            image_pull_policy: "Never".to_owned(),
            operator_namespace: "o".to_owned(),
            api_server_ports: vec![443],
            allow_geoip_from: vec![],
        }
    }

    fn planned(pool: &ValidPool) -> (Pod, Value) {
        let plan = pool::plan(pool, &Relays::first(pool, 1, &config()), &config());
        let policy = plan.children.iter().find(|child| child.object["kind"] == "NetworkPolicy").expect("a policy");
        (plan.pods[0].clone(), policy.object["spec"]["ingress"].clone())
    }

    #[test]
    fn what_a_running_relay_can_follow_makes_no_other_generation() {
        let made = |pool: &ValidPool| pool::made_from(pool, None, "operator");
        let plain = made(&valid(|_| {}));
        assert_eq!(plain, MadeFrom { image: "other:1".to_owned(), spec: plain.spec.clone() });
        let metrics = json!({"sessions": "others", "port": 9100, "path": "/m", "intervalSeconds": 9});
        let followed =
            valid(|server| (server["metrics"], server["drain"]) = (metrics.clone(), json!({"path": "/drain"})));
        assert_eq!(made(&followed), plain);
        assert_eq!(pool::made_from(&valid(|_| {}), Some(&plain), "newer operator"), plain);
        for (field, value) in
            [("image", json!("other:2")), ("port", json!(1)), ("metrics", json!({"sessions": "rooms"}))]
        {
            assert_ne!(made(&valid(|server| server[field] = value.clone())).spec, plain.spec, "{field}");
        }
    }

    #[test]
    fn the_operator_alone_reaches_a_port_of_the_metrics() {
        let (pod, ingress) = planned(&valid(|_| {}));
        assert_eq!(metrics_port(&pod), Some(9100));
        assert_eq!(ingress[0], json!({"ports": [{"port": "public", "protocol": "TCP"}]}));
        assert_eq!(ingress[1]["ports"], json!([{"port": "metrics", "protocol": "TCP"}]));
        assert_eq!(ingress[1]["from"].as_array().map(Vec::len), Some(1), "{ingress}");
        let (pod, ingress) = planned(&valid(|server| server["metrics"] = json!({"sessions": "rooms", "port": 1234})));
        assert_eq!(metrics_port(&pod), Some(1234), "the port for clients");
        assert_eq!(ingress.as_array().map(Vec::len), Some(1), "{ingress}");
    }
}
