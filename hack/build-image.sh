#!/usr/bin/env bash
# Builds the image of convene as an OCI archive, without any container engine.
# The last line of its output is "REFERENCE ARCHIVE"; the tag follows the content.
#
#   build-image.sh           the image
#   build-image.sh --binary  only the static binary, to target/image/convene (for the Dockerfile)
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

target=$(uname -m)-unknown-linux-musl
start=$SECONDS
# The same source gives the same bytes on every machine, in every folder. (Our own
# files are named by paths inside the repository as it is.)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$CARGO_TARGET_DIR=/target"
declare -x "CFLAGS_${target//-/_}=-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$CARGO_TARGET_DIR=/target"
cd "$REPO"
say "image: compiling the static binary (minutes the first time, seconds when nothing changed)"
# A person sees cargo's progress, a log does not need it.
quiet=--quiet
[[ ! -t 2 ]] || quiet=
cargo build ${quiet:+"$quiet"} --locked --release --target "$target" --bin convene ||
  die "the static build failed (cargo's message is above; a missing target or musl-gcc comes with 'make setup')"
binary=$CARGO_TARGET_DIR/$target/release/convene
say "image: binary built, $(($(stat -c %s "$binary") / 1000)) kB ($(elapsed "$start"))"

if [[ ${1:-} == --binary ]]; then
  install -D "$binary" "$REPO/target/image/convene"
  say "image: binary copied to target/image/convene"
  exit
fi
"$(helper image)" -name localhost/convene -dir "$CACHE/images" -max-mb 40 "$binary:/convene"
# Each change of the code leaves an archive behind, and each clone a build folder.
find "$CACHE/images" -name '*.tar' -mtime +7 -delete
touch "$CARGO_TARGET_DIR"
find "$CACHE/target" -mindepth 1 -maxdepth 1 -type d -mtime +14 -exec rm -rf {} + 2>/dev/null || true
