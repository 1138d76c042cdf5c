#!/usr/bin/env bash
# Runs one layer of the tests and says how long it took: layer.sh NAME COMMAND...
#
# With LAYERS set, a line "NAME RESULT SECONDS" goes to that file, for the summary.
set -uo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# >= 2)) || die "usage: layer.sh NAME COMMAND..."
name=$1
shift
say ""
say "=== layer $name"
since=$SECONDS
"$@" && status=0 || status=$?
result=ok
((status == 0)) || result=FAILED
say "layer $name: $result in $(elapsed "$since")"
if [[ -n ${LAYERS:-} ]]; then echo "$name $result $((SECONDS - since))" >>"$LAYERS"; fi
exit "$status"
