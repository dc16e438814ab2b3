# Every target sets up what it needs: a virtual environment in .venv, from the pinned versions of constraints.txt.
# It takes a machine with Python 3.11 or later, make and git.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
QUICK := not slow and not scale
AT_ONCE := 2
CHECKS := lint types docs

.PHONY: help setup test test-slow test-scale lint types docs demo bench constraints clean

help:             ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP)   ## make the virtual environment

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || .ci/venv $(PYTHON) .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e ".[test,dev,docs,plot,cluster]"
	@touch $@

# A failing check does not hide the tests: all run, the tests last, and any failure fails the target.
test: setup       ## lint, types, docs and every quick test
	@failed=; \
	for check in $(CHECKS); do $(MAKE) --no-print-directory $$check || failed="$$failed $$check"; done; \
	test -z "$$failed" || echo "FAILED before the tests:$$failed"; \
	$(BIN)/pytest -m "$(QUICK)" -n $(AT_ONCE) --dist worksteal && test -z "$$failed"

test-slow: setup  ## the tests that take minutes
	$(BIN)/pytest -m slow

test-scale: setup ## the tests on large simulated surveys
	$(BIN)/pytest -m scale

lint: setup
	$(BIN)/ruff check --output-format concise .

types: setup
	$(BIN)/mypy

docs: setup       ## build the manual into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

demo: setup       ## simulate a small survey, calibrate it, ask it
	$(BIN)/skydb demo --overwrite

bench: setup      ## time skydb and its peers on the medium survey, in bench/ (takes 12 GB)
	$(BIN)/skydb bench bench --preset medium

constraints:      ## renew the pinned versions from a fresh environment
	.ci/venv $(PYTHON) build/constraints
	build/constraints/bin/pip install --quiet --upgrade pip
	build/constraints/bin/pip install --quiet -e ".[test,dev,docs,plot,cluster]"
	{ sed '/^[^#]/,$$d' constraints.txt; build/constraints/bin/pip freeze --exclude-editable | sort -f; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -r build/constraints

clean:            ## remove everything that was built, the environment included
	rm -rf .venv build dist docs/_build docs/reference/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
