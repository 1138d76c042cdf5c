#!/usr/bin/env bash
# Everything that finds fault with source text: each check runs, then the whole fails or not.
set -uo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$REPO" || exit
failed=()
check() {
  local what=$1
  shift
  "$@" || failed+=("$what")
}

go_format() {
  local files
  files=$(gofmt -l hack) || return
  if [[ -n $files ]]; then say "gofmt would change: $files"; return 1; fi
}
shell_scripts() { git ls-files -z -- 'hack/*.sh' .ci/run | xargs -0 shellcheck; }

check shellcheck shell_scripts
check gofmt go_format
check "go vet" pinned_go vet ./dns ./image ./pause ./pki ./probe
check "cargo fmt" cargo fmt --all --check
check clippy cargo clippy --quiet --locked --workspace --all-targets -- -D warnings

((${#failed[@]} == 0)) || { IFS=,; die "lint: failed: ${failed[*]}"; }
