//! Distance on one machine: proxies stand before the relays and let bytes take their time, so that geography lies and only
//! who measures knows.

use std::net::SocketAddr;
use std::time::Duration;

use convene::client;
use convene::decide::measure::Survey;
use convene::wire::session::{ClientPlace, GeoPoint, Rung};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Seat, talk};
use crate::install::{Install, STARTED};
use crate::support::{pool, within};

const DUBLIN: GeoPoint = GeoPoint { latitude: 53.35, longitude: -6.26 };

/// Listens at `address` and passes all on to `behind`, each way so much later.
pub(crate) async fn proxy(address: SocketAddr, behind: SocketAddr, delay: Duration) {
    let listener = TcpListener::bind(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(behind).await else { return };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::join!(pass(from_client, to_server, delay), pass(from_server, to_client, delay));
            });
        }
    });
}

async fn pass(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, delay: Duration) {
    let mut bytes = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        tokio::time::sleep(delay).await;
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A pool of one relay behind a load balancer, which is a proxy at an address of this machine.
async fn balanced(install: &Install, namespace: &str, name: &str, region: &str, at: [u8; 4], delay: Duration) {
    let exposure = json!({"loadBalancer": {}});
    install.kubectl.create(namespace, &pool(name, &json!({"region": region, "replicas": 1, "exposure": exposure})));
    let services: Api<Service> = Api::namespaced(install.client.clone(), namespace);
    let relay = format!("{name}-0");
    let (port, node_port) = within(STARTED, &format!("{relay} has a Service with a node port"), async || {
        let service = services.get(&relay).await.map_err(|error| error.to_string())?;
        let port = service.spec.and_then(|spec| spec.ports).and_then(|ports| ports.into_iter().next());
        port.and_then(|port| Some((port.port, port.node_port?))).ok_or("none yet".to_owned())
    })
    .await;
    // The port answers on the relay's own node alone.
    let pods: Api<Pod> = Api::namespaced(install.client.clone(), namespace);
    let node = within(STARTED, &format!("{relay} runs on a node"), async || {
        let status = pods.get(&relay).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        status.host_ip.ok_or("not yet".to_owned())
    })
    .await;
    let number = |port: i32| u16::try_from(port).expect("a port");
    let behind = SocketAddr::new(node.parse().expect("an address"), number(node_port));
    proxy((at, number(port)).into(), behind, delay).await;
    let address = std::net::Ipv4Addr::from(at).to_string();
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}).to_string();
    let patch =
        ["-n", namespace, "patch", "service", &relay, "--subresource=status", "--type=merge", "--patch", &status];
    install.kubectl.run(&patch, None);
    install.pool_serves(namespace, name).await;
}

pub(crate) async fn who_measures_is_sent_where_it_is_near_and_not_where_the_map_says(install: &Install) {
    let namespace = "e2e-distance";
    let lobby = install.world(namespace, &[]).await;
    let (eu, us) = ("eu-west-1", "us-east1");
    balanced(install, namespace, "eu", eu, [127, 0, 77, 1], Duration::from_millis(60)).await;
    balanced(install, namespace, "us", us, [127, 0, 77, 2], Duration::from_millis(5)).await;
    let by_map = ClientPlace { location: Some(DUBLIN), ..ClientPlace::default() };
    let url = install.lobby_url(namespace).await;
    let place = within(STARTED, "both regions can be measured", async || {
        let mut survey = Survey::default();
        client::measure(&url, &by_map, &mut survey).await.map_err(|error| format!("{error:#}"))?;
        let latencies = survey.latencies();
        if latencies.len() == 2 {
            Ok(ClientPlace { latencies, ..by_map.clone() })
        } else {
            Err(format!("{latencies:?}"))
        }
    })
    .await;
    println!("measured: {:?} ms", place.latencies);
    let (here, there) = (place.latencies[us], place.latencies[eu]);
    assert!(here >= 10.0 && there >= 120.0, "both ways are delayed");

    let guessed = lobby.create_at(by_map).await.expect("a session");
    assert_eq!((guessed.session.region.as_str(), guessed.ranking[0].rung), (eu, Rung::Coordinates));
    let measured = lobby.create_at(place).await.expect("a session");
    assert_eq!((measured.session.region.as_str(), measured.ranking[0].rung), (us, Rung::Measured));

    // Through the proxy, as everything.
    let joined = lobby.join(&measured.session.id, measured.join_key.as_ref()).await.expect("a guest joins");
    let mut host = Seat::take(&measured.connect).await.expect("the host connects");
    let mut guest = Seat::take(&joined.connect).await.expect("the guest connects");
    talk(&mut host, &mut guest).await.expect("each byte arrives");
}
