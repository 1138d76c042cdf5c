#!/usr/bin/env bash
# Builds Kubernetes, etcd, CoreDNS and Helm from the versions that go.mod pins.
#
#   build.sh                  build what is missing, with progress
#   build.sh --clients        only kubectl and Helm, for those who have a cluster
#   build.sh --print-bin-dir  only say where the binaries lie (or will lie)
#
# The folder is named after what decides its content, and appears by one rename
# once everything in it is built: a folder that is there is whole.
set -euo pipefail
# shellcheck source=../lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

key=$(cd "$HACK" && cat go.mod go.sum cluster/build.sh dns/*.go | sha256sum | cut -c1-16)
bin=$CACHE/kube/$key

clients=0
case $# in
  0) ;;
  1)
    case $1 in
      --clients) if [[ ! -d $bin ]]; then clients=1 bin=$bin-clients; fi ;;
      --print-bin-dir)
        if [[ ! -d $bin && -d $bin-clients ]]; then bin=$bin-clients; fi
        printf '%s\n' "$bin"
        exit
        ;;
      *) die "unknown argument '$1'; usage: build.sh [--clients | --print-bin-dir]" ;;
    esac
    ;;
  *) die "usage: build.sh [--clients | --print-bin-dir]" ;;
esac

# Its time of change tells below which ones are still in use.
publish() {
  touch "$bin"
  if ((clients == 0)); then ln -sfnT "$key" "$CACHE/kube/current"; fi
}

if [[ -d $bin ]]; then
  publish
  say "tools: already built, in $bin"
  exit
fi

command -v go >/dev/null || die "no 'go' on the PATH; install Go (the version in hack/go.mod or newer)"
mkdir -p "$CACHE/kube"
exec 9<"$CACHE/kube"
flock -n 9 || { say "tools: waiting for another build in $CACHE/kube"; flock 9; }
[[ -d $bin ]] && { publish; say "tools: built meanwhile, in $bin"; exit; }

# Under the lock nobody else builds, so what a killed build left is rubbish.
# (The compiler's own cache keeps the work that it had done.)
rm -rf "$CACHE"/kube/*.tmp*
tmp=$bin.tmp
mkdir "$tmp"

version() { pinned_go list -m -f '{{.Version}}' "$1"; }
kube=$(version k8s.io/kubernetes) || die "go cannot read hack/go.mod (see above; no network to the Go module proxy?)"
helm=$(version helm.sh/helm/v3)
IFS=. read -r major minor _ <<<"${kube#v}"

# Kubernetes' parts refuse to work together unless each carries its version.
stamp=(-s -w)
for pkg in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  stamp+=(-X "$pkg.gitVersion=$kube" -X "$pkg.gitMajor=$major" -X "$pkg.gitMinor=$minor")
done
stamp+=(-X "helm.sh/helm/v3/internal/version.version=$helm")
# What Helm takes the cluster for when it renders without one (lint, template).
stamp+=(-X "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=$major" -X "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$minor")
stamp+=(-X "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=$major" -X "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=$minor")

# The first compiles nearly everything that the others share.
parts=(
  kube-apiserver=k8s.io/kubernetes/cmd/kube-apiserver
  kube-controller-manager=k8s.io/kubernetes/cmd/kube-controller-manager
  kube-scheduler=k8s.io/kubernetes/cmd/kube-scheduler
  kubelet=k8s.io/kubernetes/cmd/kubelet
  kube-proxy=k8s.io/kubernetes/cmd/kube-proxy
  kubectl=k8s.io/kubernetes/cmd/kubectl
  etcd=go.etcd.io/etcd/server/v3
  coredns=./dns
  helm=helm.sh/helm/v3/cmd/helm
)

if ((clients)); then parts=(kubectl=k8s.io/kubernetes/cmd/kubectl helm=helm.sh/helm/v3/cmd/helm); fi

say "tools: building Kubernetes $kube and Helm $helm (about ten minutes on two cores the first time)"
start=$SECONDS
i=0
for part in "${parts[@]}"; do
  name=${part%%=*} since=$SECONDS i=$((i + 1))
  printf 'tools: [%d/%d] %-24s' "$i" "${#parts[@]}" "$name" >&2
  pinned_go build -ldflags "${stamp[*]}" -o "$tmp/$name" "${part#*=}" >"$tmp.log" 2>&1 || {
    say "failed"
    cat "$tmp.log" >&2
    die "building $name failed; the compiler's message is above"
  }
  say "$(elapsed "$since")"
done
rm -f "$tmp.log"
mv -T "$tmp" "$bin"
publish
say "tools: built in $(elapsed "$start"), in $bin"
# What no checkout has asked for in a month only takes room.
find "$CACHE/kube" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} +
