# Every target sets itself up: Python >= 3.10, git, g++ and make are enough.
#
# PYTHON   the interpreter that makes the virtual environments
# VENV     where the environment is; those with pynq are beside it
# JOBS     test processes
# ARGS     more arguments for the command of a target, as in `make test ARGS="-k layout"`

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
ARGS ?=

BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The environment's commands (weightstream, node, npm) go before the machine's.
RUN := PATH="$(BIN):$$PATH" $(BIN)/python
DEV := $(VENV)/.weightstream-dev
TRAIN := $(VENV)/.weightstream-train
PYNQS := $(VENV)-pynq3 $(VENV)-pynq4
# In an environment of pynq: builds the package as its users get it.
INSTALL_WHEEL := bin/python -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation \
	--force-reinstall .

# Test processes must agree on the order of sets; pyright must not look for newer versions of itself.
export PYTHONHASHSEED := 0
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help test test-pynq test-long lint format demo notebooks bench-codec bench-hw bench-driver bench-board baselines report \
	overlays formal fuzz train lock venv clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A notebook's first cell may compile the simulated machine.
test: lint ## lint, then run the tests and the notebooks
	$(RUN) -m pytest -n $(JOBS) --nbmake --nbmake-timeout=1200 $(ARGS)

# pynq keeps the state of boards in a file: no two tests at a time. Overlay files know no pynq: see `make test`.
test-pynq: $(PYNQS:=/.weightstream) ## run the tests of boards with pynq 3 and with pynq 4
	set -e; for env in $(abspath $(PYNQS)); do \
		$$env/$(INSTALL_WHEEL); \
		PATH="$$env/bin:$$PATH" $$env/bin/python -m pytest tests/board \
			--ignore=tests/board/test_overlay_files.py $(ARGS); \
	done

test-long: $(DEV) ## run many random networks through the gateware (minutes)
	$(RUN) -m pytest -n $(JOBS) -m long $(ARGS)

lint: $(DEV) ## check style and types
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m pyright --pythonpath $(BIN)/python

format: $(DEV) ## sort imports and format
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

demo: $(DEV) ## compress two MNIST networks and run them from their streams
	$(RUN) examples/mnist/demo.py $(ARGS)

notebooks: $(DEV) ## run the notebooks and save them with their outputs (ARGS=one of them)
	$(RUN) tests/execute_notebooks.py $(ARGS)

bench-codec: $(DEV) ## size and speed of the codec beside others
	$(RUN) benchmarks/bench_codec.py $(ARGS)

bench-hw: $(DEV) ## simulate the accelerator and print its figures
	$(RUN) benchmarks/bench_hw.py $(ARGS)

bench-driver: $(DEV) ## what the driver adds to the codec, and a thousand jobs in a row
	$(RUN) benchmarks/bench_driver.py $(ARGS)

baselines: $(DEV) ## measure areas, clocks and cycles that have changed (ARGS="--only lane")
	$(RUN) benchmarks/baselines.py $(ARGS)

bench-board: $(VENV)-pynq4/.weightstream ## run LeNet through PYNQ.remote on a simulated board, and print the times
	$(VENV)-pynq4/$(INSTALL_WHEEL)
	$(VENV)-pynq4/bin/python benchmarks/bench_board.py $(ARGS)

report: $(DEV) ## area of a preset from Yosys (ARGS="--preset pynq_z2 --target xc7")
	$(RUN) -m weightstream_hw.cli report $(or $(ARGS),--preset tiny --target xc7)

overlays: $(DEV) ## write what Vivado builds overlays from into bitstreams/
	for board in pynq_z2 pynq_z1 kv260 zcu104; do \
		$(RUN) -m weightstream_hw.cli build --board $$board -o bitstreams/$$board --files-only || exit 1; \
	done

formal: $(DEV) ## prove the rules of the buses and the order of slots and queues
	$(RUN) tests/formal/run.py $(ARGS)

fuzz: $(DEV) ## read 100,000 mutated files
	$(RUN) tests/fuzz/fuzz_files.py --count 100000 $(ARGS)

train: $(TRAIN) ## train the MNIST networks again (installs torch)
	$(RUN) examples/mnist/train_float.py $(ARGS)
	$(RUN) examples/mnist/train_ternary.py $(ARGS)

# Torch names the accelerator libraries of each of its builds; those are left to it.
lock: $(DEV) ## renew requirements/ from pyproject.toml (ARGS=--upgrade: newest versions)
	$(PIP) install -qq uv==0.13.9
	$(BIN)/uv pip compile -q --no-python-downloads --universal --python-version 3.10 --extra dev $(ARGS) \
		--custom-compile-command "make lock" -o requirements/dev.txt pyproject.toml
	$(BIN)/uv pip compile -q --no-python-downloads --universal --python-version 3.10 --extra train $(ARGS) \
		--custom-compile-command "make lock" --no-annotate -c requirements/dev.txt -o requirements/train.txt pyproject.toml
	sed -i -E '/^(cuda|nvidia|triton)/d' requirements/train.txt
	set -e; for pynq in 3.1.2 4.0.0; do \
		echo "pynq==$$pynq" | $(BIN)/uv pip compile -q --no-python-downloads --universal --python-version 3.10 \
			--extra test-pynq $(ARGS) --custom-compile-command "make lock" --no-annotate \
			-o requirements/pynq$${pynq%%.*}.txt pyproject.toml -; \
	done

venv: $(DEV) ## make the virtual environment, or bring it up to date

clean: ## remove caches and builds
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find sw hw sim tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the virtual environments too
	rm -rf $(VENV) $(PYNQS)

# Pip is the last that venv puts there, so an interrupted start is made good.
# Debian keeps the module that installs pip in a package of its own.
%/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "weightstream needs Python 3.10 or newer: name one, as in make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-venv; \
		else \
			echo "$(PYTHON) cannot make virtual environments: install python3-venv (sudo apt-get install python3-venv)" >&2; \
			exit 1; \
		fi; }
	$(PYTHON) -m venv $*
	@touch $@

# The lock is complete, so nothing is resolved and nothing unpinned gets in.
$(DEV): pyproject.toml requirements/dev.txt | $(VENV)/bin/pip
	$(PIP) install -qq --no-deps -r requirements/dev.txt
	$(PIP) install -qq --no-deps --no-build-isolation -e .
	@touch $@

$(TRAIN): requirements/train.txt $(DEV)
	$(PIP) install -qq -r requirements/train.txt
	@touch $@

# Made on the way to an environment, and not to be removed after it.
.PRECIOUS: %/bin/pip

$(VENV)-pynq%/.weightstream: requirements/pynq%.txt | $(VENV)-pynq%/bin/pip
	@$(@D)/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || { \
		echo "pynq needs Python 3.10 to 3.12: rm -r $(@D), and name one, as in make test-pynq PYTHON=python3.12" >&2; \
		exit 1; }
	$(@D)/bin/python -m pip --disable-pip-version-check install -qq --no-deps -r $<
	@touch $@
