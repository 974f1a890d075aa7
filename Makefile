# Every target installs what it needs into .venv on its first run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RAY := $(VENV)-ray
GPU_PYTHON = $(or $(wildcard $(BIN)/python),$(PYTHON))
MAKEFLAGS += --no-print-directory
# What compiles the int8 kernels: Zig's compiler where pip can bring it, else CC or cc, else nothing.
ZIG := $(abspath $(BIN))/python -I -m ziglang cc
INSTALL = CC="$$($(ZIG) --version >/dev/null 2>&1 && echo '$(ZIG)' || echo "$$CC")" \
	$(BIN)/pip install --quiet --disable-pip-version-check
SOURCES := pyproject.toml hatch_build.py $(wildcard engine/lipstream/inference/kernels/*.[ch] engine/lipstream/mouth/*.c)

.PHONY: run test pipecat test-fast test-browser test-gpu test-ray fuzz soak measure lint lock docs format bench install install-dev clean

run: install                ## start the product: http://127.0.0.1:8080
	$(BIN)/lipstream serve

test: lint pipecat test-fast test-browser   ## all tests

PIPECAT := $(VENV)-pipecat
pipecat: $(PIPECAT)/.installed   ## the environment in which Pipecat's adaptor is tested: it pins another livekit

$(PIPECAT)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PIPECAT)
	$(PIPECAT)/bin/pip install --quiet --disable-pip-version-check \
		-e '.[pipecat]' 'pipecat-ai==1.14.0' onnx pytest pytest-timeout starlette uvicorn
	touch $@

test-fast: install-dev      ## everything but the browser and slow tests: about a minute
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not browser and not slow and not gpu" --durations 10 --durations-min 0.5

# Slow tests that go by the clock: one at a time, so that they have the machine to themselves.
LIVE := tests/server tests/clients tests/deploy tests/examples tests/engine/live
test-browser: install-dev   ## real Chromium, real WebRTC, real PortAudio; and the slow tests
	$(BIN)/python -m pytest -m browser --durations 10
	$(BIN)/python -m pytest -m "slow and not browser" --durations 10 $(LIVE)   # apart: Playwright keeps an event loop running
	$(BIN)/python -m pytest -n auto --dist loadfile -m "slow and not browser" --durations 10 $(LIVE:%=--ignore %)

fuzz: install-dev           ## what strangers send, changed at random: FUZZ=10000 for longer, SEED=2 for others
	LIPSTREAM_FUZZ=$(or $(FUZZ),1000) LIPSTREAM_FUZZ_SEED=$(or $(SEED),1) $(BIN)/python -m pytest -n auto -k fuzzed tests

soak: install               ## a server and its viewers for a while: MINUTES=20 VIEWERS=1; drift, loss, growth
	$(BIN)/python -m lipstream_bench.soak --minutes $(or $(MINUTES),20) --viewers $(or $(VIEWERS),1)

MEASURED := tests/browser/test_first_picture.py tests/browser/test_lips_in_step.py tests/browser/test_stage.py tests/server/stage/test_at_the_receiver.py
measure: install-dev        ## the promises about speed and step, in real browsers; on a quiet machine
	LIPSTREAM_MEASURE=1 $(BIN)/python -m pytest -rA $(MEASURED)

test-gpu:                   ## on a machine with a GPU and torch, without a network: parity, times, sessions; writes bench/results/gpu.json
	$(GPU_PYTHON) tools/measure_gpu.py --out bench/results
	if $(GPU_PYTHON) -c "import pytest, onnx, onnxruntime" 2>/dev/null; then \
		LIPSTREAM_GPU_RESULT=bench/results/gpu-tests.json $(GPU_PYTHON) -m pytest -m gpu tests/gpu; fi

test-ray: $(RAY)/.installed  ## lipstream on Ray Serve, in an environment of its own
	$(RAY)/bin/python -m pytest -rA tests/deploy/test_ray.py

lint: install-dev           ## ruff, mypy, pyright, and known holes in what is depended on
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python tools/audit_dependencies.py

lock: install-dev           ## what development installs, with hashes: UPGRADE=1 for newer versions
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 $(if $(UPGRADE),--upgrade) \
		--generate-hashes --no-annotate --no-emit-package torch --custom-compile-command 'make lock' \
		--quiet --output-file requirements-dev.lock

docs: install-dev           ## draw the picture of the architecture from the code; the site into build/site
	$(BIN)/python docs/draw_architecture.py
	$(BIN)/mkdocs build --quiet --strict

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install              ## measure this machine
	$(BIN)/lipstream bench stages
	$(BIN)/lipstream bench latency
	$(BIN)/lipstream bench sessions

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	-$(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: ziglang==0.17.1
	touch $@

$(VENV)/.installed: $(SOURCES) | $(VENV)/.made
	$(INSTALL) -e '.[all]'
	touch $@

$(VENV)/.installed-dev: $(SOURCES) requirements-dev.lock | $(VENV)/.made
	$(INSTALL) --require-hashes --no-deps -r requirements-dev.lock
	$(INSTALL) 'torch==2.13.0' -e '.[dev]'
	touch $@ $(VENV)/.installed

$(RAY)/.installed: $(SOURCES)
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/pip install --quiet --disable-pip-version-check 'ray[serve]==2.60.*' onnx pytest \
		pytest-timeout playwright -e '.[cpu,serve]'
	touch $@

clean:
	rm -rf $(VENV) $(PIPECAT) $(RAY) build dist .pytest_cache .mypy_cache .ruff_cache
