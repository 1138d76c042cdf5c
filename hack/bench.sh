#!/usr/bin/env bash
# bench.sh NAME [PAGE]: runs a benchmark and puts what it prints into PAGE
# (docs/benchmarks.md), between the lines <!-- NAME --> and <!-- /NAME -->.
# QUICK=1 makes it short and only prints. Benchmarks want a machine that does
# nothing else.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=$1
page=$REPO/${2:-docs/benchmarks.md}
table=$(mktemp)
trap 'rm -f "$table"' EXIT

cargo bench --quiet --locked --manifest-path "$REPO/Cargo.toml" --bench "$name" | tee "$table"
# Criterion tells of its own steps before the report.
if [[ $name == route ]]; then
  sed -i -n '/^| /,$p' "$table"
fi
printf '\n%s, %s cores, %s; %s; %s.\n' "$(date +%F)" "$(nproc)" \
  "$(awk -F ': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)" \
  "$(uname -sr)" "$(rustc --version | cut -d ' ' -f 1-2)" | tee -a "$table"
[[ -z ${QUICK:-} ]] || exit 0

grep -q "^<!-- $name -->$" "$page" || die "$page has no line <!-- $name -->"
awk -v begin="<!-- $name -->" -v end="<!-- /$name -->" -v table="$table" '
  $0 == end { skip = 0 }
  !skip { print }
  $0 == begin { skip = 1; print ""; while ((getline line < table) > 0) print line; print "" }
' "$page" >"$page.new"
mv "$page.new" "$page"
say "written to ${page#"$REPO"/}"
