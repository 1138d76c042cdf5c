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

# lock_folder FOLDER FD SECONDS WHO: one command at a time works on what the folder
# holds, until this shell ends or closes the file descriptor. The folder itself is
# what is locked (and made where it is missing), so that no lock file is left behind.
lock_folder() {
  local folder=$1 fd=$2 seconds=$3 who=$4
  while :; do
    mkdir -p "$folder"
    eval "exec $fd<\"\$folder\""
    if ! flock -n "$fd"; then
      say "$who: waiting for another command that works on it (or for what is left of a killed one)"
      flock -w "$seconds" "$fd" || die "$who: another command has worked on it for $((seconds / 60)) minutes; see 'ps' for scripts of $HACK"
    fi
    # It may have been removed while we waited: then the lock is on a ghost.
    [[ $folder -ef /proc/self/fd/$fd ]] && return
  done
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

# python_tools NAME: path of the Python environment with what hack/NAME/requirements.txt
# pins, made when that is new. In place only once it is whole: pip writes the folder's
# name into its programs, so it cannot be moved there.
python_tools() {
  local name=$1 pinned=$HACK/$1/requirements.txt venv
  venv=$CACHE/venv/$name-$(sha256sum "$pinned" | cut -c1-12)
  if [[ ! -e $venv/.whole ]]; then
    rm -rf "$venv"
    {
      python3 -m venv "$venv" &&
        "$venv/bin/pip" --quiet --disable-pip-version-check install --require-hashes --only-binary=:all: -r "$pinned" &&
        touch "$venv/.whole"
    } >&2 || { rm -rf "$venv"; die "cannot install the Python tools that hack/$name/requirements.txt pins"; }
  fi
  printf '%s\n' "$venv"
}
