#!/usr/bin/env bash
# Kills a part of a local cluster, such as kube-apiserver or etcd. The node
# starts it again after a second.
#
#   kill.sh NAME PART
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# == 2)) || die "usage: kill.sh NAME PART"
use_cluster "$1"
killed=0
while read -r box; do
  # All but the pods are in the network of the node, and nothing else is.
  while read -r pid; do
    kill -KILL "$pid"
    killed=$((killed + 1))
  done < <(pgrep --ns "$box" --nslist net --exact "$2")
done < <(box_pids)
((killed)) || die "no $2 runs in cluster $NAME"
say "cluster $NAME: killed $2 ($killed)"
