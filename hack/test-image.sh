#!/usr/bin/env bash
# Tests the image: the archive is the same each time, small, and holds what it
# says; the Dockerfile gives the same binary under the same user.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tmp=$(mktemp -d)
"$HACK/setup.sh" buildah

# --- Without an engine.
read -r ref archive < <("$HACK/build-image.sh")
binary=$CARGO_TARGET_DIR/$(uname -m)-unknown-linux-musl/release/convene
file_type=$(LC_ALL=C readelf -l "$binary" | grep -c 'Requesting program interpreter' || true)
[[ $file_type == 0 ]] || die "the binary is not static: $(readelf -l "$binary" | grep interpreter)"
say "ok: the binary is static"
! grep -qaF -e "$REPO/src" -e "${CARGO_HOME:-$HOME/.cargo}/registry" "$binary" ||
  die "the binary holds paths of this machine, so it differs from folder to folder"
say "ok: the binary holds no path of this machine"
cp "$binary" "$tmp/elsewhere"
read -r again copy < <("$(helper image)" -name localhost/convene -dir "$tmp" -max-mb 40 "$tmp/elsewhere:/convene")
{ [[ $again == "$ref" ]] && cmp "$archive" "$copy"; } || die "two archives of one binary differ: $ref, $again"
say "ok: the archive is reproducible, and under 40 MB: $ref, $(($(stat -c %s "$archive") / 1000)) kB"

# --- With the Dockerfile, as an engine would. No daemon, no kernel feature, no registry.
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
buildah() { command buildah --root "$tmp/store" --runroot "$tmp/run" "$@"; }
container=
finish() {
  [[ -z $container ]] || buildah rm "$container" >/dev/null || true
  rm -rf "$tmp"
}
trap finish EXIT
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$tmp/policy.json"
"$HACK/build-image.sh" --binary
buildah bud --quiet --signature-policy "$tmp/policy.json" --tag localhost/convene-dockerfile "$REPO" >/dev/null
container=$(buildah from --pull-never --signature-policy "$tmp/policy.json" localhost/convene-dockerfile)
got=$(buildah inspect --type image --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}}' localhost/convene-dockerfile)
[[ $got == '65532:65532 [/convene]' ]] || die "the Dockerfile's image has user and entry point '$got'"
say "ok: the Dockerfile's image runs /convene as 65532:65532"
root=$(buildah mount "$container")
cmp "$root/convene" "$binary" || die "the Dockerfile's image holds another binary"
files=$(cd "$root" && find . -type f)
[[ $files == ./convene ]] || die "the Dockerfile's image holds more than the binary: $files"
say "ok: the Dockerfile's image holds the binary and nothing else"
buildah run "$container" -- /convene --version >"$tmp/version" 2>&1 || die "the binary does not run in the Dockerfile's image: $(cat "$tmp/version")"
say "ok: it runs there: $(cat "$tmp/version")"
