#!/usr/bin/env bash
# Collects what explains a failure: dump.sh KUBECTL FOLDER NAMESPACE...
#
# Best effort: what cannot be read is noted in place of it, and never fails.
set -uo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# >= 3)) || die "usage: dump.sh KUBECTL FOLDER NAMESPACE..."
kubectl=$1 out=$2
shift 2
rm -rf "$out"
mkdir -p "$out"
ask() { "$kubectl" --request-timeout=10s "$@" 2>&1; }

ask get nodes -o wide >"$out/nodes.txt"
ask describe nodes >>"$out/nodes.txt"
for ns in "$@"; do
  mkdir -p "$out/$ns"
  ask -n "$ns" get all,configmaps,endpointslices,networkpolicies,poddisruptionbudgets -o wide >"$out/$ns/objects.txt"
  ask -n "$ns" get lobbies.convene.dev,relaypools.convene.dev -o yaml >"$out/$ns/convene.yaml"
  ask -n "$ns" get events --sort-by=.lastTimestamp >"$out/$ns/events.txt"
  ask -n "$ns" describe pods >"$out/$ns/pods.txt"
  for pod in $(ask -n "$ns" get pods -o name); do
    [[ $pod == pod/* ]] || continue
    ask -n "$ns" logs "$pod" --all-containers --prefix >"$out/$ns/${pod#pod/}.log"
    ask -n "$ns" logs "$pod" --all-containers --prefix --previous >"$out/$ns/${pod#pod/}.previous.log" ||
      rm -f "$out/$ns/${pod#pod/}.previous.log"
  done
done

# A local cluster's own parts, when it is one.
cluster=$(dirname "$kubectl")
for log in "$cluster"/node-*/log; do
  [[ -d $log ]] || continue
  mkdir -p "$out/$(basename "$(dirname "$log")")"
  cp "$log"/*.log "$out/$(basename "$(dirname "$log")")/"
done
exit 0
