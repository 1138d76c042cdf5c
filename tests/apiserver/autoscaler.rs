//! Somebody else scales a pool: Kubernetes' own autoscaler, by a metric of its own, through the scale subresource. The real
//! controller decides; the metric is served by this test, behind the API server.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use convene::process::http::{Door, Limits, serve_at};
use convene::process::metrics::Catalogue;
use convene::process::tls::{Args, Metrics, Tls};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{eventually, lobby, pool};
use crate::world::{World, pool_says};

const API: &str = "/apis/external.metrics.k8s.io/v1beta1";

/// A metrics server with one metric, `sessions`.
struct Metric {
    value: Arc<AtomicU32>,
    address: SocketAddr,
    _stop: DropGuard,
}

impl Metric {
    async fn serve(files: &Path) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let certificate = certificate.self_signed(&key).expect("a certificate");
        let paths = [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())];
        let [certificate, key] = paths.map(|(name, text)| {
            let path = files.join(name);
            std::fs::write(&path, text).expect("written");
            Some(path)
        });
        let args = Args { tls_cert: certificate, tls_key: key };
        let tls = Tls::load(&args, Metrics::new(&mut Catalogue::new())).await.expect("a pair");
        let (value, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let resources = json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "external.metrics.k8s.io/v1beta1",
            "resources": [{"name": "sessions", "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList", "verbs": ["get"]}],
        });
        let router = Router::new()
            .route(API, get(async || Json(resources)))
            .route(&format!("{API}/namespaces/{{namespace}}/sessions"), get(read))
            .with_state(Arc::clone(&value));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let door = Door { tls, ..Door::default() };
        tokio::spawn(serve_at(door, listener, router, Limits::default(), stop.clone()));
        Self { value, address, _stop: stop.drop_guard() }
    }

    fn is(&self, value: u32) {
        self.value.store(value, Ordering::Relaxed);
    }
}

async fn read(State(value): State<Arc<AtomicU32>>) -> Json<Value> {
    let item = json!({
        "metricName": "sessions", "metricLabels": {}, "timestamp": Timestamp::now().to_string(),
        "value": value.load(Ordering::Relaxed).to_string(),
    });
    Json(json!({
        "kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": {}, "items": [item],
    }))
}

async fn relays(world: &World, namespace: &str) -> Vec<String> {
    let pods = world.api::<k8s_openapi::api::core::v1::Pod>(namespace);
    let pods = pods.list(&ListParams::default().labels("convene.dev/relay")).await.expect("lists");
    pods.iter().map(kube::ResourceExt::name_any).collect()
}

pub(crate) async fn a_horizontal_pod_autoscaler_scales_a_pool_and_the_emptiest_leaves(world: &World) {
    let files = tempfile::tempdir().expect("a folder");
    let metric = Metric::serve(files.path()).await;
    metric.is(10);
    let namespace = world.namespace("autoscaled");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": metric.address.port()}]},
    });
    world.kubectl.create(&namespace, &service);
    let api = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
        "spec": {
            "group": "external.metrics.k8s.io", "version": "v1beta1", "insecureSkipTLSVerify": true,
            "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"namespace": namespace, "name": "metrics", "port": metric.address.port()},
        },
    });
    world.kubectl.create(&namespace, &api);
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({"replicas": 1})));
    world.pods_ready(&namespace, 1).await;
    let metric_of = json!({"metric": {"name": "sessions"}, "target": {"type": "AverageValue", "averageValue": "10"}});
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "convene.dev/v1alpha1", "kind": "RelayPool", "name": "a"},
            "minReplicas": 1, "maxReplicas": 5,
            "metrics": [{"type": "External", "external": metric_of}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    });
    world.kubectl.create(&namespace, &autoscaler);

    metric.is(30);
    world.pods_ready(&namespace, 3).await;
    pool_says(&world.pools(&namespace), "a", "Ready", "True/AsPlanned").await;
    world.process(&namespace, "a-1").await.holds(5, 0);
    metric.is(10);
    eventually("the one with sessions is left", async || {
        let there = relays(world, &namespace).await;
        if there == ["a-1"] { Ok(()) } else { Err(format!("{there:?}")) }
    })
    .await;
    let autoscalers: Api<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler> = world.api(&namespace);
    let told = autoscalers.get("a").await.expect("reads").status.expect("a status");
    assert_eq!(told.desired_replicas, 1, "{told:?}");
    world.kubectl.run(&["delete", "apiservice", "v1beta1.external.metrics.k8s.io"], None);
    drop(metric);
}
