# stationwatch: `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON311 ?= python3.11
VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed-$(shell sha256sum requirements.lock | cut -c1-12)

.PHONY: help setup run down test test-faults check bench bench-kernel bench-replay settings-table package

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(INSTALLED) ## install everything into .venv

$(INSTALLED): requirements.lock
	@command -v $(PYTHON311) >/dev/null || { echo "Python 3.11 is needed: install it, or call make PYTHON311=/path/to/python3.11"; exit 1; }
	@test -x $(PYTHON) || $(PYTHON311) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@echo '$(CURDIR)' > $$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/stationwatch.pth
	@rm -f $(VENV)/installed-* && touch $@

run: setup ## start everything, print the page's address; Ctrl-C stops it all
	@$(PYTHON) -m local_stack run

down: setup ## stop what an interrupted run left behind
	@$(PYTHON) -m local_stack down

test: setup ## every test, on real servers that it starts and stops
	$(PYTHON) -m pytest -m "not slow"

test-faults: setup ## the long fault tests as well
	$(PYTHON) -m pytest tests/faults

check: setup ## format, lint, types, import contracts
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: bench-kernel bench-replay ## every benchmark; figures as JSON in benchmarks/results

bench-kernel: setup ## the packed forest against scikit-learn
	$(PYTHON) -m benchmarks.kernel

bench-replay: setup ## a recorded series through the whole pipeline
	$(PYTHON) -m benchmarks.replay

settings-table: setup ## print the table of settings for the README
	@$(PYTHON) -m settings --markdown

package: setup ## wheel and environment archive for spark-submit, into dist/
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .
	tar -czf dist/environment.tar.gz -C $(VENV) --exclude=__pycache__ .
