# shellcheck shell=bash disable=SC2034
# Sourced by the scripts here: names, addresses, and the boxes of a cluster.

# shellcheck source=../lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

CLUSTERS=$STATE/clusters
HERE=$HACK/cluster

# Never the caller's environment: make hands its NAME= down, and other systems have one too.
NAME='' DIR=''

# use_cluster NAME: everything below then speaks of that cluster.
use_cluster() {
  [[ ${1:-} =~ ^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$ ]] ||
    die "'${1:-}' is no name for a cluster: want up to 20 of a-z, 0-9 and '-', beginning with a letter"
  NAME=$1 DIR=$CLUSTERS/$1
}

need_root() {
  [[ $(uname -s) == Linux && $EUID == 0 ]] ||
    die "the local cluster needs Linux and root (it makes network and process namespaces)"
}

# lock_cluster: one command at a time works on a cluster, until this shell ends.
lock_cluster() { lock_folder "$DIR" 8 300 "cluster $NAME"; }

# lock_machine: one command at a time gives and takes addresses. /run is there
# for everyone, whoever's state folder is where, and locking it leaves nothing behind.
lock_machine() {
  exec 9</run
  flock -w 120 9 || die "another cluster has been starting for two minutes; see 'ps' for up.sh"
}
unlock_machine() { exec 9<&-; }

# --- Addresses. Cluster C has 16 places of which node N takes K = 16 C + N. ---

place() { echo $((16 * INDEX + $1)); }
link() { echo "convene-$(place "$1")"; }
host_ip() { echo "10.254.$(place "$1").1"; }
node_ip() { echo "10.254.$(place "$1").2"; }
pod_range() { echo "10.244.$(place "$1").0/24"; }
all_nodes() { echo "10.254.$((16 * INDEX)).0/20"; }
all_pods() { echo "10.244.$((16 * INDEX)).0/20"; }
services() { echo "10.$((96 + INDEX)).0.0/16"; }
service_ip() { echo "10.$((96 + INDEX)).0.$1"; }

# The routes that we make carry this protocol number, to be told from everyone else's.
PROTO=199

# A cluster's claim on its index: three routes to nowhere. They also keep what is
# sent to an address that nobody has (a dead node, a deleted pod) from leaving this machine.
add_claim() { for_claim add; }
drop_claim() { for_claim del 2>/dev/null || true; }
for_claim() {
  local range status=0
  for range in "$(all_nodes)" "$(all_pods)" "$(services)"; do
    ip route "$1" unreachable "$range" proto $PROTO metric 4000 || status=1
  done
  return $status
}

# has_cables: some cluster with this index has a node.
has_cables() {
  local n
  for ((n = 1; n <= 15; n++)); do [[ ! -d /sys/class/net/$(link "$n") ]] || return 0; done
  return 1
}

# --- Boxes. One node is one box: the process that holds its namespaces. ---

node_dir() { echo "$DIR/node-$1"; }

# box_processes N: "PID NAME" of what runs as node N's box, inside or out. They are
# found by what they were started with, so that no other process is ever taken
# for one, and no record can be stale. N may be a pattern.
box_processes() {
  local file name
  while read -r file; do
    name=$(cat "${file%/cmdline}/comm" 2>/dev/null) || continue
    if [[ $name == unshare || $name == bash ]]; then echo "$(basename "${file%/cmdline}") $name"; fi
  done < <(grep -lzxE -- "$DIR/node-$1" /proc/[0-9]*/cmdline 2>/dev/null)
}

# box_pid N: the process that node N lives and dies with.
box_pid() { box_processes "$1" | awk '$2 == "unshare" { print $1; found = 1 } END { exit !found }'; }
box_pids() { box_processes '[0-9]+' | awk '$2 == "unshare" { print $1 }'; }

# is_up: whole, and every box of it alive.
is_up() {
  [[ -f $DIR/ready ]] || return 1
  local n
  for ((n = 1; n <= $(<"$DIR/nodes"); n++)); do box_pid "$n" >/dev/null || return 1; done
}

kubectl() { "$DIR/kubectl" "$@"; }

# import NODE ARCHIVE: through the box's own root, where its socket lies.
import() {
  local pid
  pid=$(box_pid "$1") || die "cluster $NAME: node $1 does not run; see $(node_dir "$1")/log/"
  ctr -a "/proc/$pid/root/run/containerd/containerd.sock" -n k8s.io images import "$2" >/dev/null
}

# --- Control groups: a root of its own for each node's pods. ---

# One line for each hierarchy: several with version 1, a single one with version 2.
hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts | sort -u; }

make_cgroups() {
  local root f
  for root in $(hierarchies); do
    mkdir -p "$root/$1"
    # A version 1 cpuset starts empty, and nothing can run in it.
    for f in cpuset.cpus cpuset.mems; do
      if [[ -f $root/$f && -f $root/$1/$f && -z $(<"$root/$1/$f") ]]; then cat "$root/$f" >"$root/$1/$f"; fi
    done
    # Version 2 hands controllers down level by level. (Not run yet: no machine with it was at hand.)
    if [[ $root == /sys/fs/cgroup && -f $root/cgroup.controllers ]]; then
      for f in $(<"$root/cgroup.controllers"); do
        echo "+$f" >"$root/cgroup.subtree_control" 2>/dev/null || continue
        echo "+$f" >"$root/$1/cgroup.subtree_control" 2>/dev/null || true
      done
    fi
  done
}

remove_cgroups() {
  local root
  for root in $(hierarchies); do
    if [[ -d $root/$1 ]]; then find "$root/$1" -depth -type d -exec rmdir {} + 2>/dev/null || return 1; fi
  done
}
