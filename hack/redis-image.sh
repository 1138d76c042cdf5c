#!/usr/bin/env bash
# Packs this machine's redis-server, with the libraries that it needs, into an image for clusters that can pull none.
# The last line of its output is "REFERENCE ARCHIVE"; the tag follows the content.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

server=$(command -v redis-server) || die "no redis-server on this machine; 'make setup' installs it"
files=("$(readlink -f "$server"):/redis-server")
while read -r library; do
  files+=("$library:$library")
done < <(ldd "$server" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }')
((${#files[@]} > 1)) || die "ldd does not say what $server needs"
"$(helper image)" -name localhost/convene-redis -dir "$CACHE/images" "${files[@]}"
