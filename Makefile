PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
TOOLS = build/packaging/tools
FROZEN = build/packaging/frozen

.PHONY: demo gui docs docs-check test test-fast test-processors test-servers check check-style check-types fuzz compiled soak bench bench-peers lock proto audit release app

demo: $(VENV)/.installed
	$(BIN)/sizewise quickstart

gui: $(VENV)/.installed
	$(BIN)/sizewise gui

# The documentation site, in build/docs/site; installs its generator once, then needs no network.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m docs.build

# The site, its links, and every command block of README and docs.
docs-check: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/test_docs.py tests/docs

# Every tier (tests/tiers.py) but soak: the timing tier comes last, with the machine to itself. Its tests that mostly wait
# for deadlines run beside each other, and those that measure run alone.
test: $(VENV)/.installed-test
	tests/install-system-libraries
	$(BIN)/python -m pytest -m "not timing and not soak" $(PARALLEL)
	$(BIN)/python -m pytest -m timing $(PARALLEL) $(WAITING)
	$(BIN)/python -m pytest -m timing $(addprefix --ignore ,$(WAITING))

# The tests that start no process and open no window. pytest-qt would import Qt, which then takes part in every import.
test-fast: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m unit -p no:pytest-qt $(PARALLEL)

# Files stay whole, so that tests share their fixtures, and start in the order of tests/tiers.py, which also says how many
# workers there are.
PARALLEL = --numprocesses auto --dist loadfile --no-loadscope-reorder

WAITING = tests/loadgen tests/app/inference/inspection $(addprefix tests/seams/test_, $(addsuffix .py, \
	ci control local_limits protocols streams traffic worker_hosts workers))

# The unit tier with the machine code that other processors would run.
test-processors: $(VENV)/.installed-test
	$(BIN)/python -m tests.processors

# The load worker against servers that others wrote, which get an environment of their own.
test-servers: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/servers

# Two parts, which `make --jobs 2` runs side by side: the types take longer than everything else.
check: check-style check-types

check-style: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m tests.checks.dead_code
	$(BIN)/codespell README.md app docs loadgen profiles reports sizewise.py

check-types: $(VENV)/.installed-test
	$(BIN)/mypy

# Ten minutes of damaged input for every reader of foreign files and responses; .ci/run takes 30 seconds of it.
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

# The bytecode of the program and its tests: otherwise each worker of `make test` compiles all of them at its start.
compiled: $(VENV)/.installed-test
	$(BIN)/python -m pytest --collect-only --quiet >/dev/null

# Long tests: leaks over many runs, hundreds of damaged files, every bundled profile.
soak: $(VENV)/.installed-test
	tests/install-system-libraries
	$(BIN)/python -m pytest -m soak --ignore tests/docs

bench: $(VENV)/.installed-test
	tests/install-system-libraries --bench
	$(BIN)/python -m tests.performance

# Beside AIPerf and GuideLLM, which it installs into an environment of their own: 6 GB.
bench-peers: $(VENV)/.installed-test
	$(BIN)/python -m tests.performance peers agent_peers

# What CI installs, pinned with hashes and without any registry's address.
lock: $(VENV)/.installed-test
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --extra all --extra test pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links tests/servers/requirements.in -o tests/servers/requirements.txt
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links -c requirements.lock docs/packaging/requirements.in -o docs/packaging/requirements.txt

# Known vulnerabilities of everything that requirements.lock pins; a package that cannot be looked up is a failure too.
audit: $(TOOLS)/.installed
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock

# The files of a release of the current commit, checked, in dist.
release: $(TOOLS)/.installed
	$(TOOLS)/bin/python -m docs.packaging.release

# The desktop app in one folder, build/packaging/sizewise, which needs no Python.
app: $(TOOLS)/.installed
	$(TOOLS)/bin/uv venv --quiet --clear --python $(TOOLS)/bin/python $(FROZEN)
	$(TOOLS)/bin/uv pip install --quiet --python $(FROZEN) --constraint requirements.lock \
		--constraint docs/packaging/requirements.txt .[all] pyinstaller
	$(FROZEN)/bin/pyinstaller --noconfirm --log-level ERROR --distpath build/packaging --workpath build/packaging/work \
		docs/packaging/app.spec

# The messages of the Open Inference Protocol over gRPC, as code.
proto: $(VENV)/.installed-test
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. loadgen/protocols/open_inference.proto

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Sizewise needs Python 3.11 or newer; name one: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

# What users install is pinned to the versions that the tests use.
build/constraints.txt: requirements.lock docs/packaging/constraints.py | $(BIN)/python
	mkdir -p build
	$(BIN)/python -m docs.packaging.constraints >$@

$(VENV)/.installed: pyproject.toml build/constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint build/constraints.txt -e .[all]
	touch $@

$(VENV)/.installed-docs: pyproject.toml build/constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint build/constraints.txt -e .[all,docs]
	touch $@ $(VENV)/.installed

# A lock is complete, so its packages are installed without a resolver. The pip of Python 3.11 rejects a lock as soon as
# a newer version of a package with an extra is published (pypa/pip issue 12345).
$(VENV)/.installed-test: pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(BIN)/python -m pip --disable-pip-version-check check
	$(BIN)/python -m app.planning.simulation.precompile
	env -u SIZEWISE_HOME $(BIN)/python -c 'from reports.html import load_library; load_library()'
	touch $@ $(VENV)/.installed $(VENV)/.installed-docs

# Tools that package Sizewise, apart from what they package.
$(TOOLS)/.installed: docs/packaging/requirements.txt
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r docs/packaging/requirements.txt
	touch $@
