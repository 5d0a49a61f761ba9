# What people and CI call.  Everything goes into .venv; nothing is installed twice.

SHELL := /bin/bash
BIN := .venv/bin

# The newest Python from 3.11 on that can make a virtual environment.
PYTHON ?= $(firstword $(foreach p,python3.14 python3.13 python3.12 python3.11 python3,$(shell \
	$(p) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))

.PHONY: run test lint pictures bench hgsuite man docs clean

run: .venv/.installed
	packaging/install-desktop $(BIN)/python
	$(BIN)/autosync demo

test: .venv/.installed-tests
	tests/install-debian
	$(MAKE) --no-print-directory lint
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m tests.half_written  # a process that a test killed may leave half a file
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=90
	$(BIN)/coverage report --fail-under=100 --include='autosync/core/*'

lint: .venv/.installed-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# What popups and the page look like, for the documents.
pictures: .venv/.installed-tests
	tests/install-debian
	AUTOSYNC_PICTURES=$(CURDIR)/docs/images $(BIN)/python -m pytest --quiet tests/desktop/test_agents.py \
		tests/system/test_web.py

bench: .venv/.installed-tests
	tests/install-debian --bench
	$(BIN)/python -m benchmarks

# Mercurial's own tests, with light-weight copies in every repository: hours.  It goes on where it ended.
hgsuite: .venv/.installed-tests
	$(BIN)/python -m tests.hgsuite --jobs 2

man: .venv/.installed
	mkdir -p build
	$(BIN)/autosync manpage >build/autosync.1

# To read it, with its search: .venv/bin/python -m http.server --directory build/site
docs: .venv/.installed-tests
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file website/mkdocs.yml

clean:
	rm -rf .venv build demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Editable: a change of the code needs no new installation, one of its requirements does.
.venv/.installed: setup.cfg pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/.installed-tests: setup.cfg pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch .venv/.installed $@

.venv/bin/python:
	@if [ -z '$(PYTHON)' ]; then \
		echo 'autosync needs Python 3.11 or newer with the module venv. On Debian 12 or newer, as root:' >&2; \
		echo '  apt-get install python3 python3-venv' >&2; \
		exit 1; \
	fi
	$(PYTHON) -m venv .venv
