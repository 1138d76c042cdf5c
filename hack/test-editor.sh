#!/usr/bin/env bash
# The editor in examples/editor: installed, type-checked, built; documents that
# converge over a real lobby and real relays; and two people who write in
# Chromium while the relay under them leaves.
#
#   SCREENSHOTS=DIR  keep pictures of the page
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

step() {
  local what=$1 since=$SECONDS
  shift
  say "editor: $what"
  "$@"
  say "editor: $what: $(elapsed "$since")"
}

# Only for what has changed: installing takes longer than the tests of a document.
install_packages() {
  local want stamp=node_modules/.installed
  want=$(cat package.json package-lock.json .npmrc <(node --version) | sha256sum)
  [[ $(cat "$stamp" 2>/dev/null) != "$want" ]] || return 0
  npm ci --no-progress
  echo "$want" >"$stamp"
}

# As the tests build it: alone, its dependencies would have other features, and be compiled a second time.
build_convene() { cargo test --locked --quiet --no-run --test architecture --manifest-path "$REPO/Cargo.toml"; }

"$HACK/setup.sh" chromium fonts-dejavu-core
command -v npm >/dev/null || "$HACK/setup.sh" nodejs npm
cd "$REPO/examples/editor"
# npm itself would say so only as one warning among many.
node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit((a === 20 && b >= 19) || (a === 22 && b >= 12) || a > 22 ? 0 : 1)' ||
  die "Node.js $(node --version) is too old: the editor's tools need 20.19, 22.12 or newer"
if grep -q '"resolved"' package-lock.json; then
  die "package-lock.json says where packages were downloaded; .npmrc here prevents that: 'npm install' again in examples/editor"
fi

CONVENE_BIN=$CARGO_TARGET_DIR/debug/convene
export CONVENE_BIN
step "the packages of package-lock.json" install_packages
step "type-check" npm run --silent check
step "build" npm run --silent build
step "the lobby and the relay" build_convene
step "documents, without a browser" npm run --silent test:documents
step "two people in Chromium" npm run --silent test:browser
