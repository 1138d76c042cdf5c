# The only entry: `make` lists what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The scripts' and ours are the same: see hack/lib.sh.
ifndef CARGO_TARGET_DIR
export CARGO_TARGET_DIR := $(shell source hack/lib.sh && echo "$$CARGO_TARGET_DIR")
endif
# kubectl writes to the user's ~/.kube otherwise.
export KUBECACHEDIR := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/convene/kubectl-cache

# The demo's, and cluster-up's:
#   CLUSTER  local (default), kind, or current: the cluster of the current kubeconfig
#   NODES    how many nodes the local cluster has (one, or as many as it has already)
#   IMAGE    an image that the current cluster can pull (CLUSTER=current only)
#   YES=1    do not ask before touching the current cluster
#   NAME     which local cluster (cluster-up, cluster-down)
NAME ?= dev
export CLUSTER IMAGE YES NODES

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ See it run
.PHONY: demo demo-down
demo: setup ## a cluster, the operator, six regions, and sessions that find the nearest (CLUSTER=, NODES=, IMAGE=)
	@hack/demo.sh up
demo-down: ## remove every trace of the demo
	@hack/demo.sh down

##@ Work on it
.PHONY: setup tools image binary cluster-up cluster-down cluster-status gen bless fmt
setup: ## install what is missing: Debian packages, the static Rust target
	@hack/setup.sh
tools: setup ## build Kubernetes, etcd, CoreDNS and Helm (once, then cached)
	@hack/cluster/build.sh
image: setup ## build the image as an OCI archive; prints its reference and its path
	@hack/build-image.sh
binary: setup ## build the static binary that the Dockerfile copies
	@hack/build-image.sh --binary
cluster-up: setup ## bring up a local cluster (NAME=, NODES=)
	@hack/cluster/up.sh $(NAME) $(if $(NODES),--nodes $(NODES))
cluster-down: ## remove a local cluster (NAME=)
	@hack/cluster/down.sh $(NAME)
cluster-status: ## list the local clusters
	@hack/cluster/status.sh
gen: ## write what is generated from the code: CRDs, the chart's copy, documents
	cargo run --quiet -- crds --write .
	cargo run --quiet -- metrics --write .
	cargo run --quiet -- openapi --write .
bless: gen ## accept what the tests render now as the expected result
	CONVENE_BLESS=1 cargo test --quiet --test plan --test simulate
fmt: ## format the code
	cargo fmt --all
	gofmt -w hack

##@ Test it
.PHONY: test lint test-unit test-autobahn test-openapi test-editor test-geoip test-handoff fuzz explore bench-abuse bench-client test-chart test-api test-faults test-image test-cluster test-e2e test-demo
test: ## everything, in order, with the time of each layer (this is what CI runs)
	@hack/test.sh
lint: setup ## formatting, clippy, shellcheck, go vet
	@hack/lint.sh
# All that needs no cluster; a new file in tests/ is one of these unless it is named here.
CLUSTER_TESTS := apiserver e2e faults
TOOL_TESTS := conformance openapi
UNIT_TESTS := $(filter-out $(CLUSTER_TESTS) $(TOOL_TESTS),$(patsubst tests/%.rs,%,$(patsubst tests/%/main.rs,%,$(wildcard tests/*.rs tests/*/main.rs))))
test-unit: ## unit and property tests, plans, architecture: all that needs no cluster
	cargo test --locked --workspace --lib --bins $(UNIT_TESTS:%=--test %)
	source hack/lib.sh && pinned_go test ./image
test-autobahn: setup ## RFC 6455: the relay against the Autobahn cases (CASES='9.*' for some)
	@hack/test-autobahn.sh
test-editor: setup ## the browser editor: documents converge, and two people in Chromium go on when a relay leaves
	@hack/test-editor.sh
SECONDS_EACH ?= 60
fuzz: setup ## every parser of bytes from outside under libFuzzer, guided by what they reach (SECONDS_EACH=, of which there are 32; KEEP=8)
	@hack/fuzz.sh $(SECONDS_EACH)
explore: ## every state of leases and of drains in a larger scope than the tests' (minutes, optimised)
	CONVENE_EXPLORE=full cargo test --locked --config 'profile.test.package.convene.opt-level=2' \
		--lib -- --nocapture in_any_order_of_events
bench-abuse: setup ## what honest people feel while others attack a relay: delays, quiet and attacked, side by side
	cargo test --release --locked --test abuse -- --ignored --nocapture what_honest_people_feel
bench-client: setup ## how long share and join take to be back after each kind of fault, and 200 MB while the relay is killed
	cargo test --release --locked --test client -- --ignored --nocapture --test-threads 1
WORLDS ?= 3000
SEED ?= 1000
test-handoff: setup ## host and guests in simulated worlds that lose relays, wires and the lobby (WORLDS=, SEED= of the first)
	CONVENE_WORLDS=$(WORLDS) CONVENE_SEED=$(SEED) cargo test --locked --lib -- --ignored --nocapture in_thousands_of_worlds
test-openapi: setup ## the lobby's API against its own OpenAPI document (EXAMPLES=500 for more)
	@hack/test-openapi.sh
test-geoip: setup ## places by address: a whole city database is fetched (130 MB, once) and read
	CONVENE_GEOIP_DIR="$$(hack/geoip.sh)" cargo test --locked --lib -- --ignored --nocapture the_databases_of_db_ip
test-chart: tools ## helm lint and what the chart renders
	@hack/test-chart.sh
test-api: tools ## against a real API server
	CONVENE_KUBE_BIN="$$(hack/cluster/build.sh --print-bin-dir)" cargo test --locked --test apiserver
test-faults: tools ## the operator killed at every write, answered wrongly, paused, cut off (QUICK=1 for some, SEED=)
	CONVENE_KUBE_BIN="$$(hack/cluster/build.sh --print-bin-dir)" cargo test --locked --workspace --test faults
test-image: setup ## the image: reproducible, small, and the same from the Dockerfile
	@hack/test-image.sh
test-cluster: tools ## the local cluster itself: nodes, DNS, Services, and nothing left afterwards
	@hack/cluster/test.sh
test-e2e: tools ## the whole, on a local cluster of two nodes
	@hack/test-e2e.sh
test-demo: tools ## the demo: killed, run again, looked at, removed without a trace; and on a cluster not its own
	@hack/test-demo.sh

##@ Measure it (on a machine that does nothing else; QUICK=1 for a short look)
.PHONY: bench-lobby bench-relay bench-route bench-routing fit-routing bench-scale
bench-lobby: setup ## placements a second, and how long each takes
	@hack/bench.sh lobby
bench-routing: setup ## what each way of choosing a relay loses, on measured round trips; draws docs/routing.svg
	@hack/bench.sh routing docs/routing.md
fit-routing: setup ## fit the latency model to the measured round trips in benches/routing/data
	cargo bench --quiet --locked --bench routing -- --fit
bench-route: setup ## how long the choice of a relay takes, over 100 pools and over 10,000 relays
	@hack/bench.sh route
bench-scale: tools ## how soon a pool follows its sessions, on a local cluster with real relays
	@hack/test-e2e.sh --ignored --nocapture times::
bench-relay: setup ## the relay beside other WebSocket servers: CPU, latency, memory, connects
	@hack/bench-relay.sh
