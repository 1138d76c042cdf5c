#!/usr/bin/env bash
# Checks the chart with the pinned Helm.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HELM=$("$HACK/cluster/build.sh" --print-bin-dir)/helm
export HELM
exec "$HACK/chart-check.sh"
