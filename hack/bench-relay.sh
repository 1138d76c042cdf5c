#!/usr/bin/env bash
# The relay beside other WebSocket servers: installs those into the cache, at the
# versions below, and measures all in turns. QUICK=1 makes it short and only prints.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The last y-websocket that brings a server.
peers=(ws@8.23.0 y-websocket@2.1.0 yjs@13.6.27)

command -v go >/dev/null || die "no 'go' on the PATH; install Go, in which one of the other servers is written"
command -v node >/dev/null || die "no 'node' on the PATH; install Node.js, which the other servers run on"
npm=$CACHE/bench/npm-$(sha256sum <<<"${peers[*]}" | cut -c1-12)
if [[ ! -d $npm ]]; then
  mkdir -p "$npm.new"
  # No scripts of packages: one of y-websocket's compiles a database that is not used.
  npm install --prefix "$npm.new" --ignore-scripts --no-audit --no-fund --silent "${peers[@]}" >&2
  mv "$npm.new" "$npm"
fi
export CONVENE_BENCH_NPM=$npm

# Versions are in its go.mod and go.sum.
go=$REPO/benches/relay/peers/centrifuge
centrifuge=$CACHE/bench/centrifuge-$(cat "$go"/go.* "$go"/main.go | sha256sum | cut -c1-12)
if [[ ! -x $centrifuge ]]; then
  (cd "$go" && env CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false -mod=readonly' GOWORK=off go build -o "$centrifuge.new.$$" .) >&2
  mv "$centrifuge.new.$$" "$centrifuge"
fi
export CONVENE_BENCH_CENTRIFUGE=$centrifuge

# Five thousand connections, at both ends.
ulimit -n 20000 || die "each end of 5,000 connections needs a file descriptor: raise the limit (ulimit -n)"
"$HACK/bench.sh" relay
