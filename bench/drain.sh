#!/bin/bash
# kubectl drain and exeunt drain side by side, on the same server with simulated nodes:
#   bench/drain.sh [path of the exeunt binary]
# Prints a table of seconds. Needs kubectl.
set -eu
exeunt=${1:-target/release/exeunt}
folder=$(mktemp -d)
export KUBECONFIG=$folder/data/kubeconfig HOME=$folder NO_COLOR=1
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT

# nodes replicas max-unavailable(or -) ready-seconds stop-seconds: the pods are on the first nodes, and
# as many nodes have room for their successors.
situation() {
    "$exeunt" serve --listen 127.0.0.1:0 --data-dir "$folder/data" --store memory --nodes $(($1 * 2)) >"$folder/out" 2>"$folder/log" &
    server=$!
    until grep -q ready "$folder/out"; do sleep 0.1; done
    for node in $(seq $(($1 + 1)) $(($1 * 2))); do kubectl cordon "node-$node" >/dev/null; done
    kubectl apply -f - >/dev/null <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: $2
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
      annotations: {sim.exeunt.dev/ready-after-seconds: "$4", sim.exeunt.dev/stop-seconds: "$5"}
    spec: {containers: [{name: c, image: i}]}
YAML
    if [ "$3" != - ]; then
        kubectl create pdb web --selector app=web --max-unavailable "$3" >/dev/null
    fi
    kubectl rollout status deployment/web --timeout=300s >/dev/null
    sleep 1
    for node in $(seq $(($1 + 1)) $(($1 * 2))); do kubectl uncordon "node-$node" >/dev/null; done
}

seconds() {
    local from
    from=$(date +%s.%N)
    "$@" >"$folder/drain.out" 2>"$folder/drain.err" || { cat "$folder/drain.err"; exit 1; }
    echo "$(date +%s.%N) - $from" | bc
}

# title least-seconds situation...
compare() {
    local title=$1 least=$2 theirs ours nodes
    shift 2
    nodes=$(seq -f 'node-%g' 1 "$1")
    situation "$@"
    # shellcheck disable=SC2086
    theirs=$(seconds kubectl drain $nodes)
    kill "$server"; wait "$server" 2>/dev/null || true
    situation "$@"
    # shellcheck disable=SC2086
    ours=$(seconds "$exeunt" drain --parallel "$1" $nodes)
    kill "$server"; wait "$server" 2>/dev/null || true
    printf '| %s | %s | %.1f | %.1f | %.2f |\n' "$title" "$least" "$theirs" "$ours" "$(echo "$ours / $least" | bc -l)"
}

echo '| situation | least time, s | kubectl drain, s | exeunt drain, s | exeunt / least |'
echo '| --- | --- | --- | --- | --- |'
compare '100 pods without budgets, 2 s to stop' 2 1 100 - 0 2
compare '30 pods under maxUnavailable 1, 2 s to Ready' 58 1 30 1 2 0
compare '10 nodes of 30 pods without budgets, 2 s to stop' 2 10 300 - 0 2
