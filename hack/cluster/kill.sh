#!/usr/bin/env bash
# Kills a part of a local cluster, such as kube-apiserver or etcd. The node
# starts it again after a second.
#
#   kill.sh NAME PART                 on each node that has it
#   kill.sh NAME PART SIGNAL [NODE]   another signal, such as STOP and CONT; on one node
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# >= 2 && $# <= 4)) || die "usage: kill.sh NAME PART [SIGNAL [NODE]]"
use_cluster "$1"
signal=${3:-KILL}
boxes=$(box_pids)
if [[ -n ${4:-} ]]; then
  boxes=$(box_pid "${4#"$NAME-"}") || die "cluster $NAME has no node $4"
fi
reached=0
for box in $boxes; do
  # All but the pods are in the network of the node, and nothing else is.
  while read -r pid; do
    kill -s "$signal" "$pid"
    reached=$((reached + 1))
  done < <(pgrep --ns "$box" --nslist net --exact "$2")
done
((reached)) || die "no $2 runs in cluster $NAME${4:+, node $4}"
say "cluster $NAME: $signal to $2 ($reached)"
