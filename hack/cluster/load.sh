#!/usr/bin/env bash
# Puts image archives onto every node of a cluster: load.sh NAME ARCHIVE.tar...
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# >= 2)) || die "usage: load.sh NAME ARCHIVE.tar..."
use_cluster "$1"
shift
need_root
is_up || die "cluster $NAME is not up; 'make cluster-up NAME=$NAME' starts it"
for archive in "$@"; do
  [[ -f $archive ]] || die "no such archive: $archive"
  for ((n = 1; n <= $(<"$DIR/nodes"); n++)); do
    import "$n" "$archive" || die "cluster $NAME: node $n does not take $archive (containerd's reason is above)"
  done
done
