#!/usr/bin/env bash
# Prints what a cluster could leave behind on this machine, in a stable order:
# taken before and after, and compared, it shows what was left.
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part() { sed "s|^|$1: |" | sort; }

ip -o link show | awk -F ': ' '{ print $2 }' | part link
ip -4 route show table all | part route
{ iptables-save; ip6tables-save; } 2>/dev/null | sed -e '/^#/d' -e 's/\[[0-9:]*\]//' | part firewall
awk '{ print $2, $3 }' /proc/mounts | part mount
for root in $(hierarchies); do find "$root" -maxdepth 1 -type d; done | part cgroup
# Processes in namespaces other than this shell's, and whatever a node runs. (A
# process without a command line is a dead one that nobody has asked about yet.)
for proc in /proc/[0-9]*; do
  [[ -n $(tr -d '\0' 2>/dev/null <"$proc/cmdline") ]] || continue
  [[ $proc/ns/net -ef /proc/self/ns/net && $proc/ns/pid -ef /proc/self/ns/pid ]] && continue
  cat "$proc/comm" 2>/dev/null || true
done | part namespaced
{ cat /proc/[0-9]*/comm 2>/dev/null || true; } | awk '/^(containerd|kubelet|kube-proxy|coredns|pause)/' | part process
# Settings of the whole machine that Kubernetes likes to change.
for key in net/ipv4/ip_forward net/netfilter/nf_conntrack_max vm/overcommit_memory vm/panic_on_oom \
  kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  echo "$key $(cat "/proc/sys/$key" 2>/dev/null || echo none)"
done | part setting
{
  find /etc /opt /srv /mnt /var /usr/local -xdev -path "$CACHE" -prune -o -print
  # The first mount of any program makes /run/mount, and it stays.
  find /run "$HOME" -xdev -maxdepth 1 -not -path /run/mount
  find /run/netns /run/lock /run/containerd "$HOME/.kube" "$STATE" -xdev -maxdepth 2
} 2>/dev/null | part path || true # some of them are not there
