#!/usr/bin/env bash
# The demo: demo.sh up | look | down. The Makefile says what the variables mean.
#
# Every step may be run again: after a success, and after a kill at any moment.
set -euo pipefail
# shellcheck source=demo/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/demo/lib.sh"
# shellcheck source=demo/cluster.sh
source "$HACK/demo/cluster.sh"

STEPS=6 STEP=0 WHAT='' SINCE=0 START=$SECONDS

step() {
  finish_step
  STEP=$((STEP + 1)) WHAT=$1 SINCE=$SECONDS
  say "[$STEP/$STEPS] $WHAT"
}
finish_step() { if ((STEP > 0)); then say "[$STEP/$STEPS] done in $(elapsed "$SINCE")"; fi; }

# quiet COMMAND...: its words go to the log, and are shown when it fails.
quiet() {
  local out status=0
  out=$("$@" 2>&1) || status=$?
  printf '%s\n' "\$ $*" "$out" >>"$DEMO/demo.log"
  if ((status != 0)); then say "$out"; fi
  return $status
}

on_exit() {
  local status=$?
  ((status != 0)) || return 0
  say ""
  # Not even a cluster was chosen: there is nothing to explain, or to remove.
  if [[ ! -f $DEMO/target ]]; then rm -rf "$DEMO"; return; fi
  say "The demo failed at step $STEP of $STEPS ($WHAT), after $(elapsed "$START")."
  if [[ -x $DEMO/kubectl ]]; then
    local kubectl=$DEMO/kubectl
    # The local cluster's own kubectl lies beside the logs of its nodes.
    if [[ $(<"$DEMO/target") == local ]]; then kubectl=$STATE/clusters/$LOCAL_CLUSTER/kubectl; fi
    if [[ -x $kubectl ]]; then
      "$HACK/cluster/dump.sh" "$kubectl" "$DEMO/failure" "$SYSTEM" "$NAMESPACE" || true
      say "  logs, events and objects: $DEMO/failure"
    fi
  fi
  say "  what the commands said:   $DEMO/demo.log"
  say "'make demo' tries again from where it stands; 'make demo-down' removes everything."
}

# --- The steps.

get_cluster() {
  local target=${CLUSTER:-local}
  case $target in local | kind | current) ;; *) die "CLUSTER=$target: want local, kind or current" ;; esac
  if [[ -f $DEMO/target && $(<"$DEMO/target") != "$target" ]]; then
    die "the demo is already there, on CLUSTER=$(<"$DEMO/target"); 'make demo-down' removes it"
  fi
  case $target in
    local) step "cluster: a local one, built from source (CLUSTER=kind and CLUSTER=current are the others)" ;;
    *) step "cluster: $target" ;;
  esac
  "${target}_cluster"
}

get_image() {
  local archive
  if [[ $(<"$DEMO/target") == current ]]; then
    step "image: $IMAGE, as given"
    PULL=IfNotPresent
    return
  fi
  step "image: built from this source, as an OCI archive"
  read -r IMAGE archive < <("$HACK/build-image.sh")
  PULL=Never
  say "  $IMAGE, $(($(stat -c %s "$archive") / 1000000)) MB"
  case $(<"$DEMO/target") in
    local) "$HACK/cluster/load.sh" "$LOCAL_CLUSTER" "$archive" ;;
    kind) kind load image-archive "$archive" --name "$KIND_CLUSTER" ;;
  esac
}

# image_values: the chart's values for $IMAGE, which is NAME[:TAG][@DIGEST].
image_values() {
  local name=${IMAGE%%@*} digest=''
  [[ $IMAGE != *@* ]] || digest=${IMAGE#*@}
  VALUES=(--set-string "image.digest=$digest" --set "image.pullPolicy=$PULL" --set "watchNamespaces={$NAMESPACE}")
  # A colon before the last slash belongs to a registry's port.
  if [[ ${name##*/} == *:* ]]; then
    VALUES+=(--set-string "image.repository=${name%:*}" --set-string "image.tag=${name##*:}")
  else
    VALUES+=(--set-string "image.repository=$name")
  fi
}

install_operator() {
  step "operator: the Helm chart, in the namespace $SYSTEM"
  quiet kubectl apply --server-side -f "$HACK/demo/namespaces.yaml"
  # A run that was killed inside Helm leaves a revision that is for ever under way.
  quiet kubectl -n "$SYSTEM" delete secret -l "owner=helm,name=$RELEASE,status in (pending-install,pending-upgrade,pending-rollback)"
  image_values
  note_crds
  quiet helm upgrade --install "$RELEASE" "$REPO/charts/convene" --wait --timeout 180s "${VALUES[@]}"
}

# note_crds: which definitions are ours to remove again; those that someone else
# installed are used as they are.
note_crds() {
  if [[ -f $DEMO/crds ]]; then
    [[ $(<"$DEMO/crds") == ours ]] || VALUES+=(--set crds.install=false)
    return
  fi
  if [[ -n $(kubectl get crd "${CRDS[@]}" --ignore-not-found -o name) ]]; then
    say "  the custom resource definitions are there already: they are left as they are"
    echo theirs >"$DEMO/crds"
    VALUES+=(--set crds.install=false)
  else
    echo ours >"$DEMO/crds"
  fi
}

apply_examples() {
  step "examples: one lobby and six relay pools, in the namespace $NAMESPACE"
  quiet kubectl -n "$NAMESPACE" apply -f "$REPO/examples/six-regions/"
}

wait_available() {
  step "waiting until the lobby and all pools are available"
  local kinds image status=0
  # After an upgrade the former lobby is there, and available, until the operator has replaced it.
  for ((i = 0; i < 60; i++)); do
    image=$(kubectl -n "$NAMESPACE" get deployment demo-lobby --ignore-not-found -o 'jsonpath={.spec.template.spec.containers[0].image}')
    [[ $image != "$IMAGE" ]] || break
    sleep 0.5
  done
  quiet kubectl -n "$NAMESPACE" rollout status deployment/demo-lobby --timeout=180s
  kinds=$(IFS=,; echo "${CRDS[*]}")
  quiet kubectl -n "$NAMESPACE" wait --for=condition=Available --timeout=180s "$kinds" --all || status=$?
  kubectl -n "$NAMESPACE" get "$kinds" >&2
  return $status
}

run_sessions() {
  local state='' regions
  step "sessions: hosts and guests in cities of the world (Job convene-demo)"
  quiet kubectl -n "$NAMESPACE" delete job convene-demo --ignore-not-found
  # What was declared, not what the lobby has heard of so far: the clients wait for all of it, and judge by it.
  regions=$(kubectl -n "$NAMESPACE" get relaypools.convene.dev -o 'jsonpath={.items[*].status.region}')
  sed -e "s|@IMAGE@|$IMAGE|" -e "s|@PULL@|$PULL|" -e "s|@REGIONS@|${regions// /,}|" "$HACK/demo/job.yaml" >"$DEMO/job.yaml"
  quiet kubectl -n "$NAMESPACE" apply -f "$DEMO/job.yaml"
  # There is no log to follow before the container runs.
  for ((i = 0; i < 120; i++)); do
    state=$(kubectl -n "$NAMESPACE" get pods -l job-name=convene-demo -o 'jsonpath={.items[*].status.phase}')
    [[ -z $state || $state == Pending ]] || break
    sleep 0.5
  done
  kubectl -n "$NAMESPACE" logs --follow job/convene-demo || true
  # The log may end before the Job knows, and the Job decides.
  for ((i = 0; i < 300; i++)); do
    state=$(kubectl -n "$NAMESPACE" get job convene-demo -o 'jsonpath={.status.conditions[?(@.status=="True")].type}')
    [[ $state != *Complete* ]] || return 0
    [[ $state != *Failed* ]] || die "the Job convene-demo failed; its log is above"
    sleep 1
  done
  die "the Job convene-demo did not end"
}

# look: commands that work as they are printed; the demo's test runs each of them.
look() {
  local k=$DEMO/kubectl address port
  address=$(kubectl get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
  port=$(kubectl -n "$NAMESPACE" get service demo-lobby -o 'jsonpath={.spec.ports[0].nodePort}' 2>/dev/null || true)
  say "It goes on running. To look around:"
  say "    $k -n $NAMESPACE get convene"
  say "    $k -n $NAMESPACE get pods,services -o wide"
  say "    $k -n $NAMESPACE describe relaypool europe-north1"
  say "    $k -n $NAMESPACE logs job/convene-demo"
  say "    $k -n $SYSTEM logs deployment/convene-operator --tail=20"
  if [[ -n $port && $(<"$DEMO/target") == local ]]; then
    say "    curl --silent --show-error http://$address:$port/v1/regions"
  fi
  say "To remove every trace:"
  say "    make demo-down"
}

up() {
  lock_demo
  trap on_exit EXIT
  : >"$DEMO/demo.log"
  get_cluster
  get_image
  install_operator
  apply_examples
  wait_available
  run_sessions
  finish_step
  say ""
  say "The demo ran in $(elapsed "$START")."
  look
}

down() {
  [[ -d $DEMO ]] || { say "demo: nothing is there"; return; }
  lock_demo
  # shellcheck source=demo/down.sh
  source "$HACK/demo/down.sh"
  remove_demo
}

case ${1:-} in
  up | down | look) "$1" ;;
  *) die "usage: demo.sh up | look | down" ;;
esac
