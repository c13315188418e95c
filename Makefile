# Everything a newcomer needs is Python 3.11 or newer and make; each target sets up .venv by itself.
# To choose the Python: make PYTHON=/usr/bin/python3.12 test

SHELL = /bin/sh
PYTHON ?=
CANDIDATES = $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3)
IN_VENV = .venv/bin/python
PIP = $(IN_VENV) -m pip --disable-pip-version-check -qq install --constraint constraints.txt
LOWEST_PIP = build/lowest/bin/python -m pip --disable-pip-version-check -qq install --constraint build/lowest/constraints.txt
SYSTEM_TOOLS = PATH="$$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# They would make .venv find packages that are not its own.
unexport PYTHONHOME PYTHONPATH

.PHONY: help demo test test-lowest check bench format setup clean system-tools

help:
	@echo 'make demo    show one incident from the first word to the last; nothing is sent anywhere'
	@echo 'make test    run every test'
	@echo 'make test-lowest  the same without tests/crash, with the oldest versions that pyproject.toml allows'
	@echo 'make check   what must hold before a change lands: format, lint, types, layers, tests'
	@echo 'make bench   measure the speed beside that of others; ARGS=--write writes docs/performance.md'
	@echo 'make format  lay out the code and mend what can be mended by itself'
	@echo 'make setup   make .venv ready for work'
	@echo 'make clean   remove .venv and everything else that was made here'

demo: .venv/ready
	@.venv/bin/commcast demo

# Three at a time on two cores: much of the crash suite waits.
test: .venv/ready-dev system-tools
	$(SYSTEM_TOOLS) $(IN_VENV) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Each `"name>=X"` of pyproject.toml is installed as name==X, in a virtual environment of its own: a bound that does
# not hold fails here. What those need in turn is as new as pip finds it.
test-lowest: build/lowest/ready system-tools
	$(SYSTEM_TOOLS) build/lowest/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore tests/crash

check: .venv/ready-dev system-tools
	$(IN_VENV) -m ruff format --check
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m mypy
	.venv/bin/lint-imports --no-cache
	$(MAKE) test

# First whether each comparison does its whole work, with tiny numbers. It installs its peers by itself:
# benchmarks/.venv, Postfix, wrk. A quick look: make bench ARGS="--scale 0.05 --rounds 1"
bench: .venv/ready-dev system-tools
	@$(SYSTEM_TOOLS) $(IN_VENV) -m pytest -q benchmarks
	@$(IN_VENV) -m benchmarks $(ARGS)

format: .venv/ready-dev
	$(IN_VENV) -m ruff format
	$(IN_VENV) -m ruff check --fix

setup: .venv/ready-dev

clean:
	rm -rf .venv benchmarks/.venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find commcast tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# What `commcast` itself needs. A .venv that works is kept and brought up to date.
.venv/ready: pyproject.toml constraints.txt
	@if ! $(IN_VENV) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  found=; old=; bare=; \
	  for python in $(CANDIDATES); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; \
	      bare=$${bare:-$$("$$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')}; \
	    else \
	      old=$${old:-$$("$$python" --version 2>/dev/null)}; \
	    fi; \
	  done; \
	  if [ -z "$$found" ] && [ -n "$$bare" ]; then \
	    echo "commcast: $$bare has no venv module; install it (Debian, Ubuntu: apt-get install $$bare-venv)" >&2; exit 1; \
	  elif [ -z "$$found" ]; then \
	    echo "commcast: needs Python 3.11 or newer, found $${old:-none}; install it (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	  fi; \
	  echo "Setting up .venv with $$found; this takes about a minute, once." >&2; \
	  "$$found" -m venv --clear .venv; \
	fi
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable .
	@touch $@

# What tests and checks need on top. It follows .venv/ready, so that two pips never work at the same time.
.venv/ready-dev: .venv/ready
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

build/lowest/ready: .venv/ready
	@$(IN_VENV) -m venv --clear build/lowest
	@sed -n 's/^    "\([A-Za-z0-9._-]*\)>=\([0-9.]*\).*/\1==\2/p' pyproject.toml >build/lowest/constraints.txt
	@$(LOWEST_PIP) hatchling editables
	@$(LOWEST_PIP) --no-build-isolation --editable '.[test]'
	@touch $@

# The tests send to a Postfix that they start in a folder of its own (as root); they let the disk fail under a
# run with strace; and they look at pages in Chromium. Elsewhere than on Linux those tests are skipped.
system-tools:
	@[ "$$(uname -s)" = Linux ] || exit 0; \
	missing=; \
	for tool in postfix strace; do \
	  $(SYSTEM_TOOLS) command -v $$tool >/dev/null || missing="$$missing $$tool"; \
	done; \
	{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null \
	  || missing="$$missing chromium"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then \
	    echo "commcast: the tests need$$missing; install Postfix, strace and Chromium (Debian: sudo apt-get install postfix strace chromium)" >&2; exit 1; \
	  fi; \
	  echo "Installing Postfix, strace and Chromium for the tests." >&2; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections; \
	  apt-get -qq update && apt-get -qq install --yes --no-install-recommends postfix strace chromium >/dev/null; \
	fi
