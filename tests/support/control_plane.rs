//! A real etcd, kube-apiserver and kube-controller-manager on loopback, without nodes, in a folder of its own.

#![allow(dead_code, reason = "each layer uses its part")]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use convene::operator;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use crate::support::{Kubectl, bin_dir, chart, run};

/// Namespace of the operator.
pub(crate) const SYSTEM: &str = "convene-system";

/// A running control plane; ends with this value.
pub(crate) struct ControlPlane {
    dir: tempfile::TempDir,
    port: u16,
    processes: Vec<Child>,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // Readers before what they read from.
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl ControlPlane {
    /// Starts one, with the chart installed but for its Deployment, and waits until it answers.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("convene-apiserver-").tempdir().expect("a folder");
        let ports = free_ports(4);
        let [etcd, peer, port, manager] = ports[..] else { panic!("four ports") };
        let mut plane = Self { dir, port, processes: vec![] };
        plane.write_secrets();
        plane.start_etcd(etcd, peer);
        plane.start_api_server(etcd);
        plane.wait_until_ready().await;
        // The garbage collector learns of kinds that come later only after half a minute.
        plane.install();
        plane.start_controller_manager(manager);
        plane
    }

    /// Installs the chart without its Deployment: definitions and roles.
    fn install(&self) {
        let kubectl = self.kubectl();
        kubectl.run(&["create", "namespace", SYSTEM], None);
        let rendered = helm_template(&[]);
        let kinds =
            ["CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"];
        let wanted: Vec<&str> = rendered
            .split("\n---")
            .filter(|document| kinds.iter().any(|kind| document.lines().any(|line| line == format!("kind: {kind}"))))
            .collect();
        kubectl.run(&["apply", "-n", SYSTEM, "-f", "-"], Some(&wanted.join("\n---")));
        kubectl.run(&["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"], None);
    }

    /// A token of the chart's ServiceAccount.
    pub(crate) async fn operator_token(&self) -> String {
        self.token(SYSTEM, "convene-operator").await
    }

    /// A token of some ServiceAccount.
    pub(crate) async fn token(&self, namespace: &str, account: &str) -> String {
        let accounts = Api::<ServiceAccount>::namespaced(self.admin().await, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec!["https://kubernetes.default.svc".to_owned()],
                ..Default::default()
            },
            ..Default::default()
        };
        let token = accounts.create_token_request(account, &PostParams::default(), &request).await;
        token.expect("a token").status.expect("issued").token
    }

    /// Configuration of a client with this bearer token.
    pub(crate) async fn config(&self, token: &str) -> Config {
        self.config_through(&self.url(), token).await
    }

    /// The same, through something that listens elsewhere.
    pub(crate) async fn config_through(&self, url: &str, token: &str) -> Config {
        let mut kubeconfig = self.kubeconfig(token);
        kubeconfig["clusters"][0]["cluster"]["server"] = url.into();
        let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).expect("a kubeconfig");
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a configuration")
    }

    /// Where the API server listens.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// A client that may do anything.
    pub(crate) async fn admin(&self) -> Client {
        Client::try_from(self.config("admin-token").await).expect("a client")
    }

    /// `kubectl` as admin.
    pub(crate) fn kubectl(&self) -> Kubectl {
        Kubectl { kubeconfig: self.path("admin.kubeconfig") }
    }

    /// `kubectl` with another bearer token, under a name of its own.
    pub(crate) fn kubectl_of(&self, name: &str, token: &str) -> Kubectl {
        let kubeconfig = self.path(&format!("{name}.kubeconfig"));
        fs::write(&kubeconfig, self.kubeconfig(token).to_string()).expect("writes");
        Kubectl { kubeconfig }
    }

    fn kubeconfig(&self, token: &str) -> serde_json::Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            // Loopback, and the certificate is made by the server itself at start.
            "clusters": [{"name": "test", "cluster": {"server": self.url(), "insecure-skip-tls-verify": true}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        })
    }

    fn write_secrets(&self) {
        let key = rcgen::KeyPair::generate().expect("a key");
        fs::write(self.path("sa.key"), key.serialize_pem()).expect("writes");
        fs::write(self.path("sa.pub"), key.public_key_pem()).expect("writes");
        fs::write(self.path("tokens.csv"), "admin-token,admin,admin,system:masters\n").expect("writes");
        fs::write(self.path("admin.kubeconfig"), self.kubeconfig("admin-token").to_string()).expect("writes");
    }

    fn start_etcd(&mut self, port: u16, peer: u16) {
        let url = format!("http://127.0.0.1:{port}");
        let data = self.path("etcd");
        let arguments = [
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            "--unsafe-no-fsync".to_owned(),
        ];
        self.spawn("etcd", &arguments);
    }

    fn start_api_server(&mut self, etcd: u16) {
        let file = |name: &str| self.path(name).display().to_string();
        let arguments = [
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--cert-dir={}", file("certs")),
            format!("--token-auth-file={}", file("tokens.csv")),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        self.spawn("kube-apiserver", &arguments);
    }

    fn start_controller_manager(&mut self, port: u16) {
        let file = |name: &str| self.path(name).display().to_string();
        let arguments = [
            format!("--kubeconfig={}", file("admin.kubeconfig")),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--cert-dir={}", file("kcm-certs")),
            // What the tests need of it: garbage collection, also of volumes' claims, namespaces, service accounts and their
            // rights, and somebody else who scales.
            "--horizontal-pod-autoscaler-sync-period=2s".to_owned(),
            "--controllers=horizontal-pod-autoscaler-controller,garbage-collector-controller,disruption-controller,persistentvolumeclaim-protection-controller,namespace-controller,serviceaccount-controller,clusterrole-aggregation-controller".to_owned(),
        ];
        self.spawn("kube-controller-manager", &arguments);
    }

    /// Starts a process that also ends when this one is killed.
    fn spawn(&mut self, name: &str, arguments: &[String]) {
        let log = fs::File::create(self.path(&format!("{name}.log"))).expect("a log");
        let binary = bin_dir().join(name);
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", binary.display()));
        self.processes.push(child);
    }

    async fn wait_until_ready(&self) {
        for _ in 0..300 {
            if self.kubectl().attempt(&["get", "--raw", "/readyz"], None).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let log = fs::read_to_string(self.path("kube-apiserver.log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        panic!(
            "kube-apiserver did not become ready within a minute; the end of its log, last line first:\n{}",
            tail.join("\n")
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Arguments of an operator named `identity`, whose Lease is in `namespace`.
pub(crate) fn operator_args(namespace: &str, identity: &str) -> operator::Args {
    operator::Args {
        health_listen: ([127, 0, 0, 1], 0).into(),
        namespace: namespace.to_owned(),
        identity: identity.to_owned(),
        image: "localhost/convene:test".to_owned(),
        image_pull_policy: "Never".to_owned(),
        api_server_ports: vec![443, 6443],
        allow_geoip_from: vec!["https://mirror.example.com/geo/".parse().expect("a folder of URLs")],
        watch_namespaces: vec![],
    }
}

/// Renders the chart with these `--set` values.
pub(crate) fn helm_template(values: &[&str]) -> String {
    let mut command = Command::new(bin_dir().join("helm"));
    command.args(["template", "convene"]).arg(chart()).args(["--namespace", "convene-system"]);
    for value in values {
        command.args(["--set", value]);
    }
    run(command, None).unwrap_or_else(|error| panic!("helm template: {error}"))
}

/// Ports that nobody listens on. All are held until all are known, so that none comes twice.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    held.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}
