# The commands of this project. CONTRIBUTING.md tells more.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup setup-stock setup-browser lock format test test-unit test-repeat test-compose fuzz bench-http bench-releases bench-dashboard lint coverage check demo chaos chaos-each chaos-prove clean test-brokers bench

UV ?= uv
BIN := .venv/bin
# One more than there are cores: many tests wait for the broker.
AT_ONCE := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
IN_PARALLEL = -n $(AT_ONCE) --maxprocesses=4 --durations=20
UV_COMPILE = $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
		while IFS='|' read -r name what; do printf 'make %-12s %s\n' "$$name" "$$what"; done

setup: ## make .venv with all dependencies, and find or install RabbitMQ
	@scripts/setup

setup-stock: ## install the stock AMQP clients that some integration tests talk with
	@scripts/setup-stock

setup-browser: ## install the Chromium that tests/browser looks at the dashboard with
	@scripts/setup-browser

lock: ## pin all dependencies anew in requirements/ (needs uv: UV=path)
	$(UV_COMPILE) pyproject.toml -o requirements/runtime.txt
	$(UV_COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	$(UV_COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt
	$(UV_COMPILE) --group bench -c requirements/runtime.txt -o requirements/bench.txt

format: setup ## format the code, and fix what the linter can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

test: setup ## all tests but the composed system and the long runs, or some: make test TESTS=tests/integration
	$(BIN)/python -m pytest -q $(IN_PARALLEL) $(or $(TESTS),tests) $(PYTEST_ARGS)

test-unit: setup ## the tests that need neither a broker nor a browser
	$(BIN)/python -m pytest -q $(IN_PARALLEL) tests/unit $(PYTEST_ARGS)

test-repeat: setup ## the tests N times (20) with one core kept busy, and a table of all that failed (N, TESTS, PYTEST_ARGS)
	@$(BIN)/python -m tests.helpers.repeat --runs $(or $(N),20) -- \
		$(IN_PARALLEL) $(or $(TESTS),tests) $(PYTEST_ARGS)

test-brokers: setup ## the integration tests, or some (TESTS=…), with RabbitMQ in containers: each of IMAGES in turn (needs a Docker engine)
	@set -e; for image in $(or $(IMAGES),rabbitmq:3-management rabbitmq:4-management); do \
		echo "test-brokers: $$image"; \
		CI=true COORDINATOR_TEST_BROKER=container COORDINATOR_TEST_IMAGE=$$image \
			$(BIN)/python -m pytest -q $(IN_PARALLEL) $(or $(TESTS),tests/integration) $(PYTEST_ARGS); \
	done

test-compose: setup ## build the image, bring compose.yaml up, use it, break it, take it down (needs a Docker engine)
	@scripts/test-compose $(PYTEST_ARGS)

fuzz: setup ## random input at length: 20,000 calls over HTTP, 10,000 messages over AMQP (some half an hour)
	FUZZ=long $(BIN)/python -m pytest tests/integration/fuzz $(PYTEST_ARGS)

bench: setup ## measure against peers and the broker's limit, for a quiet machine: all, or make bench BENCH=dispatch (BENCH_ARGS=--quick)
	@scripts/setup-bench
	$(BIN)/python -m tests.benchmarks $(BENCH) $(BENCH_ARGS)

bench-releases: setup ## how quickly releases act, for a quiet machine (BENCH_ARGS=--help tells the options)
	$(BIN)/python -m tests.benchmarks.releases $(BENCH_ARGS)

bench-dashboard: setup ## what the dashboard costs with 3,000 seeds and 500 workers, for a quiet machine
	$(BIN)/python -m tests.benchmarks.dashboard

bench-http: setup ## figures of the HTTP side under load, for a quiet machine (BENCH_ARGS=--help tells the options)
	$(BIN)/python -m tests.benchmarks.http $(BENCH_ARGS)

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

coverage: setup ## the same tests as `make test`, measured: what they cover, with branches (TESTS, PYTEST_ARGS)
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q $(IN_PARALLEL) $(or $(TESTS),tests) $(PYTEST_ARGS)
	@$(BIN)/coverage combine -q
	$(BIN)/coverage report

check: lint coverage ## everything: style, types, tests and their coverage

demo: setup ## run the whole system on this machine (DEMO_ARGS=--help tells the options)
	$(BIN)/coordinator demo $(DEMO_ARGS)

chaos: setup ## load and break everything, and check what became of each item (DURATION, SEED, FAULTS, NODES, CHAOS_ARGS)
	@$(BIN)/python -m tests.chaos --duration $(or $(DURATION),600) --seed $(or $(SEED),7) \
		--faults $(or $(FAULTS),all) --nodes $(or $(NODES),3) $(CHAOS_ARGS)

chaos-each: setup ## cause each kind of fault alone, and tell how long work stood still (DURATION, SEED, FAULTS)
	@$(BIN)/python -m tests.chaos.each --duration $(or $(DURATION),75) --seed $(or $(SEED),7) \
		--faults $(or $(FAULTS),all) $(CHAOS_ARGS)

chaos-prove: setup ## plant each kind of violation, and see that the checker of `make chaos` catches it
	@$(BIN)/python -m tests.chaos.prove $(CHAOS_ARGS)

clean: ## remove all that these commands made in this folder
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .cache dist htmlcov .coverage .coverage.*
	rm -rf tests/integration/stock/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
