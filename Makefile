# Every target installs what it needs into .venv on its first run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MAKEFLAGS += --no-print-directory
# What compiles the int8 kernels: Zig's compiler where pip can bring it, else CC or cc, else nothing.
ZIG := $(abspath $(BIN))/python -I -m ziglang cc
INSTALL = CC="$$($(ZIG) --version >/dev/null 2>&1 && echo '$(ZIG)' || echo "$$CC")" \
	$(BIN)/pip install --quiet --disable-pip-version-check
SOURCES := pyproject.toml hatch_build.py $(wildcard engine/lipstream/inference/kernels/*.[ch])

.PHONY: run test test-fast test-browser test-gpu fuzz soak measure lint docs format bench install install-dev clean

run: install                ## start the product: http://127.0.0.1:8080
	$(BIN)/lipstream serve

test: lint test-fast test-browser   ## all tests

test-fast: install-dev      ## everything but the browser and slow tests: under a minute
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not browser and not slow and not gpu"

test-browser: install-dev   ## real Chromium, real WebRTC, real PortAudio; and the slow tests
	$(BIN)/python -m pytest -m browser
	$(BIN)/python -m pytest -m "slow and not browser"   # apart: Playwright keeps an event loop running

fuzz: install-dev           ## what strangers send, changed at random: FUZZ=10000 for longer, SEED=2 for others
	LIPSTREAM_FUZZ=$(or $(FUZZ),1000) LIPSTREAM_FUZZ_SEED=$(or $(SEED),1) $(BIN)/python -m pytest -n auto -k fuzzed tests

soak: install               ## a server and its viewers for a while: MINUTES=20 VIEWERS=1; drift, loss, growth
	$(BIN)/python -m lipstream_bench.soak --minutes $(or $(MINUTES),20) --viewers $(or $(VIEWERS),1)

measure: install-dev        ## the promises about speed and step, in a real browser; on a quiet machine
	LIPSTREAM_MEASURE=1 $(BIN)/python -m pytest -rA tests/browser/test_lips_in_step.py

test-gpu: install-dev       ## what needs a CUDA device: parity, times, sessions; writes bench/results/gpu.json
	LIPSTREAM_GPU_RESULT=bench/results/gpu.json $(BIN)/python -m pytest -m gpu tests/gpu

lint: install-dev           ## ruff, mypy, pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: install-dev           ## draw the picture of the architecture from the code
	$(BIN)/python docs/draw_architecture.py

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install              ## measure this machine
	$(BIN)/lipstream bench stages
	$(BIN)/lipstream bench latency
	$(BIN)/lipstream bench sessions

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	-$(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: ziglang==0.17.1
	$(INSTALL) -e '.[cpu,mic]'
	touch $@

$(VENV)/.installed-dev: $(SOURCES) $(VENV)/.installed
	$(INSTALL) 'torch==2.13.0' -e '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
