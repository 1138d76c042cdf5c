#!/usr/bin/env bash
# Lists the local clusters: status.sh
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

shopt -s nullglob
dirs=("$CLUSTERS"/*/)
if ((${#dirs[@]} == 0)); then echo "no local clusters"; exit; fi
printf '%-20s %-9s %-7s %-18s %s\n' NAME STATE NODES SERVICES KUBECONFIG
for dir in "${dirs[@]}"; do
  use_cluster "$(basename "$dir")"
  INDEX=$(cat "$DIR/index" 2>/dev/null || echo -1)
  state=broken
  if is_up; then state=up; elif [[ -n $(box_pids) ]]; then state=starting; fi
  nodes=$(box_pids | wc -l)/$(cat "$DIR/nodes" 2>/dev/null || echo '?')
  printf '%-20s %-9s %-7s %-18s %s\n' "$NAME" "$state" "$nodes" "$( ((INDEX < 0)) || services)" "$DIR/kubeconfig"
done
