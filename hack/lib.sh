# shellcheck shell=bash disable=SC2034
# Sourced by every script here: where things lie, how to speak, how to fail.

HACK=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(dirname "$HACK")
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/convene
STATE=${XDG_STATE_HOME:-$HOME/.local/state}/convene
# A build folder for each clone. They cannot share one: cargo tells by times of
# change what is new, and would take another clone's newer build for this one's.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target/$(basename "$REPO")-$(printf %s "$REPO" | sha256sum | cut -c1-8)}

say() { printf '%s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# elapsed SINCE: seconds as "7 s" or "2 min 5 s".
elapsed() {
  local s=$((SECONDS - $1))
  if ((s < 60)); then printf '%d s' "$s"; else printf '%d min %d s' $((s / 60)) $((s % 60)); fi
}

# One environment for all Go here, whatever the caller's own says: the same sources
# give the same bytes in any folder, and everything is compiled once.
pinned_go() {
  (cd "$HACK" && env CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -mod=readonly' GOWORK=off go "$@")
}

# helper NAME: path of the small Go program hack/NAME, built when its source is new.
helper() {
  local name=$1 key dir
  key=$(cd "$HACK" && cat go.mod "$name"/*.go | sha256sum | cut -c1-12) || return
  dir=$CACHE/helpers/$name-$key
  if [[ ! -x $dir/$name ]]; then
    local tmp=$dir.tmp.$$
    mkdir -p "$tmp"
    pinned_go build -ldflags '-s -w' -o "$tmp/$name" "./$name" >&2 ||
      { rm -rf "$tmp"; die "building hack/$name failed (see the compiler's message above)"; }
    # A second builder may have been faster; its result is the same.
    mv -T "$tmp" "$dir" 2>/dev/null || rm -rf "$tmp"
  fi
  printf '%s\n' "$dir/$name"
}
