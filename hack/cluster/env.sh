#!/usr/bin/env bash
# Prints what a program needs to work with a local cluster: eval "$(env.sh NAME)"
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# == 1)) || die "usage: env.sh NAME"
use_cluster "$1"
is_up || die "cluster $NAME is not up; 'make cluster-up NAME=$NAME' starts it"
INDEX=$(<"$DIR/index")
nodes=()
for ((n = 1; n <= $(<"$DIR/nodes"); n++)); do nodes+=("$(node_ip "$n")"); done

printf 'export KUBECONFIG=%q\n' "$DIR/kubeconfig"
printf 'export KUBECACHEDIR=%q\n' "$DIR/kubectl-cache"
printf 'export CONVENE_KUBE_BIN=%q\n' "$(<"$DIR/bin")"
# Node ports answer at each of these addresses.
printf 'export CONVENE_NODE_ADDRESSES=%q\n' "${nodes[*]}"
# The first node's pods, and its own processes, reach this machine here.
printf 'export CONVENE_HOST_ADDRESS=%q\n' "$(host_ip 1)"
