#!/usr/bin/env bash
# The lobby's API against its own OpenAPI document: requests that the document allows and such that it forbids, and
# every answer held against it. The report stays in the build folder.
#
#   EXAMPLES=500 test-openapi.sh   more requests for each operation
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

venv=$(python_tools openapi)
export CONVENE_SCHEMATHESIS=$venv/bin/schemathesis
export CONVENE_OPENAPI_REPORT=$CARGO_TARGET_DIR/openapi
export CONVENE_OPENAPI_EXAMPLES=${EXAMPLES:-20}
cargo test --quiet --locked --manifest-path "$REPO/Cargo.toml" --test openapi
