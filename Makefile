# make demo: set up and see the main job run.  make test: all tests that need no torch and no GPU.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
# A check's environment is used once: most of what pip would compile is never imported.
LAZILY := $(if $(CI),--no-compile)
# Tests start many processes: each would compile all that it imports, where an image says that nothing is kept.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-train lint bench clean python-there

demo: $(VENV)/.run
	$(BIN)/python scripts/demo.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist worksteal

test-train: $(VENV)/.train
	$(BIN)/python -m pytest -m train

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.train
	$(BIN)/python benchmarks/embedding.py
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/query_latency.py
	$(BIN)/python benchmarks/engine_overhead.py
	$(BIN)/python benchmarks/extractive.py
	$(BIN)/python benchmarks/reingest.py
	$(BIN)/python benchmarks/ingest_scale.py
	$(BIN)/python benchmarks/index.py
	$(BIN)/python benchmarks/autoscale.py

python-there:
	@test -n "$(PYTHON)" || { echo "RAGSaver needs Python 3.11 or newer and found none. Install one, or name it: make demo PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11, or is no Python. Name a newer one: make demo PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/bin/python: | python-there
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q $(LAZILY) -e '.[cpu]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q $(LAZILY) -e '.[cpu,dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.train: pyproject.toml constraints-ci.txt | $(VENV)/bin/python
	$(BIN)/pip install -q $(LAZILY) -e '.[cpu,dev,train]' $(if $(CI),-c constraints-ci.txt)
	@touch $@ $(VENV)/.dev $(VENV)/.run

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
