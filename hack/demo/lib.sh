# shellcheck shell=bash disable=SC2034
# Sourced by the demo's scripts: what it is called, where it keeps what it knows.

# shellcheck source=../lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# DEMO: state of the demo's own. It holds the kind of cluster ("target"), a
# kubeconfig and a kubectl for it, and which objects the demo may remove again.
DEMO=$STATE/demo
NAMESPACE=convene-demo
SYSTEM=convene-system
RELEASE=convene
KIND_CLUSTER=convene-demo
LOCAL_CLUSTER=demo
CRDS=(lobbies.convene.dev relaypools.convene.dev)

kubectl() { "$DEMO/kubectl" "$@"; }

# Helm keeps nothing outside our folder either.
helm() {
  env KUBECONFIG="$DEMO/kubeconfig" KUBECACHEDIR="$DEMO/kubectl-cache" HELM_CACHE_HOME="$DEMO/helm" \
    HELM_CONFIG_HOME="$DEMO/helm" HELM_DATA_HOME="$DEMO/helm" "$(<"$DEMO/bin")/helm" --namespace "$SYSTEM" "$@"
}

# lock_demo: two demos on one machine would be one demo, started twice.
lock_demo() { lock_folder "$DEMO" 7 600 demo; }
