#!/usr/bin/env bash
# Tests the local cluster itself: nodes, names, Services across nodes, node
# ports; that a killed start does no harm; and that nothing is left afterwards.
# Other clusters may run meanwhile.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_cluster selftest
need_root
passed=0
ok() { passed=$((passed + 1)); say "ok: $*"; }

# expect WHAT WANTED COMMAND...: its output is exactly the wanted.
expect() {
  local what=$1 want=$2 got
  shift 2
  got=$("$@" 2>&1) || die "$what: '$*' failed: $got"
  [[ $got == "$want" ]] || die "$what: want '$want', got '$got'"
  ok "$what"
}

tmp=$(mktemp -d)
# shellcheck disable=SC2317,SC2329  # called by the trap
finish() {
  local status=$?
  if ((status != 0)) && [[ -x $DIR/kubectl ]]; then
    "$HERE/dump.sh" "$DIR/kubectl" "$STATE/failures/selftest" kube-system selftest
    say "test-cluster failed; what explains it is in $STATE/failures/selftest"
  fi
  "$HERE/down.sh" "$NAME" || true
  rm -rf "$tmp"
}
trap finish EXIT

"$HERE/down.sh" "$NAME"
PROBE=$(helper probe)
read -r image archive < <("$(helper image)" -name localhost/convene-probe -dir "$CACHE/images" "$PROBE:/probe")
# The folder for all programs' state is the user's, not ours, and stays.
mkdir -p "${STATE%/*}"
"$HERE/snapshot.sh" >"$tmp/before"

# --- Killed at three moments, and started again each time.
kill_when() {
  local moment=$1 pid
  setsid "$HERE/up.sh" "$NAME" --nodes 2 >"$tmp/killed" 2>&1 &
  pid=$!
  for ((i = 0; i < 600; i++)); do
    grep -q "$moment" "$tmp/killed" && break
    kill -0 $pid 2>/dev/null || die "up ended before it could be killed: $(cat "$tmp/killed")"
    sleep 0.05
  done
  # Its whole session at once, as when a machine's terminal goes; the boxes have sessions of their own.
  kill -KILL -- "-$pid"
  wait $pid 2>/dev/null || true
}
kill_when "already built"
kill_when "started"
kill_when "API server answers"
ok "up was killed at three moments"

# --- An address range that someone else uses is left to them.
taken=$(<"$DIR/index")
foreign="10.$((96 + taken)).7.0/24"
"$HERE/down.sh" "$NAME"
ip route add unreachable "$foreign" metric 4999
"$HERE/up.sh" "$NAME" --nodes 2 2>&1 | tee "$tmp/up" >&2 || { ip route del unreachable "$foreign" metric 4999; exit 1; }
ip route del unreachable "$foreign" metric 4999
INDEX=$(<"$DIR/index")
if [[ $INDEX == "$taken" ]] || ! grep -q "unreachable $foreign" "$tmp/up"; then
  die "the host's route to $foreign was in the way of index $taken, and up did not say so"
fi
ok "a foreign route was left alone, by name"
"$HERE/up.sh" "$NAME" --nodes 2 2>&1 | grep -q "already up" || die "up of a cluster that is up did something"
ok "up again changes nothing"

# --- Pods, names, Services.
"$HERE/load.sh" "$NAME" "$archive"
sed -e "s|@IMAGE@|$image|" -e "s|@CLUSTER@|$NAME|" "$HERE/selftest.yaml" | kubectl apply -f - >/dev/null
kubectl -n selftest wait --for=condition=Ready --timeout=60s pod/web-1 pod/web-2 >/dev/null
field() { kubectl -n selftest get "$1" -o "jsonpath={$2}"; }
in_pod() { kubectl -n selftest exec "$1" -- /probe "${@:2}"; }
ip_2=$(field pod/web-2 .status.podIP)
service_2=$(field service/web-2 .spec.clusterIP)
port_1=$(field service/web-1 '.spec.ports[0].nodePort')

expect "a pod resolves a Service by its short name" "$service_2" in_pod web-1 resolve web-2 10
expect "a pod resolves a Service by its full name" "$service_2" in_pod web-1 resolve web-2.selftest.svc.cluster.local. 10
since=$SECONDS
! in_pod web-1 resolve no.such.example. 0 >/dev/null 2>&1 || die "a name that is not the cluster's resolved"
((SECONDS - since <= 2)) || die "a name that is not the cluster's took $((SECONDS - since)) s to be refused"
ok "other names are refused at once"
expect "a pod reaches a pod of the other node" web-2 in_pod web-1 get "http://$ip_2:8080/" 10
expect "a pod reaches a Service of the other node" web-2 in_pod web-1 get http://web-2/ 10
expect "a pod reaches its own Service" web-2 in_pod web-2 get http://web-2.selftest/ 10
expect "the host reaches a pod" web-2 "$PROBE" get "http://$ip_2:8080/" 10
expect "the host reaches a Service" web-2 "$PROBE" get "http://$service_2/" 10
for n in 1 2; do
  expect "the host reaches a node port of node $n" web-1 "$PROBE" get "http://$(node_ip $n):$port_1/" 10
  expect "a pod reaches a node port of node $n" web-1 in_pod web-2 get "http://$(node_ip $n):$port_1/" 10
done
expect "kubectl logs works" "" kubectl -n selftest logs web-2
user=$(field pod/web-1 '.status.containerStatuses[0].user.linux.uid')
[[ -z $user || $user == 65532 ]] || die "the pod runs as user $user, not 65532"
! kubectl -n selftest run root --image="$image" >/dev/null 2>&1 || die "Pod Security let a pod in that is not restricted"
ok "Pod Security refuses what is not restricted"

# --- Nothing is left.
"$HERE/down.sh" "$NAME"
"$HERE/down.sh" "$NAME" 2>&1 | grep -q "nothing is there" || die "down of a cluster that is down did something"
ok "down again finds nothing"
"$HERE/snapshot.sh" >"$tmp/after"
if ! diff "$tmp/before" "$tmp/after" >"$tmp/diff"; then
  cat "$tmp/diff" >&2
  die "the machine is not as it was before (< before, > now)"
fi
ok "links, routes, rules, mounts, control groups, processes, settings and paths are as before"
say "test-cluster: $passed checks passed"
