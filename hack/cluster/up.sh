#!/usr/bin/env bash
# Brings up a local Kubernetes: up.sh NAME [--nodes N]
#
# Each node is a box: one process in network, mount and process namespaces of
# its own, with everything that the node runs inside. See README.md here.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

NODES=
while (($#)); do
  case $1 in
    --nodes) NODES=${2:?--nodes needs a number}; shift 2 ;;
    -*) die "unknown option '$1'; usage: up.sh NAME [--nodes N]" ;;
    *) [[ -z ${NAME:-} ]] || die "more than one name given"; use_cluster "$1"; shift ;;
  esac
done
[[ -n ${NAME:-} ]] || die "usage: up.sh NAME [--nodes N]"
[[ $NODES =~ ^([1-9]|1[0-5])?$ ]] || die "--nodes $NODES: want 1 to 15"

need_root
for cmd in containerd ctr runc ip iptables conntrack nsenter unshare flock; do
  command -v "$cmd" >/dev/null || die "no '$cmd' on this machine; 'make setup' installs it"
done

"$HERE/build.sh"
BIN=$("$HERE/build.sh" --print-bin-dir)
lock_cluster

# Without a wish for its size, a cluster that is up is fine as it is.
if is_up && [[ -z $NODES || $(<"$DIR/nodes") == "$NODES" ]]; then
  say "cluster $NAME: already up"
  exit
fi
# Whatever else is there is the rest of a dead or half-made run, or of another size.
"$HERE/down.sh" --locked "$NAME"
NODES=${NODES:-1}

START=$SECONDS
step() { say "cluster $NAME: $* ($(elapsed "$START"))"; }
trap '[[ $? == 0 ]] || say "cluster $NAME: not up; logs are in $DIR/node-*/log, and the next up or down cleans this away"' EXIT

pack() { "$IMAGE_TOOL" -name "$1" -dir "$CACHE/images" "$2"; }
IMAGE_TOOL=$(helper image)
PKI_TOOL=$(helper pki)
PROBE=$(helper probe)
read -r pause_image pause_archive < <(pack localhost/convene-pause "$(helper pause):/pause")
read -r dns_image dns_archive < <(pack localhost/convene-coredns "$BIN/coredns:/coredns")

# --- Claim an index, start the boxes, plug in their cables: under one lock,
# because no two clusters may choose the same addresses.
lock_machine

# in_use RANGE: the host's routes, except the default ones, that touch the range.
in_use() {
  ip -4 route show table all root "$1"
  ip -4 route show table all match "$1" | grep -v '^default\|^0\.0\.0\.0/0' || true
}

claim() {
  local range taken foreign=''
  for ((INDEX = 0; INDEX < 16; INDEX++)); do
    # Claim and cables come under one lock: a claim alone is a dead cluster's.
    has_cables || drop_claim
    taken=''
    for range in "$(all_nodes)" "$(all_pods)" "$(services)"; do
      taken+=$(in_use "$range" | sed "s|^|$range: |")
      [[ -z $taken || $taken == *$'\n' ]] || taken+=$'\n'
    done
    if [[ -z $taken ]]; then
      [[ -z $foreign ]] || say "cluster $NAME: taking index $INDEX, because the host already has routes that are not ours:"$'\n'"$foreign"
      return
    fi
    foreign+=$(grep -v "proto $PROTO\|dev convene-" <<<"$taken" || true)
  done
  die "cluster $NAME: no addresses are free. 16 clusters run, or the host has routes in 10.254.0.0/16, 10.244.0.0/16 and 10.96.0.0/12:"$'\n'"$foreign"
}
claim
echo "$INDEX" >"$DIR/index"
echo "$NODES" >"$DIR/nodes"
echo "$BIN" >"$DIR/bin"
add_claim

peers=()
for ((n = 1; n <= NODES; n++)); do peers+=("$NAME-$n=$(node_ip "$n")"); done
mkdir -m 700 "$DIR/pki"
"$PKI_TOOL" -dir "$DIR/pki" -cluster "$NAME" -server "$(node_ip 1)" -service "$(service_ip 1)" "${peers[@]}"
install -m 600 "$DIR/pki/admin.kubeconfig" "$DIR/kubeconfig"
# With a cache of its own: kubectl else writes to the user's ~/.kube.
cat >"$DIR/kubectl" <<SH
#!/bin/sh
KUBECACHEDIR='$DIR/kubectl-cache' exec '$BIN/kubectl' --kubeconfig='$DIR/kubeconfig' "\$@"
SH
chmod +x "$DIR/kubectl"

# What br_netfilter is a module of, where it is one; without it Services fail between pods of one node.
if command -v modprobe >/dev/null; then modprobe -aq br_netfilter overlay || true; fi

start_box() {
  local n=$1 dir
  dir=$(node_dir "$n")
  mkdir -p "$dir"/{log,run,var-lib,var-log}
  cp "$HERE/box.sh" "$dir/box.sh"
  cat >"$dir/env" <<ENV
CLUSTER=$NAME NODE=$NAME-$n FIRST=$((n == 1))
SERVER=$(node_ip 1) NODE_IP=$(node_ip "$n") HOST_IP=$(host_ip "$n")
POD_RANGE=$(pod_range "$n") ALL_PODS=$(all_pods) ALL_NODES=$(all_nodes)
SERVICES=$(services) DNS_IP=$(service_ip 10)
CGROUP=/$(link "$n") PAUSE_IMAGE=$pause_image
ENV
  make_cgroups "$(link "$n")"
  # In a session of its own, so that neither Ctrl-C nor a closed terminal reaches it.
  # Killing this one process ends all that is in the box.
  (
    close_inherited
    exec setsid unshare --net --mount --uts --ipc --pid --fork --mount-proc --kill-child --propagation private \
      bash "$dir/box.sh" "$dir" "$BIN"
  ) >"$dir/log/box.log" 2>&1 </dev/null &
}

# close_inherited: nothing that a caller has open, such as a lock or a pipe that
# someone reads to its end, may stay open for as long as the box lives.
close_inherited() {
  local fd
  for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    if ((fd > 2 && fd < 255)); then exec {fd}>&-; fi
  done
}

join_host() {
  local n=$1 link pid i
  link=$(link "$n")
  for ((i = 0; ; i++)); do
    pid=$(box_pid "$n") && [[ ! /proc/$pid/ns/net -ef /proc/self/ns/net ]] && break
    ((i < 100)) || die "node $n did not start: $(cat "$(node_dir "$n")/log/box.log")"
    sleep 0.1
  done
  ip link add "$link" type veth peer name eth0 netns "$pid"
  ip link set "$link" alias "convene cluster $NAME in $CLUSTERS"
  ip addr add "$(host_ip "$n")/30" dev "$link"
  # For this link only: the host as a whole does not become a router.
  echo 1 >"/proc/sys/net/ipv4/conf/$link/forwarding"
  ip link set "$link" up
  ip route add "$(pod_range "$n")" via "$(node_ip "$n")" proto "$PROTO"
  if ((n == 1)); then ip route add "$(services)" via "$(node_ip 1)" proto "$PROTO"; fi
}

for ((n = 1; n <= NODES; n++)); do start_box "$n"; done
for ((n = 1; n <= NODES; n++)); do join_host "$n"; done
unlock_machine
step "index $INDEX, $NODES node(s) started"

# --- Wait until it works, not only until it runs.

# within SECONDS WHAT COMMAND...: again and again until it succeeds.
within() {
  local limit=$((SECONDS + $1)) what=$2 out
  shift 2
  until out=$("$@" 2>&1); do
    if ((SECONDS > limit)); then
      say "$out"
      for f in "$DIR"/node-*/log/box.log; do say "--- $f"; tail -n 15 "$f" >&2; done
      if ((NODES > 1)) && iptables -S FORWARD 2>/dev/null | grep -q '^-P FORWARD DROP'; then
        say "This host's iptables drop forwarded packets (FORWARD policy DROP), so nodes cannot reach each other."
      fi
      die "cluster $NAME: $what did not come to be in time"
    fi
    [[ -n $(box_pids) ]] || die "cluster $NAME: the boxes ended: $(tail -n 5 "$DIR"/node-*/log/box.log)"
    sleep 0.3
  done
}

within 90 "the API server" kubectl get --raw /readyz
step "API server answers"
for ((n = 1; n <= NODES; n++)); do
  for archive in "$pause_archive" "$dns_archive"; do
    within 60 "containerd on node $n" import "$n" "$archive"
  done
done
sed -e "s|@IMAGE@|$dns_image|" -e "s|@ADDRESS@|$(service_ip 10)|" "$HERE/coredns.yaml" |
  kubectl apply --server-side -f - >/dev/null
for ((n = 1; n <= NODES; n++)); do
  within 120 "node $NAME-$n" kubectl wait --for=condition=Ready --timeout=5s "node/$NAME-$n"
done
step "nodes are ready"
within 120 "CoreDNS" kubectl -n kube-system rollout status deployment/coredns --timeout=5s
"$PROBE" resolve kubernetes.default.svc.cluster.local. 30 "$(service_ip 10):53" >/dev/null ||
  die "cluster $NAME: CoreDNS runs but does not answer at $(service_ip 10)"
touch "$DIR/ready"
step "ready"
say "  kubeconfig: $DIR/kubeconfig"
say "  kubectl:    $DIR/kubectl get pods -A"
