#!/usr/bin/env bash
# Runs tests/e2e.rs on a local cluster of two nodes, with the image of this source.
#
#   test-e2e.sh [ARGUMENT...]   arguments go to the test program, such as a test's name
#   KEEP=1 test-e2e.sh          leaves the cluster up, to look around and to run again quickly
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cluster=e2e
failures=$STATE/failures/$cluster
# shellcheck disable=SC2317,SC2329  # called by the trap
finish() {
  local status=$?
  local kubectl=$STATE/clusters/$cluster/kubectl namespaces
  if ((status != 0)) && [[ -x $kubectl ]]; then
    # Each test has a namespace of its own.
    namespaces=$("$kubectl" get namespaces -o name 2>/dev/null | sed -n 's|^namespace/||p' | grep -v '^kube-[pn]' | tr '\n' ' ')
    # shellcheck disable=SC2086  # one argument each
    "$HACK/cluster/dump.sh" "$kubectl" "$failures" $namespaces
    say "test-e2e failed; logs, events and objects are in $failures"
  fi
  if [[ -z ${KEEP:-} ]]; then "$HACK/cluster/down.sh" "$cluster"; fi
}

read -r image archive < <("$HACK/build-image.sh")
read -r redis redis_archive < <("$HACK/redis-image.sh")
# Compiled before the cluster starts: on two cores both at once only disturb each other.
cd "$REPO"
cargo test --quiet --locked --test e2e --no-run

trap finish EXIT
"$HACK/cluster/up.sh" "$cluster" --nodes 2
"$HACK/cluster/load.sh" "$cluster" "$archive" "$redis_archive"
# The volume of a Redis, which runs as no user of the node's: the cluster has nothing that makes volumes.
install -d -m 777 "$STATE/clusters/$cluster/node-1/var-lib/convene-e2e/redis"
environment=$("$HACK/cluster/env.sh" "$cluster")
eval "$environment"
export CONVENE_CLUSTER=$cluster CONVENE_IMAGE=$image CONVENE_REDIS_IMAGE=$redis
cargo test --locked --test e2e -- "$@"
# Those that disturb the others: nodes are drained, the control plane is killed.
# A node that falls silent takes minutes of waiting: test-e2e.sh --ignored --nocapture sick::
if (($# == 0)); then cargo test --locked --test e2e -- --ignored --test-threads 1 drains::; fi
