# Everything that a fresh machine with Python 3.11 or 3.12, a C++ compiler and make needs. Each target can be
# run again; what is up to date is not redone.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
TOOLS := $(if $(RECSERVE_TOOLS),$(RECSERVE_TOOLS),.tools)
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys, ensurepip, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1 \
	&& echo $$p && break; done)
HOROVOD_BUILD := HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
	HOROVOD_WITHOUT_MPI=1 HOROVOD_WITH_GLOO=1 HOROVOD_CPU_OPERATIONS=GLOO
PIP := $(BIN)/python -m pip --disable-pip-version-check
JOBS ?= 2

.PHONY: help env kernels horovod tools backend demo test coverage test-faults test-containers lint unit bench-training bench-accuracy \
	bench-serving clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

env: $(VENV)/.installed ## Python environment from requirements.lock

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "recserve needs Python 3.11 or 3.12 with venv; none found. Set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "== environment in $(VENV) with $$($(PYTHON) --version)"
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python requirements.lock pyproject.toml
	@echo "== installing packages (TensorFlow is large: minutes the first time)"
	$(PIP) install -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# Compiled against the installed TensorFlow, which takes minutes once; pip keeps the wheel in its cache.
horovod: $(VENV)/.horovod ## Horovod with Gloo, for training in several processes

$(VENV)/.horovod: $(VENV)/.installed
	@echo "== Horovod (compiles for minutes the first time)"
	PATH="$(BIN):$$PATH" $(HOROVOD_BUILD) $(PIP) install --no-build-isolation --no-deps horovod==0.28.1 \
		|| { echo "Horovod did not build. It needs the Python headers ($$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_paths()["include"])')) and g++; all but multi-process training works without it." >&2; exit 1; }
	@touch $@

kernels: env ## the CPU kernels of training and serving; all works without them, slower
	@$(BIN)/python -m training.native.build || echo "== going on without the kernels"

tools: env ## tritonserver and perf_analyzer, from the package index
	@RECSERVE_TOOLS="$(TOOLS)" $(BIN)/python -m serving.tools

backend: env ## the native TensorFlow backend for Triton
	@RECSERVE_TOOLS="$(TOOLS)" $(BIN)/python -m serving.backend_build

demo: env kernels tools backend ## preprocess, train, export, serve, score and measure SIM on generated data
	@PATH="$(BIN):$$PATH" bash deploy/demo.sh

lint: env ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: env kernels ## the fast tests, JOBS=2 at once
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow and not server and not data" tests

# `unit` is the first half; servers, processes and clocks come one after another.
test: lint kernels horovod tools backend unit ## everything: lint and all tests
	$(BIN)/python -m pytest -m "slow or server or data" --durations=15 tests

coverage: kernels horovod tools backend ## the tests again, and the lines that they reach: nearly twice the time
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest --cov --cov-report= tests
	$(BIN)/python -m coverage report

test-faults: env kernels tools backend ## publishes under load, overload, kills, bad versions, full disks; PUBLISHES= ROLLBACKS= KILLS= RATE= TRIALS=
	@RECSERVE_TOOLS="$(TOOLS)" $(BIN)/python -m tests.faults $(call flag,PUBLISHES,publishes) \
		$(call flag,ROLLBACKS,rollbacks) $(call flag,KILLS,kills) $(call flag,RATE,rate) $(call flag,TRIALS,trials)

test-containers: env tools ## build and start the images with podman, on stand-ins for their bases; as root it installs podman
	@$(BIN)/python -m tests.containers.prepare
	@rm -f build/containers/figures.json
	CI_CONTAINERS=1 $(BIN)/python -m pytest -m containers --durations=10 tests/containers
	@cat build/containers/figures.json 2>/dev/null || echo '{"containers": "skipped"}'

# flag(NAME,option): the option with the value of the variable NAME, where it was given
flag = $(if $(strip $($(1))),--$(2) "$($(1))")

bench-training: env kernels ## speed, FLOPs, memory, conversion; DATA=raw folder SHORTEST= STEPS= BATCH= ROUNDS= MODELS=
	@$(BIN)/python -m tests.benchmarks.bench_training $(call flag,DATA,data) $(call flag,SHORTEST,shortest) \
		$(call flag,STEPS,steps) $(call flag,BATCH,batch) $(call flag,ROUNDS,rounds) $(call flag,MODELS,models)

bench-accuracy: env kernels ## AUC over seeds; DATA= SEEDS= EPOCHS= MODELS= SHORTEST= PREFIXES= AMP=1 TRAIN="--options"
	@$(BIN)/python -m tests.benchmarks.bench_accuracy $(call flag,DATA,data) $(call flag,SEEDS,seeds) \
		$(call flag,EPOCHS,epochs) $(call flag,MODELS,models) $(call flag,SHORTEST,shortest) \
		$(call flag,PREFIXES,prefixes) $(call flag,BATCH,batch) $(if $(filter 1 yes true,$(AMP)),--amp) \
		$(call flag,TRAIN,train_options) $(call flag,PREPROCESS,preprocess_options)

bench-serving: env kernels tools backend ## our backend, the Python backend, no server; BATCHES= CONCURRENCY= REQUESTS= ROUNDS= CANDIDATES= ONNX=1
	@$(BIN)/python -m tests.benchmarks.bench_serving $(call flag,BATCHES,batches) $(call flag,CONCURRENCY,concurrency) \
		$(call flag,REQUESTS,requests) $(call flag,ROUNDS,rounds) $(call flag,CANDIDATES,candidates) \
		$(if $(filter 1 yes true,$(ONNX)),--onnx)

clean: ## remove what these targets made
	rm -rf $(VENV) .tools build .demo .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache
	rm -f training/native/libkernels.*
