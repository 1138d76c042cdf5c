#!/usr/bin/env bash
# One node, from inside: the first process of a box that up.sh made. It lays
# private folders over those that a node writes to, so that the host's stay as
# they are, waits for its network cable, and keeps the node's parts running.
#
#   box.sh NODE-FOLDER BIN-FOLDER
set -euo pipefail

# --- Folders. Ours first move to a fixed place, because the ones that are
# covered below may be the very ones they lie in.
mount --make-rshared /
mount -t tmpfs -o mode=755 convene "$1/run"
mkdir -p "$1"/run/{convene/state,convene/bin,convene/sysctl,netns,lock}
mount --bind "$(dirname "$1")" "$1/run/convene/state"
mount --bind "$2" "$1/run/convene/bin"
node=state/$(basename "$1")
mount --rbind "$1/run" /run
cd /run/convene
mount --bind "$node/var-lib" /var/lib
mount --bind "$node/var-log" /var/log
mount -t tmpfs -o mode=1777 convene /tmp

# shellcheck source=/dev/null
source "$node/env"
: "${CLUSTER:?}" "${NODE:?}" "${FIRST:?}" "${SERVER:?}" "${NODE_IP:?}" "${HOST_IP:?}" "${POD_RANGE:?}"
: "${ALL_PODS:?}" "${ALL_NODES:?}" "${SERVICES:?}" "${DNS_IP:?}" "${CGROUP:?}" "${PAUSE_IMAGE:?}"
LOG=$PWD/$node/log PKI=$PWD/state/pki
PATH=$PWD/bin:$PATH
echo "$NODE" >/proc/sys/kernel/hostname

# The kubelet sets these for the whole machine. It gets to read that they are
# set already, each from a file of ours, and so leaves the machine's alone.
while read -r key value; do
  [[ -f /proc/sys/$key ]] || continue
  echo "$value" >"sysctl/${key##*/}"
  mount --bind "sysctl/${key##*/}" "/proc/sys/$key"
done <<'SYSCTL'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SYSCTL

# --- Network. up.sh plugs in eth0; if it was killed before, nobody ever will.
for ((i = 0; ; i++)); do
  ip link show eth0 >/dev/null 2>&1 && break
  ((i < 600)) || { echo "no network after a minute: was up.sh killed?"; exit 1; }
  sleep 0.1
done
gateway=${POD_RANGE%0/24}1
ip link set lo up
ip addr add "$NODE_IP/30" dev eth0
ip link set eth0 up
ip link add cni0 type bridge
ip addr add "$gateway/24" dev cni0
ip link set cni0 up
# No default route: a cluster speaks with itself and this machine, and what it
# sends elsewhere fails at once instead of leaving with an address nobody knows.
for range in "$ALL_NODES" "$ALL_PODS" "$SERVICES"; do ip route add "$range" via "$HOST_IP"; done
echo 1 >/proc/sys/net/ipv4/ip_forward
# When a cluster is killed, half of each connection dies before the other: let
# what remains give up at once, because it would hold the namespace for minutes.
echo 1 >/proc/sys/net/ipv4/tcp_orphan_retries
if [[ -f /proc/sys/net/bridge/bridge-nf-call-iptables ]]; then
  echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
else
  echo "warning: this kernel has no br_netfilter; Services fail between pods of one node"
fi

# keep NAME COMMAND...: runs it, and again when it ends, so that a test may kill it.
keep() {
  local name=$1
  shift
  while :; do
    "$@" >>"$LOG/$name.log" 2>&1 && status=0 || status=$?
    echo "$(date +%T) $name ended with status $status; its log is $name.log"
    sleep 1
  done &
}

# --- Control plane, on the first node.
if ((FIRST)); then
  # No fsync: the data is thrown away with the cluster.
  keep etcd etcd --data-dir=/var/lib/etcd --unsafe-no-fsync --log-level=warn
  keep kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
    --bind-address=0.0.0.0 --advertise-address="$SERVER" --service-cluster-ip-range="$SERVICES" \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt" \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$PKI/service-account.pub" --service-account-signing-key-file="$PKI/service-account.key" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged \
    --kubelet-client-certificate="$PKI/apiserver-kubelet-client.crt" --kubelet-client-key="$PKI/apiserver-kubelet-client.key" \
    --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP
  for ((i = 0; i < 600; i++)); do
    (: </dev/tcp/127.0.0.1/6443) 2>/dev/null && break
    sleep 0.1
  done
  keep kube-controller-manager kube-controller-manager --kubeconfig="$PKI/controller-manager.kubeconfig" \
    --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials \
    --service-account-private-key-file="$PKI/service-account.key" --root-ca-file="$PKI/ca.crt"
  keep kube-scheduler kube-scheduler --kubeconfig="$PKI/scheduler.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false
fi

# --- Container runtime.
cni_bin=/usr/lib/cni
[[ -x $cni_bin/bridge ]] || cni_bin=/opt/cni/bin
mkdir -p cni
cat >cni/10-pods.conflist <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$POD_RANGE"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
# An overlay cannot lie on an overlay, as the disk of a container is.
snapshotter=overlayfs
[[ $(stat -f -c %T /var/lib) != overlay* ]] || snapshotter=native
# oom_score_adj: where the machine forbids to lower it, no pod starts otherwise.
cat >containerd.toml <<TOML
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$cni_bin"
    conf_dir = "$PWD/cni"
# Its folder would be made on the machine's own disk otherwise.
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
TOML
keep containerd containerd --config="$PWD/containerd.toml"
for ((i = 0; i < 300; i++)); do
  [[ -S /run/containerd/containerd.sock ]] && break
  sleep 0.1
done

# --- Node. No image is ever pulled, so none may be collected; the disk is the
# host's, so its filling up is not this node's to act on.
echo "nameserver $DNS_IP" >resolv.conf
cat >kubelet.yaml <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-$NODE.crt
tlsPrivateKeyFile: $PKI/kubelet-$NODE.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: $CGROUP
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
clusterDomain: cluster.local
clusterDNS: [$DNS_IP]
resolvConf: $PWD/resolv.conf
evictionHard: {memory.available: 50Mi}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
YAML
keep kubelet kubelet --config=kubelet.yaml --kubeconfig="$PKI/kubelet-$NODE.kubeconfig" \
  --hostname-override="$NODE" --node-ip="$NODE_IP" --node-labels="topology.kubernetes.io/zone=$NODE"
keep kube-proxy kube-proxy --kubeconfig="$PKI/proxy.kubeconfig" --hostname-override="$NODE" \
  --proxy-mode=iptables --cluster-cidr="$ALL_PODS" --conntrack-max-per-core=0

wait
