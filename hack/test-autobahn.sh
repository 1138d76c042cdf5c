#!/usr/bin/env bash
# RFC 6455 by the Autobahn cases, against a relay process. The report stays in the build folder.
#
#   CASES='9.*' test-autobahn.sh   only these
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

venv=$(python_tools autobahn)
export CONVENE_KOSOKU=$venv/bin/kosoku
export CONVENE_AUTOBAHN_REPORT=$CARGO_TARGET_DIR/autobahn
if [[ -n ${CASES:-} ]]; then export CONVENE_AUTOBAHN_CASES=$CASES; fi
cargo test --quiet --locked --manifest-path "$REPO/Cargo.toml" --test conformance
