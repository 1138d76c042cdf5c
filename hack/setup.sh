#!/usr/bin/env bash
# Installs what this repository needs from Debian and from rustup: only what is
# missing, so that it takes no time when nothing is.
#
#   setup.sh             what building, the local cluster and the tests need
#   setup.sh PACKAGE...  only these Debian packages
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

packages=("$@")
if (($# == 0)); then
  packages=(containerd runc containernetworking-plugins iptables conntrack iproute2 musl-tools shellcheck curl openssl
    python3-venv redis-server openssh-server postgresql bind9-dnsutils unbound)
fi
target=$(uname -m)-unknown-linux-musl

installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

missing=()
for package in "${packages[@]}"; do installed "$package" || missing+=("$package"); done

install_packages() {
  local policy=/usr/sbin/policy-rc.d
  [[ $EUID == 0 ]] || die "these Debian packages are missing, and installing them needs root: ${missing[*]}"
  command -v apt-get >/dev/null || die "no apt-get here; install by other means what Debian calls: ${missing[*]}"
  say "setup: installing ${missing[*]}"
  # The packages bring services, which nothing here uses: none may be started.
  if [[ ! -e $policy ]]; then
    # shellcheck disable=SC2064  # the value of now is meant
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -qq update && apt-get -qq install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    die "apt-get could not install ${missing[*]}; its last words are above"
  }
  # Debian enables a service when it installs it. (Not run yet: no machine with systemd was at hand.)
  if [[ " ${missing[*]} " == *' containerd '* && -d /run/systemd/system ]]; then
    systemctl disable --quiet containerd.service
  fi
}

if ((${#missing[@]})); then
  log=$(mktemp)
  install_packages
  rm -f "$log"
fi

if (($# == 0)); then
  command -v cargo >/dev/null || die "no 'cargo' on the PATH; install Rust"
  command -v go >/dev/null || die "no 'go' on the PATH; install Go (the version in hack/go.mod or newer)"
  if [[ ! -d $(rustc --print sysroot)/lib/rustlib/$target ]]; then
    command -v rustup >/dev/null || die "Rust has no target $target, and there is no rustup to add it with"
    rustup target add "$target"
  fi
fi
say "setup: everything is there"
