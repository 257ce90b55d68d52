# make demo | test | lint | fuzz | study | eval | pretrained | setup: each makes .venv, installs what it needs, and does its job. A second run starts at once.
#
# PYTHON=…    the interpreter to build .venv with (3.11 to 3.14)
# PIP_ARGS=…  further arguments of pip install, such as the index of PyTorch's CPU-only wheels (README.md, "Quick start")
# ARGS=…      further arguments of demo, study, eval, test and fuzz

SHELL := /bin/bash
VENV := .venv
RUN := $(VENV)/bin/python
# --use-pep517: some packages come as source alone, and pip warns of the older way to build them.
INSTALL = $(RUN) -m pip install --disable-pip-version-check --use-pep517 $(PIP_ARGS)
# $(call extras,NAMES): install the dependencies of these extras at the locked versions.
extras = $(RUN) tools/dependencies.py list $(1) > $(VENV)/requirements.txt && $(INSTALL) -c constraints.txt -r $(VENV)/requirements.txt
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.14 python; do \
    if "$$name" -c '$(SUPPORTED)' 2>/dev/null; then echo "$$name"; break; fi; done)

.PHONY: demo study eval test lint fuzz pretrained setup system clean

demo: $(VENV)/.runtime
	$(RUN) app.py $(ARGS)

study: $(VENV)/.study
	$(RUN) -m human_study example --open $(ARGS)

# The synth suite on the embedded models, offline: a table and plots in outputs/evaluation.
eval: $(VENV)/.evaluation
	$(RUN) -m evaluation run synth --system mini --system mini+shuffled --system mini-melody --system mini-melody+melody \
	    --bounds --batch 20 --out outputs/evaluation $(ARGS)

# Two to four worker processes, each with a model or two in memory; `make test ARGS="-n 0"` takes one.
test: $(VENV)/.development system
	$(RUN) -m pytest -n logical --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(VENV)/.development
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# The embedded models from nothing: compose, train, measure, write cards. Some hours on four cores. A rehearsal of all of it
# takes minutes: make pretrained PIECES="40 40 24 24 24" CHANGES="optimisation.steps=2" QUALITY="--count 2 --tagger 60"
pretrained: PIECES ?= 1600 3000 800 2000 2200
pretrained: export MALLOC_MMAP_THRESHOLD_ := 17179869184
pretrained: export MALLOC_TRIM_THRESHOLD_ := 17179869184
pretrained: export THP_MEM_ALLOC_ENABLE := 1
pretrained: $(VENV)/.development system
	$(RUN) -m musicgen.training.corpus --output corpus/a --seed 1000 --count $(word 1,$(PIECES)) --duration 15 30 --captions 16 --workers 2
	$(RUN) -m musicgen.training.corpus --output corpus/b --seed 100000 --count $(word 2,$(PIECES)) --duration 20 30 --captions 16 --workers 2
	$(RUN) -m musicgen.training.corpus --output corpus-stereo --seed 200000 --count $(word 3,$(PIECES)) --duration 20 30 --captions 16 --workers 2 --sequenced
	$(RUN) -m musicgen.training.corpus --output corpus-sequenced/a --seed 200000 --count $(word 4,$(PIECES)) --duration 20 30 --captions 16 --workers 2 --sequenced
	$(RUN) -m musicgen.training.corpus --output corpus-sequenced/b --seed 202000 --count $(word 5,$(PIECES)) --duration 20 30 --captions 16 --workers 2 --sequenced
	$(RUN) -m musicgen train tokenizer/mini-cpu $(CHANGES) --output runs/mini-tokenizer
	$(RUN) -m musicgen train tokenizer/mini-decoder-cpu $(CHANGES) --output runs/mini-tokenizer-decoder
	for part in mini-a mini-b mini-c mini-d mini-e mini mini-melody-a mini-melody mini-stereo-melody; do \
	    $(RUN) -m musicgen train $$part $(CHANGES) || exit 1; done
	for name in mini mini-melody mini-stereo-melody; do \
	    $(RUN) -m musicgen.training.quality runs/$$name/model --workers 2 --json runs/$$name/quality.json $(QUALITY) && \
	    $(RUN) -m musicgen.training.model_card runs/$$name runs/pretrained/$$name --quality runs/$$name/quality.json \
	        --text musicgen/training/recipes/$$name.md || exit 1; done

setup: $(VENV)/.development

clean:
	rm -rf $(VENV)

# Coverage-guided fuzzing of what reads strangers' files: SECONDS for each target; ARGS="midi npy" for some of them.
fuzz: SECONDS = 60
fuzz: $(VENV)/.development
	$(call extras,fuzz)
	$(RUN) tools/fuzz.py --seconds $(SECONDS) $(ARGS)

# Packages of Debian and Ubuntu that some tests need; a test whose package is missing is skipped and says so.
system:
	@tools/system-packages.sh

$(VENV)/.runtime: requirements.txt constraints.txt | $(VENV)/bin/pip
	$(INSTALL) -c constraints.txt -r requirements.txt
	@touch $@

$(VENV)/.study: constraints.txt $(VENV)/.runtime
	$(call extras,study)
	@touch $@

$(VENV)/.evaluation: constraints.txt requirements-nodeps.txt $(VENV)/.runtime
	$(call extras,evaluation)
	$(INSTALL) --no-deps -r requirements-nodeps.txt
	@touch $@

$(VENV)/.development: constraints.txt requirements-nodeps.txt $(VENV)/.runtime
	$(call extras,dev)
	$(INSTALL) --no-deps -r requirements-nodeps.txt
	@touch $@

$(VENV)/bin/pip:
	@if [ -z "$(PYTHON)" ]; then \
	    echo "MusicGen needs Python 3.11, 3.12, 3.13 or 3.14, and found $$(python3 --version 2>&1 || echo none) here." >&2; \
	    echo "Name one of them: make $(MAKECMDGOALS) PYTHON=/path/to/python3.13" >&2; \
	    exit 1; fi
	@if ! "$(PYTHON)" -c '$(SUPPORTED)'; then \
	    echo "MusicGen needs Python 3.11, 3.12, 3.13 or 3.14: $(PYTHON) is $$("$(PYTHON)" --version 2>&1)." >&2; exit 1; fi
	@if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$(PYTHON) has no venv module (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; fi
	@echo "Setting up $(VENV) with $$("$(PYTHON)" --version): a few minutes, about 6 GB with CUDA's libraries."
	@rm -rf $(VENV)
	@"$(PYTHON)" -m venv $(VENV)
