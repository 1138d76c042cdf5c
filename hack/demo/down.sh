# shellcheck shell=bash
# Sourced by demo.sh: how the demo goes from each kind of cluster.

remove_demo() {
  case $(cat "$DEMO/target" 2>/dev/null) in
    local) "$HACK/cluster/down.sh" "$LOCAL_CLUSTER" ;;
    kind) kind delete cluster --name "$KIND_CLUSTER" --kubeconfig "$DEMO/kubeconfig" ;;
    # Without a kubeconfig of ours the demo never got as far as touching the cluster.
    current) if [[ -x $DEMO/kubectl && -f $DEMO/context ]]; then leave_cluster; fi ;;
  esac
  rm -rf "$DEMO"
  rmdir "$STATE" 2>/dev/null || true
  say "demo: removed"
}

# leave_cluster: out of someone's cluster go the objects first, while the
# operator is there to tidy up behind them, then the operator.
leave_cluster() {
  say "demo: removing it from $(<"$DEMO/context")"
  if [[ -n $(kubectl get namespace "$NAMESPACE" --ignore-not-found -o name) ]]; then
    if [[ -n $(kubectl get crd "${CRDS[@]}" --ignore-not-found -o name) ]]; then
      # Nobody is to be waited for: the sessions are the demo's own.
      kubectl -n "$NAMESPACE" get relaypools.convene.dev -o name \
        | xargs -r -I{} "$DEMO/kubectl" -n "$NAMESPACE" patch {} --type=merge -p '{"spec":{"deletionPolicy":"Now"}}' >/dev/null
      kubectl -n "$NAMESPACE" delete relaypools.convene.dev --all --timeout=120s
      kubectl -n "$NAMESPACE" delete lobbies.convene.dev --all --timeout=120s
    fi
  fi
  helm uninstall "$RELEASE" --ignore-not-found --wait --timeout 120s
  remove_namespace "$NAMESPACE"
  remove_namespace "$SYSTEM"
  remove_crds
}

remove_namespace() {
  local made_by
  made_by=$(kubectl get namespace "$1" --ignore-not-found -o 'jsonpath={.metadata.labels.convene\.dev/made-by}')
  if [[ $made_by == demo ]]; then kubectl delete namespace "$1" --timeout=120s; fi
}

# remove_crds: all or none, because each is of no use without the other.
remove_crds() {
  local crd users=''
  if [[ $(cat "$DEMO/crds" 2>/dev/null) != ours ]]; then
    say "demo: the custom resource definitions were there before, and stay"
    return
  fi
  for crd in "${CRDS[@]}"; do
    [[ -n $(kubectl get crd "$crd" --ignore-not-found -o name) ]] || continue
    users+=$(kubectl get "$crd" --all-namespaces -o 'jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{"\n"}{end}')
  done
  if [[ -n $users ]]; then
    say "demo: the custom resource definitions stay, because someone uses them:"$'\n'"$users"
    return
  fi
  kubectl delete crd "${CRDS[@]}" --ignore-not-found --timeout=60s
}
