# Each target makes the virtual environment and installs what it needs, so that a fresh clone needs only git, make
# and Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ARGS ?=

.PHONY: help train test check mutants parity bench bench-tokenizer gpu-check clean

help:
	@echo "make train            train a small GPT on the Python standard library's sources, and show what it learned"
	@echo "make test             run the tests on all cores; with many draws: make test ARGS=--hypothesis-profile=ci"
	@echo "make check            lint, formatting and types"
	@echo "make mutants          plant gradient bugs one by one and see that the tests notice each"
	@echo "make parity           compare with PyTorch, tiktoken, tokenizers and rustbpe, which it installs into .venv"
	@echo "make bench            time training and decoding beside PyTorch and transformers (both optional)"
	@echo "make bench-tokenizer  time the tokenizer beside tiktoken, tokenizers and rustbpe, which it installs"
	@echo "make gpu-check        check every operation on this machine's GPU, with CuPy"
	@echo "ARGS='...' is handed to the program: make train ARGS='--steps 500'"

train: .venv/plots
	$(BIN)/minillm train --overwrite $(ARGS)

test: .venv/test
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mutants: .venv/test
	$(BIN)/minillm check --mutants $(ARGS)

parity: .venv/torch .venv/peers
	$(BIN)/python -m pytest -q tests/parity tests/minillm/optim tests/minillm/tokenizer $(ARGS)

bench: .venv/test
	$(BIN)/python -m benchmarks $(ARGS)

bench-tokenizer: .venv/peers
	$(BIN)/python -m benchmarks.tokenizer $(ARGS)

gpu-check: .venv/test .venv/gpu
	$(BIN)/python -m benchmarks.gpu_check $(ARGS)

clean:
	rm -rf .venv build *.egg-info

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "minillm needs Python 3.11 or newer and $(PYTHON) is older: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/plots .venv/test .venv/dev .venv/gpu: .venv/python pyproject.toml
	$(PIP) --editable '.[$(notdir $@)]'
	@touch $@

.venv/torch: .venv/test
	$(PIP) torch==2.13.0
	@touch $@

.venv/browser: .venv/test
	$(PIP) playwright==1.65.2
	@touch $@

.venv/peers: .venv/test
	$(PIP) tiktoken==0.14.0 tokenizers==0.23.3 rustbpe==0.1.0
	@touch $@
