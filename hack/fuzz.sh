#!/usr/bin/env bash
# Every parser of bytes from outside under libFuzzer, one after the other, from
# the corpus that is kept. What breaks one stops the run; its input is then in
# the folder that libFuzzer names.
#
#   fuzz.sh SECONDS [TARGET...]   TARGET: a folder of tests/fuzz/corpus; all by default
#   KEEP=8                        add so many of the shortest inputs that reach something new to the corpus
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=$1
shift
cd "$REPO"
corpus=tests/fuzz/corpus
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(ls "$corpus")

export RUSTC_WORKSPACE_WRAPPER=$HACK/fuzz/rustc.sh
cargo build --locked --features fuzz --example fuzz
binary=$CARGO_TARGET_DIR/debug/examples/fuzz

broken=$CARGO_TARGET_DIR/fuzz/broken
mkdir -p "$broken"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for target in "${targets[@]}"; do
  export CONVENE_FUZZ_TARGET=$target
  grown=$CARGO_TARGET_DIR/fuzz/grown/$target
  mkdir -p "$grown"
  say "fuzz: $target for $seconds s"
  "$binary" -max_total_time="$seconds" -max_len=32768 -timeout=10 -rss_limit_mb=2048 -verbosity=1 \
    -print_final_stats=1 -artifact_prefix="$broken/$target-" "$grown" "$corpus/$target" >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    die "$target is broken: look into $broken"
  }
  grep -aE 'INITED|DONE|number_of_executed_units' "$log"
  [[ -n ${KEEP:-} ]] || continue
  kept=$(mktemp -d)
  cp "$corpus/$target"/* "$kept"
  "$binary" -set_cover_merge=1 -max_len=400 "$kept" "$grown" 2>/dev/null
  # By size, shortest first; names are hashes, or those that are in the corpus already.
  mapfile -t new < <(find "$kept" -type f -printf '%s %f\n' | sort -n | cut -d' ' -f2 |
    while read -r name; do [[ -e $corpus/$target/$name ]] || echo "$name"; done | head -n "$KEEP")
  for name in "${new[@]}"; do cp "$kept/$name" "$corpus/$target/grown-${name:0:12}"; done
  rm -rf "$kept"
done
