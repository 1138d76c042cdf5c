#!/usr/bin/env bash
# All tests, layer by layer, from nothing: what is missing gets installed and
# built first. Stops at the first layer that fails.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LAYERS=$(mktemp)
export LAYERS
all=(setup clean tools build lint unit autobahn openapi editor chart image api faults cluster e2e demo)

summary() {
  local status=$? name result seconds total=0 passed=0 failed=0 skipped
  say ""
  while read -r name result seconds; do
    printf '  %-10s %-7s %5d s\n' "$name" "$result" "$seconds"
    total=$((total + seconds))
    if [[ $result == ok ]]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  done <"$LAYERS"
  skipped=$((${#all[@]} - passed - failed))
  printf '  %-10s %-7s %5d s\n\n' total "" "$total"
  echo "layers: $passed passed, $failed failed, $skipped skipped"
  rm -f "$LAYERS"
  exit "$status"
}
trap summary EXIT

layer() { "$HACK/layer.sh" "$@"; }

# What a run that died left behind; a cluster that a living run uses is locked, and waited for.
clean() { for cluster in e2e selftest; do "$HACK/cluster/down.sh" "$cluster"; done; }

# Compiled here, so that the other layers show the time of their tests.
build() {
  read -r image archive < <("$HACK/build-image.sh")
  say "image: $image in $archive"
  cargo test --locked --workspace --no-run --manifest-path "$REPO/Cargo.toml"
}

for name in "${all[@]}"; do
  case $name in
    setup) layer setup "$HACK/setup.sh" ;;
    clean) layer clean bash -c "set -euo pipefail; HACK='$HACK'; $(declare -f clean); clean" ;;
    build) layer build bash -c "set -euo pipefail; source '$HACK/lib.sh'; $(declare -f build); build" ;;
    tools) layer tools "$HACK/cluster/build.sh" ;;
    # All of them take a while; here some, by chance.
    faults) layer faults make -C "$REPO" test-faults QUICK=1 ;;
    *) layer "$name" make -C "$REPO" "$(if [[ $name == lint ]]; then echo lint; else echo "test-$name"; fi)" ;;
  esac
done
