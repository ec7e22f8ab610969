# The verbs of the house; `make help` lists them. CI runs the same ones (.ci/run).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export PATH := $(HOME)/.cargo/bin:$(PATH)

# Every file of tests/ is one suite; the ones with a verb of their own are not black-box suites.
TESTS := $(sort $(notdir $(patsubst %/main.rs,%,$(wildcard tests/*/main.rs)) $(basename $(wildcard tests/*.rs))))
BLACKBOX := $(filter-out tidy sim cluster dialects v3 browser clients,$(TESTS))
SEEDS ?= 100
START ?= 1

.PHONY: help run cluster test check fmt clippy docs tidy unit sim dialects blackbox faults browser screenshots contract clients demo bench bench-quick bench-micro soak soak-cluster soak-dialects deny tools clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: ## serve on port 2379 with data in ./vardr.data
	cargo run --release -- --data-dir vardr.data

cluster: ## three members on this machine, data in ./vardr.cluster; Ctrl-C stops them
	@cargo build --release
	@scripts/cluster target/release/vardr vardr.cluster

test: SEEDS = 300
test: tools ## everything a change must pass; installs what the suites need
	@rm -rf target/suites
	$(MAKE) --no-print-directory SEEDS=$(SEEDS) check unit sim faults dialects clients blackbox browser contract
	@scripts/suite --summary

check: fmt clippy docs tidy ## format, lints, documentation, house rules, and licences where cargo-deny is installed
	@if command -v cargo-deny >/dev/null; then cargo deny check licenses bans sources; \
	else echo 'cargo-deny is not installed: licences not checked (make deny installs it)'; fi

fmt: ## the code is formatted
	cargo fmt --check

clippy: ## no lint warns
	@scripts/suite clippy cargo clippy --all-targets -- -D warnings

docs: ## the documentation builds without a warning
	@RUSTDOCFLAGS='-D warnings' scripts/suite docs cargo doc --no-deps --document-private-items

tidy: ## the rules of the house hold
	@scripts/suite tidy cargo test --test tidy

unit: ## what one process can show: modules, properties, crash enumeration
	@scripts/suite unit cargo test --lib --bins

sim: ## the simulator, checked at every step: SEEDS runs (100) from seed START (1) on
	@SIM_SEEDS=$(SEEDS) SIM_START=$(START) scripts/suite sim cargo test --release --test sim -- --show-output

dialects: ## beside real etcd: DIALECT_REQUESTS (26,000) random requests of v2 from seed DIALECT_START (1) on, etcdctl, two client libraries; V3_CALLS (10,000) random calls of v3, and its other tests
	@scripts/suite dialects cargo test --test dialects --test v3 -- --show-output

clients: ## etcd's own clients and those of others, against real etcd and against Vardr; UPDATE_GOLDEN=1 writes docs/conformance.md
	@scripts/suite clients cargo test --test clients

blackbox: ## the built server over real sockets and real files
	@scripts/suite blackbox cargo test $(addprefix --test ,$(BLACKBOX))

faults: ## real clusters of the release build, which lose processes, links, power and disks
	@scripts/suite faults cargo test --release --test cluster

browser: ## what runs in a browser, in Chromium: the console, the examples of the guides
	@scripts/suite browser cargo test --test browser

screenshots: ## pictures of the console, anew, in docs/console
	@cargo test --test browser -- --ignored screenshots

contract: ## the server against its OpenAPI document, by schemathesis
	@cargo build
	@scripts/suite contract scripts/contract target/debug/vardr

demo: ## the main job, shown: import /etc, follow it, race, kill, restart, export
	cargo test --release --test demo -- --nocapture

bench: tools ## beside etcd and a bare echo, as ratios; exits 1 on a missed one (about 22 minutes)
	cargo bench --bench load

bench-quick: tools ## the same table from short runs, for development: its figures are rough
	cargo bench --bench load -- --quick

bench-micro: ## what single parts cost: encoding, applying, reading, fan-out
	cargo bench --bench micro

soak: SEEDS = 5000
soak: START := $(shell date +%s)
soak: ## the simulator on SEEDS (5000) new seeds, from START (the time) on
	@SIM_SEEDS=$(SEEDS) SIM_START=$(START) cargo test --release --test sim seeds_hold -- --nocapture

soak-cluster: ## real clusters, broken on purpose: CLUSTER_RUNS (60) runs, drawn from CLUSTER_SEED; 20 failovers, a lock of 1,000 clients, leases for minutes
	@cargo test --release --test cluster -- --nocapture --test-threads 1 --include-ignored drawn_runs_hold twenty_deaths thousand_clients leases::

soak-dialects: export DIALECT_REQUESTS ?= 200000
soak-dialects: export DIALECT_START ?= $(shell date +%s)
soak-dialects: export V3_CALLS ?= 100000
soak-dialects: export V3_START ?= $(shell date +%s)
soak-dialects: ## beside real etcd: DIALECT_REQUESTS (200,000) requests of v2 from seed DIALECT_START (the time) on, V3_CALLS (100,000) of v3 from V3_START on
	@cargo test --test dialects requests_are_answered -- --nocapture
	@cargo test --test v3 sequences_are_answered -- --nocapture

deny: ## licences, sources and known weaknesses of dependencies (builds cargo-deny: minutes)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check

tools: ## install what the suites need: Rust, Debian packages, schemathesis in target/venv, playwright-core and axe-core in target/browser, etcd's clients in target/clients
	@scripts/tools

clean: ## remove what was built
	cargo clean
