# Virtual environment .venv, installed by pip from constraints.txt; all other targets use it.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help release test test-fast lint bench gpu-check install freeze clean

help:
	@echo "make release   run all stale stages, then show the summary"
	@echo "make test      run the test suite"
	@echo "make test-fast run the tests that are not slow, in about a minute"
	@echo "make lint      check style, types and import rules"
	@echo "make bench     run the benchmarks"
	@echo "make gpu-check check on an NVIDIA GPU what is marked unverified, in about 5 minutes"

release: $(INSTALLED)
	$(BIN)/netwright run

# Two processes: no test asserts on absolute times.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.supernet
	$(BIN)/python -m benchmarks.indicators

gpu-check: $(INSTALLED)
	$(BIN)/python -m benchmarks.gpu_check

install: $(INSTALLED)

$(INSTALLED): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: Python 3.11 or newer is required; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing the pinned packages into .venv: several minutes and 6 GB the first time."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@began=$$(date +%s) \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check \
			--constraint constraints.txt setuptools \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check \
			--constraint constraints.txt --no-build-isolation --editable '.[dev]' \
		&& echo "Installed in $$(( $$(date +%s) - began )) s."
	@touch $@

freeze: $(INSTALLED)
	@sed '/^[^#]/d' constraints.txt > constraints.new
	@$(BIN)/python -m pip freeze --all --exclude-editable \
		| grep -viE '^(pip|tensorrt)==' | sort -f >> constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf .venv .netwright
