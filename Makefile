# Targets are listed by `make`. Everything runs in .venv, which `make setup` builds.

PYTHON ?= python3
# cpu or gpu; empty: what .venv was built for, at first cpu.
DEVICE ?=
# A version that a lock pins; empty: what .venv has, at first that of the lock for the device.
TENSORFLOW ?=
# A folder that `make wheelhouse` has made: all is taken from there. PIECES=50M cuts it into pieces.
WHEELHOUSE ?=
PIECES ?=
# Of `make scaling`: 6 give 95 % intervals; more are added to those that are there.
REPEATS ?= 3

export PATH := $(CURDIR)/.venv/bin:$(PATH)
ifeq ($(shell id -u),0)
# Open MPI refuses root, the usual user inside containers, unless told twice.
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
endif

HAS_PYTHON = command -v $(PYTHON) >/dev/null || { echo "setup: no $(PYTHON) found: install Python 3.11," \
    "3.12 or 3.13, or name one: make setup PYTHON=python3.11" >&2; exit 1; }
SETUP = $(PYTHON) scripts/setup/setup.py $(if $(DEVICE),--device $(DEVICE)) \
    $(if $(TENSORFLOW),--tensorflow $(TENSORFLOW))

.DEFAULT_GOAL := help
.PHONY: help setup wheelhouse demo test lint format bench scaling lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## build .venv with TensorFlow, Open MPI and Horovod (DEVICE=gpu, PYTHON=python3.12)
	@$(HAS_PYTHON)
	@$(SETUP) $(if $(WHEELHOUSE),--wheelhouse '$(WHEELHOUSE)')

wheelhouse:  ## gather in WHEELHOUSE=folder all that setup fetches, for machines without network
	@$(HAS_PYTHON)
	@$(SETUP) --make-wheelhouse '$(or $(WHEELHOUSE),wheelhouse)' $(if $(PIECES),--pieces $(PIECES))

demo: setup  ## make scenes, train on two ranks, predict and evaluate: the whole road in minutes
	@echo "demo: synthetic scenes -> patches -> training on two ranks -> masks -> report"
	@.venv/bin/python scripts/demo.py

test: setup  ## run all tests, the slow ones and those that start ranks too
	@echo "test: pytest, with the tests that train or start ranks"
	@.venv/bin/python scripts/run_tests.py

lint: setup  ## check format, lint rules and types
	@echo "lint: ruff format, ruff check, mypy"
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy

format: setup  ## rewrite the sources in the house format
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

bench: setup  ## measure this machine; results go to benchmarks/
	@echo "bench: measuring, which takes minutes and wants an idle machine"
	@.venv/bin/python -m benchmarks

scaling: setup  ## study 1 and 2 ranks on this machine; report in runs/scaling/report (REPEATS=6)
	@echo "scaling: 1 and 2 ranks, strong and weak, $(REPEATS) repeats: about $$((3 + 3 * $(REPEATS)))" \
	    "minutes, wants an idle machine; broken off, it goes on"
	@.venv/bin/python -m cloudmask synth --out runs/scaling/scenes --scenes 7
	@.venv/bin/python -m cloudmask prepare runs/scaling/scenes --out runs/scaling/patches \
	    --split train=0.86,valid=0.14
	@.venv/bin/python -m scaling run --out runs/scaling/study --ranks 1,2 --repeats $(REPEATS) --copies \
	    --batch-per-rank 4 --global-batch 4 -- \
	    python train_hvd.py --data runs/scaling/patches --max-steps 14 --no-tensorboard
	@.venv/bin/python -m scaling fit runs/scaling/study
	@.venv/bin/python -m scaling report runs/scaling/study --out runs/scaling/report

lock:  ## pin the newest versions that pyproject.toml allows
	@$(PYTHON) scripts/setup/lock.py

clean:  ## remove .venv and what the tools left; the cache of built wheels stays
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: image
image:  ## build the container image with docker, podman or buildah (DEVICE=gpu, IMAGE_FLAGS=...)
	@$(PYTHON) scripts/image.py $(if $(DEVICE),--device $(DEVICE)) -- $(IMAGE_FLAGS)

.PHONY: demo-seaice
demo-seaice: setup  ## label ice scenes on every engine, train on two ranks, classify, report
	@echo "demo-seaice: synthetic ice -> labels on all engines -> patches -> training -> page"
	@.venv/bin/python scripts/demo_seaice.py
