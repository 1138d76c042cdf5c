#!/usr/bin/env bash
# Tests the demo as a user meets it: killed at several steps, run again, looked
# at, run once more, removed without a trace; then on a cluster that is not its own.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# State of our own, so that a demo that someone looks at stays untouched; the cache is everyone's.
tmp=$(mktemp -d)
failures=$STATE/failures/demo
export XDG_STATE_HOME=$tmp/state
STATE=$XDG_STATE_HOME/convene
unset CLUSTER NODES IMAGE YES
passed=0
ok() { passed=$((passed + 1)); say "ok: $*"; }

# shellcheck disable=SC2317,SC2329  # called by the trap
finish() {
  local status=$?
  if ((status != 0)); then
    rm -rf "$failures"
    mkdir -p "$failures"
    cp -r "$tmp"/*.txt "$STATE/demo/demo.log" "$STATE/demo/failure" "$failures/" 2>/dev/null || true
    say "test-demo failed; what explains it is in $failures"
  fi
  "$HACK/demo.sh" down || true
  "$HACK/cluster/down.sh" theirs || true
  rm -rf "$tmp"
}
trap finish EXIT

mkdir -p "$XDG_STATE_HOME"
"$HACK/cluster/snapshot.sh" >"$tmp/before.txt"

# --- Killed, as with the machine's terminal: all at once. The boxes have sessions of their own.
kill_at() {
  local step=$1 pause=$2 pid
  setsid "$HACK/demo.sh" up >"$tmp/killed.txt" 2>&1 &
  pid=$!
  until grep -q "^\[$step/" "$tmp/killed.txt"; do
    kill -0 $pid 2>/dev/null || die "the demo ended before step $step: $(cat "$tmp/killed.txt")"
    sleep 0.1
  done
  sleep "$pause"
  kill -KILL -- "-$pid"
  wait $pid 2>/dev/null || true
  ok "killed in step $step"
}
kill_at 1 2
kill_at 3 2
kill_at 6 1

"$HACK/demo.sh" up 2>&1 | tee "$tmp/demo.txt"
ok "the demo ran after that"
# From what each session's region was chosen, how far it and the next best are thought to be, and what came of it.
rungs='measured|network|coordinates|region|geoIp'
rows=$(grep -Ec " ($rungs) +[a-z0-9-]+ +[0-9]+ +[a-z0-9-]+ +[0-9]+ +[0-9]+ +[0-9]+\.[0-9]+ +[0-9]+\.[0-9]+$" "$tmp/demo.txt" || true)
sessions=$(sed -n 's/^\([0-9]*\) sessions in .*/\1/p' "$tmp/demo.txt")
((rows > 0 && rows == sessions)) || die "$rows rows of ${sessions:-no} sessions name rung, estimate and runner-up: $(cat "$tmp/demo.txt")"
ok "each of its $rows rows names rung, estimate and runner-up"
commands=0
while read -r command; do
  [[ $command != make* ]] || continue
  bash -c "$command" >"$tmp/command.txt" 2>&1 || die "a command that the demo printed fails: $command: $(cat "$tmp/command.txt")"
  [[ -s $tmp/command.txt ]] || die "a command that the demo printed shows nothing: $command"
  commands=$((commands + 1))
done < <(sed -n 's/^    //p' "$tmp/demo.txt" | grep -E "^(make|curl|$STATE)")
((commands >= 6)) || die "the demo printed only $commands commands to look around"
ok "its $commands commands work as printed"

"$HACK/demo.sh" up >"$tmp/again.txt" 2>&1 || die "the demo fails when run again: $(tail -n 40 "$tmp/again.txt")"
ok "the demo ran again: $(grep '^The demo ran' "$tmp/again.txt")"
"$HACK/demo.sh" down
[[ ! -e $STATE ]] || die "demo-down left $(find "$STATE")"
"$HACK/cluster/snapshot.sh" >"$tmp/after.txt"
diff "$tmp/before.txt" "$tmp/after.txt" >&2 || die "the machine is not as it was before (< before, > now)"
ok "demo-down left nothing on this machine"

# --- In someone else's cluster: only what it brought itself goes again.
"$HACK/cluster/up.sh" theirs
read -r IMAGE archive < <("$HACK/build-image.sh")
export IMAGE CLUSTER=current
"$HACK/cluster/load.sh" theirs "$archive"
environment=$("$HACK/cluster/env.sh" theirs)
kubectl() { "$STATE/clusters/theirs/kubectl" "$@"; }
objects() {
  kubectl get namespaces,crd,clusterroles,clusterrolebindings -o name | sort
  kubectl -n default get lobbies.convene.dev -o name 2>/dev/null || true
}
objects >"$tmp/before.txt"
demo() { (eval "$environment"; "$HACK/demo.sh" "$@"); }
echo n | demo up >"$tmp/refused.txt" 2>&1 && die "the demo went on although the answer was no"
grep -q 'convene-theirs' "$tmp/refused.txt" || die "the demo did not name the context before it asked: $(cat "$tmp/refused.txt")"
objects | diff "$tmp/before.txt" - >&2 || die "the demo changed a cluster although the answer was no"
ok "asks before it touches the current cluster, and takes no for an answer"
YES=1 demo up >"$tmp/current.txt" 2>&1 || die "the demo fails on the current cluster: $(tail -n 40 "$tmp/current.txt")"
ok "the demo ran on the current cluster"
kubectl -n default apply -f "$REPO/examples/minimal/lobby.yaml" >/dev/null
demo down >"$tmp/used.txt" 2>&1 || die "demo-down fails: $(cat "$tmp/used.txt")"
kubectl -n default get lobbies.convene.dev -o name | grep -q lobby || die "demo-down took a lobby with it that is not the demo's"
ok "definitions that someone uses stay"
kubectl -n default delete lobbies.convene.dev --all >/dev/null
kubectl delete crd lobbies.convene.dev relaypools.convene.dev --ignore-not-found >/dev/null
YES=1 demo up >"$tmp/current.txt" 2>&1 || die "the demo fails on the current cluster the second time: $(tail -n 40 "$tmp/current.txt")"
demo down >"$tmp/down.txt" 2>&1 || die "demo-down fails: $(cat "$tmp/down.txt")"
objects | diff "$tmp/before.txt" - >&2 || die "demo-down left something in the current cluster (< before, > now)"
ok "demo-down left nothing in the current cluster"
say "test-demo: $passed checks passed"
