#!/usr/bin/env bash
# Cargo calls this instead of rustc for this repository's own code, and for none
# of its dependencies: it counts which branches an input takes, as cargo-fuzz
# would have it, on the stable compiler.
set -euo pipefail
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Copt-level=1
