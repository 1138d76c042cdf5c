//! What the layers that talk to a cluster share: the runner of cases, kubectl and helm, waiting, conditions, small objects.

#![allow(dead_code, reason = "each layer uses its part")]

pub(crate) mod cases;
#[path = "processes.rs"]
pub(crate) mod processes;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

/// Folder with etcd, kube-apiserver, kube-controller-manager, kubectl and helm.
pub(crate) fn bin_dir() -> PathBuf {
    std::env::var_os("CONVENE_KUBE_BIN").map(PathBuf::from).expect(
        "CONVENE_KUBE_BIN must name the folder with etcd, kube-apiserver, kubectl and helm: run `make test-api` or `make test-e2e`",
    )
}

/// The chart.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/convene")
}

/// `kubectl` against one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    pub(crate) kubeconfig: PathBuf,
}

impl Kubectl {
    /// Its output; a panic with what it said when it failed.
    pub(crate) fn run(&self, arguments: &[&str], input: Option<&str>) -> String {
        self.attempt(arguments, input).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// Its output, or what it said when it failed.
    pub(crate) fn attempt(&self, arguments: &[&str], input: Option<&str>) -> Result<String, String> {
        let mut command = Command::new(bin_dir().join("kubectl"));
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        run(command, input)
    }

    /// What `kubectl convene` says: the binary of this build as kubectl's plugin.
    pub(crate) fn convene(&self, arguments: &[&str]) -> Result<String, String> {
        let plugins = tempfile::tempdir().expect("a folder");
        let plugin = plugins.path().join("kubectl-convene");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_convene"), plugin).expect("a link");
        let mut command = Command::new(bin_dir().join("kubectl"));
        command.env("PATH", plugins.path()).env("KUBECONFIG", &self.kubeconfig).arg("convene").args(arguments);
        run(command, None)
    }

    /// Makes an object from JSON.
    pub(crate) fn create(&self, namespace: &str, object: &Value) {
        self.run(&["-n", namespace, "create", "-f", "-"], Some(&object.to_string()));
    }

    /// A namespace under restricted Pod Security, granted to the operator.
    pub(crate) fn namespace(&self, name: &str) {
        self.ungranted_namespace(name);
        self.grant(name);
    }

    /// A namespace under restricted Pod Security that nobody granted to the operator.
    pub(crate) fn ungranted_namespace(&self, name: &str) {
        self.run(&["create", "namespace", name], None);
        self.run(&["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"], None);
    }

    /// Grants a namespace to the operator, as its admin would.
    pub(crate) fn grant(&self, namespace: &str) {
        let account = "--serviceaccount=convene-system:convene-operator";
        let role = "--clusterrole=convene-operator-namespace";
        self.run(&["-n", namespace, "create", "rolebinding", "convene-operator", role, account], None);
    }
}

/// Runs a program; its output, or what it said when it failed.
pub(crate) fn run(mut command: Command, input: Option<&str>) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input closes it early; its exit code tells.
        let _ = stdin.write_all(input.unwrap_or_default().as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A Lobby named `demo`.
pub(crate) fn lobby(spec: &Value) -> Value {
    json!({"apiVersion": "convene.dev/v1alpha1", "kind": "Lobby", "metadata": {"name": "demo"}, "spec": spec})
}

/// A RelayPool of lobby `demo` in eu-west-1 with further fields.
pub(crate) fn pool(name: &str, more: &Value) -> Value {
    let mut spec = json!({"lobbyRef": {"name": "demo"}, "region": "eu-west-1"});
    for (key, value) in more.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "convene.dev/v1alpha1", "kind": "RelayPool", "metadata": {"name": name}, "spec": spec})
}

/// Waits up to 20 s until `check` succeeds; panics with what was expected and what was seen last.
pub(crate) async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(20, what, check).await
}

/// Waits up to `seconds` until `check` succeeds; panics with what was expected and what was seen last.
pub(crate) async fn within<T>(seconds: u64, what: &str, mut check: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    for _ in 0..seconds * 10 {
        match check().await {
            Ok(value) => return value,
            Err(seen) => last = seen,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within {seconds} s: {what}; last seen: {last}");
}

/// Status and reason of a condition, as `Type=Status/Reason`.
pub(crate) fn says(conditions: &[Condition], type_: &str) -> String {
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map_or_else(|| format!("{type_} is not set"), |c| format!("{}={}/{}", c.type_, c.status, c.reason))
}
