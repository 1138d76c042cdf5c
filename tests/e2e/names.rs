//! Clients that know only a name: `dig` asks the routers of a lobby at their node port.

use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::Api;
use serde_json::{Value, json};

use crate::client::{LobbyApi, Seat};
use crate::faults::kill;
use crate::install::{Install, STARTED};
use crate::support::within;

const ZONE: &str = "relays.example.com";
const DUBLIN: (f64, f64) = (53.35, -6.26);
/// Within so many seconds a name leaves a region that has no relay any more, or no seat.
const LEFT: u64 = 8;
/// Seats of the European relay.
const SEATS: usize = 3;

/// What a lobby says to have routers at node ports.
pub(crate) fn dns() -> Value {
    json!({"zone": ZONE, "nameservers": [{"name": "ns1.example.net"}], "exposure": {"nodePort": {}}})
}

/// Where the routers answer.
pub(crate) struct Routers {
    host: String,
    udp: i32,
    tcp: i32,
}

impl Routers {
    /// Those of a lobby that serves at a node port.
    pub(crate) async fn of(install: &Install, namespace: &str) -> Self {
        let url = install.lobby_url(namespace).await;
        let host = url.trim_start_matches("http://").split(':').next().expect("a host");
        let services: Api<Service> = Api::namespaced(install.client.clone(), namespace);
        let service = services.get("demo-lobby-dns").await.expect("the routers have a Service");
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let port = |protocol: &str| {
            let is_dns = |port: &&ServicePort| port.port == 53 && port.protocol.as_deref() == Some(protocol);
            ports.iter().find(is_dns).and_then(|port| port.node_port).expect("a node port")
        };
        Self { host: host.to_owned(), udp: port("UDP"), tcp: port("TCP") }
    }

    /// What `dig +short` prints, line by line.
    async fn dig(&self, question: &str) -> Result<Vec<String>, String> {
        let port = if question.contains("+tcp") { self.tcp } else { self.udp };
        let mut dig = Command::new("dig");
        dig.args(["-r", &format!("@{}", self.host), "-p", &port.to_string(), "+short", "+tries=1", "+time=2"]);
        dig.args(question.split_whitespace());
        let output = tokio::task::spawn_blocking(move || dig.output()).await.expect("it runs");
        let output = output.map_err(|error| format!("dig: {error}: install it with hack/setup.sh"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(text.lines().map(str::to_owned).collect()) } else { Err(text) }
    }

    /// The relay that stands first among those by WebSocket.
    pub(crate) async fn first(&self) -> Result<String, String> {
        let mut all = self.dig(&format!("_ws._tcp.{ZONE} SRV")).await?;
        // Priority first.
        all.sort_by_key(|line| line.split(' ').next().and_then(|priority| priority.parse::<u32>().ok()));
        all.first().and_then(|line| line.split(' ').nth(3)).map(str::to_owned).ok_or("no answer".to_owned())
    }

    /// Asks twice a second, until three questions in a row were not answered: why not.
    pub(crate) async fn until_silent(&self) -> String {
        let mut failed = 0;
        loop {
            match self.first().await {
                Ok(_) => failed = 0,
                Err(why) if failed == 2 => return why,
                Err(_) => failed += 1,
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Of seats the table says nothing: that a region has none left the routers hear from the lobby.
    async fn leave_while_full(&self, lobby: &LobbyApi, namespace: &str) {
        let mut held = Vec::new();
        within(60, "the European seats are taken", async || {
            let created = lobby.create(DUBLIN.0, DUBLIN.1).await?;
            if created.session.region == "eu-west-1" {
                held.push((Seat::take(&created.connect).await?, created));
            } else {
                lobby.close(&created.session.id, &created.host_token).await;
            }
            if held.len() == SEATS { Ok(()) } else { Err(format!("{} of {SEATS}", held.len())) }
        })
        .await;
        self.leads_to("us", namespace, LEFT).await;
        for (seat, created) in held {
            drop(seat);
            lobby.close(&created.session.id, &created.host_token).await;
        }
        self.leads_to("eu", namespace, STARTED).await;
    }

    /// Waits until the name leads to a relay of a pool. What resolvers remember is not counted: these are the routers' answers.
    async fn leads_to(&self, pool: &str, namespace: &str, seconds: u64) {
        within(seconds, &format!("the name leads to {pool}"), async || {
            let first = self.first().await?;
            let is_of = first.starts_with(&format!("{pool}-")) && first.ends_with(&format!(".{namespace}.{ZONE}."));
            if is_of { Ok(()) } else { Err(first) }
        })
        .await;
    }
}

/// What each router says of the ages of what it knows.
pub(crate) fn ages(install: &Install, namespace: &str) -> Result<Vec<String>, String> {
    let pods = install.kubectl.attempt(&["-n", namespace, "get", "pods", "-o", "name"], None)?;
    let routers = pods.lines().filter_map(|pod| pod.strip_prefix("pod/")).filter(|pod| pod.contains("-lobby-dns-"));
    let ready = |pod| format!("/api/v1/namespaces/{namespace}/pods/http:{pod}:8081/proxy/readyz");
    routers.map(|pod| install.kubectl.attempt(&["get", "--raw", &ready(pod)], None)).collect()
}

pub(crate) async fn a_name_leads_to_relays_that_serve_and_answers_without_lobby_and_operator(install: &Install) {
    let namespace = "e2e-names";
    let pools = [
        ("eu", json!({"replicas": 1, "sessionsPerRelay": SEATS})),
        ("us", json!({"region": "us-east1", "replicas": 1})),
    ];
    let lobby = install.world_with(namespace, json!({"routing": {"dns": dns()}}), &pools).await;
    let routers = Routers::of(install, namespace).await;

    // Nobody knows where this asks from, so the declared order counts.
    routers.leads_to("eu", namespace, STARTED).await;
    let address = routers.dig(&format!("eu-0.{namespace}.{ZONE} A")).await.expect("an answer");
    assert_eq!(routers.dig(&format!("eu-west-1.{ZONE} A")).await.expect("an answer"), address);
    assert!(address.len() == 1 && address[0].parse::<std::net::Ipv4Addr>().is_ok(), "{address:?}");
    assert_eq!(routers.dig(&format!("eu-west-1.{ZONE} A +tcp")).await.expect("an answer by TCP"), address);

    routers.leave_while_full(&lobby, namespace).await;

    install.scale(namespace, "eu", 0);
    routers.leads_to("us", namespace, LEFT).await;
    install.scale(namespace, "eu", 1);
    routers.leads_to("eu", namespace, STARTED).await;

    kill(install, namespace, &["pod", "-l", "app.kubernetes.io/name=convene-lobby"]);
    kill(install, "convene-system", &["pod", "--all"]);
    for _ in 0..20 {
        routers.first().await.expect("routers need neither lobby nor operator");
    }
    // The lobby comes back, and what it says counts again.
    install.lobby_url(namespace).await;
    routers.leads_to("eu", namespace, STARTED).await;
    routers.leave_while_full(&lobby, namespace).await;
}
