#!/usr/bin/env bash
# Checks the chart without a cluster: lint, a matrix of values, what the schema must refuse, what no value may break.
#
#   hack/chart-check.sh           check; $HELM names the helm to use (default: helm on PATH)
#   hack/chart-check.sh --write   write the table of values into the chart's README.md, from values.yaml
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CHART=$REPO/charts/convene
HELM=${HELM:-helm}
# Helm asks no cluster here; without this it would assume the version that it was built for.
KUBE_VERSION=1.35.0

TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT
failures=0
checks=0

bad() {
  printf 'chart: %s\n' "$*" >&2
  failures=$((failures + 1))
}

# render OUT ARGS...: the manifests of the chart with these values. OUT.err holds Helm's message.
render() {
  local out=$1
  shift
  checks=$((checks + 1))
  "$HELM" template convene "$CHART" --namespace convene-test --kube-version "$KUBE_VERSION" "$@" >"$out" 2>"$out.err"
}

# kinds FILE: "count Kind" of each kind of object, on one line.
kinds() { grep '^kind: ' "$1" | sort | uniq -c | awk '{printf "%s%s %s", sep, $1, $3; sep = ", "}'; }

# objects FILE: how many objects there are.
objects() { grep -c '^kind: ' "$1"; }

# table: one row for each value of values.yaml, from the comment above it.
table() {
  awk '
    function flush() { if (row != "") print row; row = "" }
    BEGIN { print "| value | default | what it is |"; print "| --- | --- | --- |" }
    /^ *$/ { text = ""; next }
    /^ *#/ { line = $0; sub(/^ *# ?/, "", line); text = text (text == "" ? "" : " ") line; next }
    {
      match($0, /^ */); indent = RLENGTH
      # Below a value that is described as a whole.
      if (whole >= 0 && indent > whole) next
      whole = -1
      key = $1; sub(/:$/, "", key)
      value = $0; sub(/^[^:]*: ?/, "", value)
      path = indent == 0 ? key : parent "." key
      if (indent == 0) parent = key
      if (text == "") {
        if (indent == 0 && value == "") next
        print "values.yaml: " path " has no comment" > "/dev/stderr"; exit 1
      }
      if (value == "") { value = "see `values.yaml`"; whole = indent } else value = "`" value "`"
      gsub(/\|/, "\\|", text)
      print "| `" path "` | " value " | " text " |"
      text = ""
    }
  ' whole=-1 "$CHART/values.yaml"
}

# readme: README.md with the table in its place.
readme() {
  table >"$TMP/table" || return
  awk -v table="$TMP/table" '
    /<!-- values: begin/ { print; print ""; while ((getline line < table) > 0) print line; print ""; skip = 1; next }
    /<!-- values: end/ { skip = 0 }
    !skip { print }
  ' "$CHART/README.md"
}

check_documents() {
  readme >"$TMP/README.md" || bad "values.yaml is not documented"
  cmp -s "$TMP/README.md" "$CHART/README.md" || bad "README.md is stale: run hack/chart-check.sh --write"
  # The schema refuses a name that values.yaml has and it has not; this is the other direction.
  diff <(sed -n 's/^\([a-zA-Z]*\):.*/\1/p' "$CHART/values.yaml" | sort) \
    <(sed -n '/^  "properties": {/,/^  },/s/^    "\([a-zA-Z]*\)":.*/\1/p' "$CHART/values.schema.json" | grep -vx global | sort) >&2 ||
    bad "values.yaml and values.schema.json name different values"
  local crate chart app
  crate=$(sed -n 's/^version = "\(.*\)"/\1/p' "$REPO/Cargo.toml" | head -n 1)
  chart=$(sed -n 's/^version: *//p' "$CHART/Chart.yaml")
  app=$(sed -n 's/^appVersion: *//p' "$CHART/Chart.yaml")
  [[ $crate == "$chart" && $crate == "$app" ]] || bad "versions differ: crate $crate, chart $chart, appVersion $app"
}

# Everything that can be switched on is on, and every free text holds something.
everything() {
  cat >"$TMP/everything.yaml" <<'YAML'
image: {repository: "registry.example.com:5000/team/convene", digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", pullPolicy: Always, pullSecrets: [pull]}
replicas: 3
watchNamespaces: [one, two]
resources: {requests: {cpu: 0.5, memory: 1Gi}, limits: {cpu: 1, memory: 1Gi}}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: dedicated, operator: Equal, value: infra, effect: NoSchedule}]
affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {a: b}}}]}}
topologySpreadConstraints: [{maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: b}}}]
priorityClassName: system-cluster-critical
serviceMonitor: {enabled: true, interval: 15s, labels: {release: prometheus}}
podMonitor: {enabled: true, interval: 15s, labels: {release: prometheus}}
log: {level: "info,convene=debug", format: text}
networkPolicy: {enabled: true, apiServerPorts: [6444, 60443]}
serviceAccount: {name: other, annotations: {example.com/a: "b: c"}}
commonLabels: {team: infra}
podAnnotations: {example.com/a: "b"}
global: {anything: true}
YAML
}

# expect NAME KINDS ARGS...
expect() {
  local name=$1 want=$2 got
  shift 2
  if ! render "$TMP/$name" "$@"; then
    bad "$name does not render: $(cat "$TMP/$name.err")"
    return
  fi
  got=$(kinds "$TMP/$name")
  [[ $got == "$want" ]] || bad "$name makes
  $got; expected
  $want"
}

check_matrix() {
  local ours='5 ClusterRole, 1 ClusterRoleBinding' crds='2 CustomResourceDefinition' rest='1 Deployment, 1 NetworkPolicy, 1 PodDisruptionBudget'
  expect defaults "$ours, $crds, $rest, 2 Role, 2 RoleBinding, 1 ServiceAccount"
  expect namespaces "$ours, $crds, $rest, 2 Role, 4 RoleBinding, 1 ServiceAccount" --set 'watchNamespaces={one,two}'
  expect monitors "$ours, $crds, 1 Deployment, 1 NetworkPolicy, 1 PodDisruptionBudget, 1 PodMonitor, 2 Role, 2 RoleBinding, 1 Service, 1 ServiceAccount, 1 ServiceMonitor" \
    --set serviceMonitor.enabled=true,podMonitor.enabled=true
  expect without-crds "$ours, $rest, 2 Role, 2 RoleBinding, 1 ServiceAccount" --set crds.install=false
  expect least "$ours, 1 Deployment, 2 Role, 2 RoleBinding, 1 ServiceAccount" \
    --set crds.install=false,podDisruptionBudget.enabled=false,networkPolicy.enabled=false
  expect everything "$ours, $crds, 1 Deployment, 1 NetworkPolicy, 1 PodDisruptionBudget, 1 PodMonitor, 2 Role, 4 RoleBinding, 1 Service, 1 ServiceAccount, 1 ServiceMonitor" \
    --values "$TMP/everything.yaml"
}

# The definitions are parsed and printed again: nothing of them may get lost, and the switch for keeping them must work.
check_crds() {
  local word source
  for word in 'rule:' 'description:' 'maximum:' 'minimum:' 'maxLength:' 'maxProperties:' 'pattern:' 'x-kubernetes-list-type:' 'jsonPath:'; do
    source=$(cat "$CHART"/files/crds/*.yaml | grep -c -- "$word" || true)
    [[ $(grep -c -- "$word" "$TMP/crds" || true) == "$source" ]] || bad "$word does not stand $source times in the rendered definitions"
  done
  [[ $(grep -c 'helm.sh/resource-policy: keep' "$TMP/crds") == 2 ]] || bad "crds.keep does not mark both definitions"
  render "$TMP/crds-not-kept" --show-only templates/crds.yaml --set crds.keep=false
  ! grep -q 'resource-policy' "$TMP/crds-not-kept" || bad "crds.keep=false still marks a definition"
}

# has FILE LINE...: each line stands in the file, whatever its indentation.
has() {
  local file=$1 line
  shift
  for line; do
    grep -qE "^ *(- )?$line\$" "$file" || bad "$(basename "$file") lacks: $line"
  done
}

check_security() {
  local case
  for case in defaults everything; do
    has "$TMP/$case" 'runAsNonRoot: true' 'runAsUser: 65532' 'type: RuntimeDefault' 'allowPrivilegeEscalation: false' \
      'readOnlyRootFilesystem: true' 'drop: \[ALL\]' 'automountServiceAccountToken: false' 'automountServiceAccountToken: true'
    [[ $(grep -c 'automountServiceAccountToken: true' "$TMP/$case") == 1 ]] || bad "$case hands out more than one token"
    ! grep -nE 'privileged: true|hostNetwork|hostPID|hostPath|hostIPC' "$TMP/$case" >&2 || bad "$case asks for the host"
  done
  # Rights: no wildcard, no way to more rights, Secrets neither listed nor deleted, and cluster-wide nothing but our kinds, Nodes and the issuer's keys.
  ! grep -nE "['\"]\*['\"]|escalate|impersonate|bind\]|bind," "$TMP/rbac" >&2 || bad "a role holds a wildcard or a way to further rights"
  diff - <(grep -A2 'resources: \[secrets\]' "$TMP/rbac" | grep -E 'verbs|resourceNames' | sed 's/^ *//') >&2 <<'RULES' || bad "Secrets: get and create where granted; of its own namespace create, and one by name"
verbs: [create]
resourceNames: [convene-operator-authority]
verbs: [get, update]
verbs: [get, create]
RULES
  [[ $(grep -c secrets "$TMP/rbac") == 3 ]] || bad "a rule on Secrets is written in another way"
  awk '/^kind: ClusterRole$/ {role = 1} role && /name: convene-operator$/ {ours = 1} /^---/ {role = 0; ours = 0} ours && /resources:|nonResourceURLs:/' "$TMP/rbac" >"$TMP/cluster-wide"
  diff - "$TMP/cluster-wide" >&2 <<'RULES' || bad "the cluster-wide role reads something else"
    resources: [lobbies, relaypools]
    resources: [lobbies/status, relaypools/status]
    resources: [lobbies, relaypools]
    resources: [nodes]
  - nonResourceURLs: [/openid/v1/jwks, /.well-known/openid-configuration]
RULES
  # The operator's two roles that are bound cluster-wide or by name: nothing is bound that is not listed here.
  diff - <(awk '/^kind: .*Binding$/ {b = 1} /^---/ {b = 0} b && /^  kind:|^  name: convene/' "$TMP/rbac" | sed 's/^ *//' | paste -sd' ') >&2 \
    <<<'name: convene-operator kind: ClusterRole name: convene-operator name: convene-operator-leader kind: Role name: convene-operator-leader name: convene-operator-authority kind: Role name: convene-operator-authority' ||
    bad "unexpected bindings"
}

check_wiring() {
  has "$TMP/defaults" 'image: "convene.dev/convene:.*"' 'value: "convene.dev/convene:.*"' 'name: CONVENE_NAMESPACE' 'name: CONVENE_IDENTITY' \
    'name: CONVENE_IMAGE' 'name: CONVENE_IMAGE_PULL_POLICY' 'name: CONVENE_LOG' 'name: CONVENE_LOG_FORMAT' \
    'name: CONVENE_API_SERVER_PORTS' 'value: "443,6443,8443,16443"'
  ! grep -q CONVENE_WATCH_NAMESPACES "$TMP/defaults" || bad "no namespaces must leave the variable out: an empty one names a namespace"
  has "$TMP/everything" 'value: "one,two"' 'namespace: "one"' 'namespace: "two"' 'serviceAccountName: "other"' 'priorityClassName: "system-cluster-critical"' \
    'image: "registry.example.com:5000/team/convene@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"' 'topologyKey: rack' 'value: "info,convene=debug"' \
    'value: "6444,60443"' 'port: 6444' 'port: 60443'
  # Every name of a service account in a binding is the one that the Deployment runs as.
  [[ $(grep -A1 'kind: ServiceAccount$' "$TMP/everything" | grep -c 'name: "other"') == 5 ]] || bad "a binding names another service account"
  [[ $(grep -c 'team: infra' "$TMP/everything") == $(($(objects "$TMP/everything") + 1)) ]] || bad "commonLabels are not on every object and on the pods"
  # A spread without a selector of its own counts the operator's pods.
  [[ $(grep -A3 'labelSelector:' "$TMP/defaults" | grep -c 'app.kubernetes.io/component: operator') == 2 ]] || bad "a spread constraint selects nothing"
}

# What the schema must refuse: each is a --set argument.
check_refused() {
  local value
  while read -r value; do
    [[ -n $value ]] || continue
    if render "$TMP/refused" --set-json "$value"; then
      bad "accepted: $value"
    elif ! grep -q "don't meet the specifications of the schema" "$TMP/refused.err"; then
      bad "refused for another reason: $value: $(cat "$TMP/refused.err")"
    fi
  done <<'VALUES'
replicas="2"
replicas=-1
replicas=2.5
replicaCount=2
image="convene"
image.repository=""
image.repository="Convene convene"
image.tag="a b"
image.tag=1
image.digest="sha256:short"
image.pullPolicy="Sometimes"
image.pullSecrets=["Not A Name"]
image.pullSecrets="secret"
image.registry="example.com"
watchNamespaces="default"
watchNamespaces=["Default"]
watchNamespaces=["a,b"]
watchNamespaces=["a","a"]
watchNamespaces=["a\n---\nkind: Secret"]
crds.install="yes"
crds.keep=1
resources.limits.cpu="much"
resources.limit={}
nodeSelector={"a b":"c"}
nodeSelector.a=true
tolerations=[{"operator":"Sometimes"}]
tolerations={}
affinity.nodes={}
topologySpreadConstraints=[{"maxSkew":0,"topologyKey":"a","whenUnsatisfiable":"DoNotSchedule"}]
topologySpreadConstraints=[{"topologyKey":"a"}]
priorityClassName="Very High"
podDisruptionBudget.enabled="true"
podDisruptionBudget.minAvailable=1
networkPolicy.enabled=null
networkPolicy=null
serviceAccount.name=null
networkPolicy.apiServerPorts=[]
networkPolicy.apiServerPorts=[70000]
serviceMonitor.enabled="on"
serviceMonitor.interval="often"
podMonitor.interval="30s\nport: x"
log.level="loud"
log.level="info\n---"
log.format="xml"
serviceAccount.name=""
serviceAccount.name="a\nb"
serviceAccount.annotations={"a":1}
commonLabels={"app.kubernetes.io/name":"other"}
commonLabels={"a":"b\n---\nkind: Secret"}
commonLabels={"a\nb":"c"}
podAnnotations={"a":{}}
extraManifests=["kind: Secret"]
VALUES
}

# Free text may hold anything: it stays one string of the object it belongs to.
check_injection() {
  local text value base
  base=$(objects "$TMP/defaults")
  # shellcheck disable=SC2016  # nothing is to expand
  local -a texts=('a\n---\nkind: Secret\napiVersion: v1' '{{ fail \"templated\" }}' '\"\nkind: Secret' '# not a comment' '- a: [b' "'\\n...\\n---\\nkind: Secret" '${HOME} $(id)' 'a: b' 'true')
  for text in "${texts[@]}"; do
    for value in podAnnotations serviceAccount.annotations; do
      if ! render "$TMP/injected" --set-json "$value={\"example.com/free\":\"$text\"}"; then
        bad "$value cannot hold: $text: $(cat "$TMP/injected.err")"
      elif [[ $(objects "$TMP/injected") != "$base" ]]; then
        bad "$value changed the number of objects by: $text"
      elif ! grep -q 'example.com/free: ' "$TMP/injected"; then
        bad "$value lost: $text"
      fi
    done
  done
  # Names of the release and of its namespace come from the command line.
  checks=$((checks + 1))
  ! "$HELM" template $'a\nkind: Secret' "$CHART" --kube-version "$KUBE_VERSION" >/dev/null 2>&1 || bad "a release name with a newline was taken"
}

check() {
  local case
  command -v "$HELM" >/dev/null || { bad "no helm: set HELM"; exit 1; }
  everything
  for case in values.yaml "$TMP/everything.yaml"; do
    checks=$((checks + 1))
    (cd "$CHART" && "$HELM" lint . --strict --quiet --kube-version "$KUBE_VERSION" --values "$case") >"$TMP/lint" 2>&1 || bad "lint with $case: $(cat "$TMP/lint")"
  done
  check_documents
  check_matrix
  ((failures == 0)) || exit 1
  render "$TMP/crds" --show-only templates/crds.yaml
  render "$TMP/rbac" --show-only templates/rbac-cluster.yaml --show-only templates/rbac-namespace.yaml
  check_crds
  check_security
  check_wiring
  check_refused
  check_injection
  ((failures == 0)) || exit 1
  printf 'chart: %d renderings as expected\n' "$checks"
}

case ${1:-} in
"") check ;;
--write)
  readme >"$TMP/README.md"
  cp "$TMP/README.md" "$CHART/README.md"
  ;;
*)
  sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
  ;;
esac
