# headstart: every command a contributor needs. Each one sets up .venv if it is not there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCHMARKS := startup predicting growth memory large_table lora_memory frozen fine_tuning few_labels generation pooling tuning several_tasks sinusoid meta_text main_job adapt from_nothing demo

.PHONY: help install demo test check format bench newest clean

help:
	@echo "make install   set up .venv with everything"
	@echo "make demo      the main job on real reviews: films to products"
	@echo "make test      the whole test suite"
	@echo "make check     formatting, lint, types, layering, tests"
	@echo "make bench     the benchmarks, side by side with other tools"
	@echo "make newest    parity with the newest transformers and peft, in .venv-newest"

install: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "headstart needs Python 3.11 or newer; this is $$($(PYTHON) --version). Set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/headstart demo

test: install
	$(BIN)/python -m pytest

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layering.py tests/test_surface.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r benchmarks/requirements.txt
	for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done
	$(BIN)/python benchmarks/table.py

newest:
	$(PYTHON) -m venv --clear .venv-newest
	grep '^torch==' constraints.txt > .venv-newest/constraints.txt
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-newest/constraints.txt -e '.[test]'
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-newest/constraints.txt --upgrade transformers peft tokenizers huggingface-hub
	.venv-newest/bin/python -m pip list | grep -E '^(transformers|peft|tokenizers|torch) '
	.venv-newest/bin/python -m pytest tests/models tests/generation tests/export tests/data

clean:
	rm -rf $(VENV) .venv-newest runs .pytest_cache .mypy_cache .ruff_cache
