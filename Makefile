# The one door, for people and CI. `make run` and `make test` do all the set-up they need.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Build output is kept outside of the checkout, so that RocksDB is compiled once for run, test and CI,
# and for the next checkout too.
CACHE := $(or $(SIDELOCK_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sidelock)
export CARGO_TARGET_DIR ?= $(CACHE)/target

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  (build output: $(CARGO_TARGET_DIR))"

.PHONY: setup
setup: ## Install what is missing to build (Debian: libclang-dev)
	@.ci/setup build

.PHONY: build
build: setup ## Build bin/sidelock (the first time compiles RocksDB)
	@.ci/setup notice
	cargo build --locked --bin sidelock
	@mkdir -p bin
	@cp "$(CARGO_TARGET_DIR)/debug/sidelock" bin/.sidelock.new && mv -f bin/.sidelock.new bin/sidelock

.PHONY: run
run: build ## Run a core and a sidecar on http://localhost:5625
	@exec bin/sidelock dev

.PHONY: test
test: setup ## Run all tests but the slow ones
	@.ci/setup notice
	@.ci/test

.PHONY: slow
slow: setup ## Run the slow tests
	@.ci/test --slow

.PHONY: sim
sim: setup ## Simulate sidecars and the whole cell under faults: make sim SEEDS=5000
	@.ci/sim $(or $(SEEDS),1000) $(or $(SEED),0)
	@.ci/quorum $(or $(SEEDS),1000) $(or $(SEED),0)

.PHONY: mutants
mutants: setup ## Plant one mistake after the other; the tests must find each (docs/mutants.md)
	@.ci/mutants --table docs/mutants.md

.PHONY: chaos
chaos: setup ## Kill and stop real processes for ten minutes: make chaos SECONDS=600 SEED=1
	@SIDELOCK_CHAOS_SECONDS=$(or $(SECONDS),600) SIDELOCK_CHAOS_LOCKS=24 SIDELOCK_SEED=$(or $(SEED),1) \
		cargo test --locked --test chaos -- --ignored --nocapture what_is_told_holds

.PHONY: micro
micro: setup ## Measure single steps beside the stored baseline: make micro STORE=1 stores one
	@.ci/micro $(if $(STORE),--store)

.PHONY: flame
flame: build ## Draw where the processor time of sidecar, leader and follower goes (docs/images/flame-*.svg)
	@.ci/setup flame
	cargo run --locked --package sidelock-loadtest -- flame --sidelock bin/sidelock --out docs/images

.PHONY: demo
demo: build ## Twelve workers in three languages, a dying leader, one lost update refused
	@.ci/setup demo
	@demo/run bin/sidelock

.PHONY: release
release: build ## Build bin/sidelock-release, what is shipped: optimised as a whole (some 7 minutes more)
	@.ci/release

.PHONY: ui
ui: build ## Test the page in headless Chromium: make ui IMAGES=1 takes the pictures of the docs anew
	@.ci/ui bin/sidelock $(if $(IMAGES),--images docs/images)

.PHONY: alerts
alerts: ## Test the alerts with promtool, and that each has a runbook
	@.ci/alerts

.PHONY: dashboard
dashboard: build ## Run the dashboard's queries and the runbooks' commands against a cell under load and a Prometheus
	@.ci/dashboard bin/sidelock

.PHONY: docker
docker: build ## Build the image and run docker/compose.yaml on a Docker engine, with cores killed and cut off
	@.ci/docker

.PHONY: guide
guide: build ## Run every program of docs/guide, and the commands of the operators' guide
	@.ci/guide bin/sidelock

.PHONY: chart
chart: build ## Render and judge the Helm chart, and play its keeper on a real cell
	@.ci/chart bin/sidelock

.PHONY: test-k8s
test-k8s: build ## Install the chart into a real kube-apiserver, which asks its webhook, and run what comes out
	@.ci/k8s bin/sidelock

.PHONY: bench
bench: build ## Measure beside etcd, Redis, ZooKeeper, ...: make bench FORM=quick|full
	@.ci/bench $(or $(FORM),quick)

.PHONY: openapi
openapi: build ## Write openapi/ anew from the code
	@mkdir -p openapi
	bin/sidelock openapi > openapi/.new && mv -f openapi/.new openapi/sidelock.json

.PHONY: clean
clean: ## Remove the binary and this project's build output (RocksDB stays compiled)
	rm -rf bin
	cargo clean --package sidelock
