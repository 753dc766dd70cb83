# stationwatch. `make help` lists what there is.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Changes whenever the environment is another one.
STAMP := $(VENV)/.made-from-lock

.DEFAULT_GOAL := help
.PHONY: help setup run monitor down test test-faults check bench bench-kernel bench-state bench-stream bench-replay bench-detection bench-explanations bench-live bench-life bench-api bench-counts package wheel screenshots image-packages settings-table rules-page java

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with the locked packages

run: setup java ## start everything, print the page's address, until Ctrl-C
	@exec $(BIN)/python -m local_stack run

monitor: setup ## Prometheus and Alertmanager beside a running `make run`, until Ctrl-C
	@exec $(BIN)/python -m local_stack monitor

down: setup ## stop what `run` started, also what a killed `run` left behind
	@$(BIN)/python -m local_stack down

test: setup java ## every test, on real servers that it starts and stops
	@exec $(BIN)/python -m tests.all_tests $(ARGS)

test-faults: setup java ## the tests that kill, pause and take minutes
	@exec $(BIN)/python -m pytest tests/faults tests/integration/api/test_fuzz.py tests/integration/deployment/test_images.py $(ARGS)

check: setup ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: bench-kernel bench-state bench-stream bench-replay bench-detection bench-explanations bench-life bench-counts ## every benchmark

bench-kernel: setup ## the packed forest against scikit-learn
	@exec $(BIN)/python -m benchmarks.kernel $(ARGS)

bench-state: setup ## the state step and the verdicts: speed and size
	@exec $(BIN)/python -m benchmarks.state $(ARGS)

bench-stream: setup java ## throughput, latency, stations, tasks, start-up, the API, half an hour; writes docs/performance.md
	@exec $(BIN)/python -m benchmarks.stream $(ARGS)

bench-replay: setup java ## a recorded real series through the whole pipeline
	@exec $(BIN)/python -m benchmarks.replay $(ARGS)

bench-detection: setup ## the detector on simulated faults and public series; writes docs/detection.md
	@exec $(BIN)/python -m benchmarks.detection $(ARGS)

bench-explanations: setup ## whether verdicts are explained by the right sensor and cause, and what that costs
	@exec $(BIN)/python -m benchmarks.explanations $(ARGS)

bench-api: setup java ## the API at 50 requests/s while 1,000 readings/s flow in
	@exec $(BIN)/python -m benchmarks.api $(ARGS)

bench-counts: setup java ## counts of a million anomalies over 30 days: equal to brute force, and how fast
	@exec $(BIN)/python -m benchmarks.counts $(ARGS)

bench-live: setup ## which injected faults the running `make run` has seen
	@exec $(BIN)/python -m benchmarks.live_faults $(ARGS)

bench-life: setup ## drift, feedback and poisoned trainings in figures; writes docs/drift.md and docs/models.md
	@exec $(BIN)/python -m benchmarks.life $(ARGS)

package: wheel ## a wheel and an archive of the environment for spark-submit, in dist/
	@# Spark is the cluster's own, and the program comes as the wheel, not as this checkout.
	tar -czf dist/environment.tar.gz -C $(VENV) --exclude=__pycache__ --exclude=site-packages/pyspark --exclude=stationwatch.pth --exclude=./bin/stationwatch .

wheel: setup
	@rm -rf build
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@# Spark's executors import from .zip and not from .whl, which is the same.
	@cp dist/stationwatch-*.whl dist/stationwatch.zip
	@rm -rf build stationwatch.egg-info

screenshots: setup java ## pictures of the page from a small recorded run, in docs/images
	@exec $(BIN)/python -m tests.browser.screenshots

image-packages: setup ## write what each image installs, after an import was added or dropped
	@$(BIN)/python -m local_stack.downloads.image_packages

settings-table: setup ## write docs/settings.md and .env.example, after a setting was added or changed
	@$(BIN)/python -m core.settings_table --env-example > .env.example.part && mv .env.example.part .env.example
	@$(BIN)/python -m core.settings_table --markdown > docs/settings.md.part && mv docs/settings.md.part docs/settings.md

rules-page: setup ## write docs/rules.md, after a rule was added or changed
	@$(BIN)/python -c 'from models.scoring.rules import rules_page; print(rules_page(), end="")' > docs/rules.md.part && mv docs/rules.md.part docs/rules.md

$(STAMP): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed and $(PYTHON) is not on PATH: install it, or make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed, $(PYTHON) is another version" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make environments: install its venv module (Debian: apt-get install python3.11-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# The lock is complete. Resolving again would meet extras (`pydantic[email]`), for which pip looks at newer releases.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip check --quiet
	@# The checkout itself, as it is: nothing to build, nothing to install again after an edit.
	@$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "stationwatch.pth").write_text(str(pathlib.Path.cwd()) + "\n")'
	@printf '#!/bin/sh\nexec "%s" -P -m stationwatch "$$@"\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/stationwatch
	@chmod +x $(BIN)/stationwatch
	@touch $@

java: $(STAMP)
	@$(BIN)/python -m local_stack java >/dev/null
