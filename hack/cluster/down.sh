#!/usr/bin/env bash
# Takes a local cluster down and removes every trace of it: down.sh NAME
#
# Works as well on what a killed or half-made run left, and on nothing at all.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LOCKED=0
if [[ ${1:-} == --locked ]]; then LOCKED=1; shift; fi # by up.sh, which keeps the folder
(($# == 1)) || die "usage: down.sh NAME"
use_cluster "$1"
need_root
if ((LOCKED == 0)); then
  if [[ ! -d $DIR && -z $(box_pids) ]]; then say "cluster $NAME: nothing is there"; exit; fi
  lock_cluster
fi
START=$SECONDS

# Everything of a node lives in its box, and ends with this one process.
for pid in $(box_pids); do kill -KILL "$pid"; done
for ((i = 0; i < 100; i++)); do
  [[ -n $(box_processes '[0-9]+') ]] || break
  sleep 0.1
done

if [[ -f $DIR/index ]]; then
  INDEX=$(<"$DIR/index")
  ours() { [[ $(cat "/sys/class/net/$1/ifalias" 2>/dev/null) == "convene cluster $NAME in $CLUSTERS" ]]; }

  # Not while another cluster takes an index: it could be this one.
  lock_machine
  # With the link go its routes. The kernel would do it too, but only when the
  # last connection of a dead process has given up.
  for ((n = 1; n <= 15; n++)); do
    link=$(link "$n")
    # Someone else may have this index, if ours was cut off before it had links.
    if [[ -d /sys/class/net/$link ]] && ! ours "$link"; then continue; fi
    if ours "$link"; then ip link del "$link" 2>/dev/null || true; fi
    # A control group can be removed once the last process in it is gone.
    for ((i = 0; ; i++)); do
      remove_cgroups "$link" && break
      ((i < 150)) || die "cluster $NAME: processes remain in the control groups */$link; see $(hierarchies | head -n 1)/$link"
      sleep 0.1
    done
  done
  # Unless another cluster has taken the index over, its claim goes too.
  has_cables || drop_claim
  unlock_machine
fi

if ((LOCKED == 1)); then
  find "$DIR" -xdev -mindepth 1 -delete
else
  rm -rf --one-file-system "$DIR"
  # Only what is empty goes: other clusters' folders stay.
  rmdir "$CLUSTERS" "$STATE" 2>/dev/null || true
  say "cluster $NAME: down, nothing left ($(elapsed "$START"))"
fi
