# shellcheck shell=bash
# Sourced by demo.sh: the three ways to come by a cluster. Each notes itself as
# the target before it makes anything, so that demo-down knows where to look
# whatever happens.

# use_kubeconfig: gives what is in $DEMO/kubeconfig a kubectl of its own.
use_kubeconfig() {
  local bin=$1
  echo "$bin" >"$DEMO/bin"
  cat >"$DEMO/kubectl" <<SH
#!/bin/sh
KUBECACHEDIR='$DEMO/kubectl-cache' exec '$bin/kubectl' --kubeconfig='$DEMO/kubeconfig' "\$@"
SH
  chmod +x "$DEMO/kubectl"
}

# A local one, from source: several clusters and demos may run on this machine.
local_cluster() {
  echo local >"$DEMO/target"
  "$HACK/cluster/up.sh" "$LOCAL_CLUSTER" ${NODES:+--nodes "$NODES"}
  install -m 600 "$STATE/clusters/$LOCAL_CLUSTER/kubeconfig" "$DEMO/kubeconfig"
  use_kubeconfig "$(<"$STATE/clusters/$LOCAL_CLUSTER/bin")"
}

# kind makes one in Docker. (Not run yet: no machine with Docker was at hand.)
kind_cluster() {
  command -v kind >/dev/null || die "CLUSTER=kind, but there is no 'kind' on the PATH"
  "$HACK/cluster/build.sh" --clients
  echo kind >"$DEMO/target"
  if ! kind get clusters 2>/dev/null | grep -qx "$KIND_CLUSTER"; then
    kind create cluster --name "$KIND_CLUSTER" --kubeconfig "$DEMO/kubeconfig" --wait 120s
  fi
  kind get kubeconfig --name "$KIND_CLUSTER" >"$DEMO/kubeconfig.new"
  chmod 600 "$DEMO/kubeconfig.new"
  mv "$DEMO/kubeconfig.new" "$DEMO/kubeconfig"
  use_kubeconfig "$("$HACK/cluster/build.sh" --print-bin-dir)"
}

# The one that the user's kubeconfig points at: only after a yes, and only what
# the demo brings itself. What is copied is that one context, so that a later
# change of the user's own kubeconfig does not send demo-down elsewhere.
current_cluster() {
  local bin context server answer ns
  [[ -n ${IMAGE:-} ]] || die "CLUSTER=current needs IMAGE=: an image of convene that this cluster can pull ('make binary', then 'docker build .' and push)"
  "$HACK/cluster/build.sh" --clients
  bin=$("$HACK/cluster/build.sh" --print-bin-dir)
  export KUBECACHEDIR=$DEMO/kubectl-cache
  context=$("$bin/kubectl" config current-context 2>/dev/null) ||
    die "CLUSTER=current, but no kubeconfig has a current context (KUBECONFIG=${KUBECONFIG:-unset, so \$HOME/.kube/config})"
  server=$("$bin/kubectl" config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
  if [[ -f $DEMO/context && $(<"$DEMO/context") != "$context $server" ]]; then
    die "the demo is already on another cluster ($(<"$DEMO/context")); 'make demo-down' removes it there"
  fi
  say "The demo would install Convene, with its custom resource definitions, into the context"
  say "    $context ($server)"
  say "in the namespaces $SYSTEM and $NAMESPACE."
  if [[ ${YES:-} != 1 ]]; then
    read -r -p "Go on? [y/N] " answer || die "no answer (YES=1 goes on without asking)"
    [[ $answer == [yY]* ]] || die "not started, at your wish"
  fi
  (umask 077 && "$bin/kubectl" config view --minify --flatten --raw >"$DEMO/kubeconfig")
  use_kubeconfig "$bin"
  for ns in "$SYSTEM" "$NAMESPACE"; do
    case $(kubectl get namespace "$ns" --ignore-not-found -o 'jsonpath={.metadata.name} {.metadata.labels.convene\.dev/made-by}') in
      '' | ' ' | "$ns demo") ;;
      *) die "the namespace $ns of $context is there already, and the demo did not make it" ;;
    esac
  done
  echo "$context $server" >"$DEMO/context"
  echo current >"$DEMO/target"
}
