# One way to do each thing. `make help` lists them.
PYTHON ?= python3.11
EXP ?= resnet_bert
DATA ?=
DATA_DIR ?=
RUN ?=
ARGS ?=
RECIPES ?= resnet_bert
SEEDS ?= 0
EPOCHS ?=
MINUTES ?=
JOBS ?= 1

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CONFIGS = --config experiments/$(EXP).yaml $(if $(DATA),--config experiments/data/$(DATA).yaml)
FOLDER = $(if $(DATA_DIR),--data.root=$(DATA_DIR))
NEWEST = $(shell ls -dt runs/$(EXP)/*/ 2>/dev/null | head -n 1)
FROM = $(patsubst %/,%,$(or $(RUN),$(NEWEST)))

.DEFAULT_GOAL := help
.PHONY: help setup train resume validate test eval evaluate report bench bench-eval bench-ptbxl bench-sim2real bench-towers bench-sim bench-signals fuzz gallery lint clean

help: ## List what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'
	@echo
	@echo "  EXP=resnet_bert            an experiment: experiments/*.yaml"
	@echo "  DATA=ptbxl DATA_DIR=DIR    real data, stacked on the experiment: experiments/data/*.yaml"
	@echo "  DATA=archive DATA_DIR=STORE    your own ECGs, as \`ecgclip prepare\` made them"
	@echo "  RUN=runs/EXP/TIME          a run, for resume, validate, eval, evaluate and report (the newest of EXP if left out)"
	@echo "  RECIPES='resnet_bert champion' SEEDS='0 1 2' EPOCHS=10 MINUTES=15 JOBS=1    for bench-ptbxl (EPOCHS, MINUTES: each recipe's own)"
	@echo "  ARGS='--model.loss siglip'   anything else, passed on"

setup: $(READY) ## Make the virtual environment (the others do it by themselves)

# Remade when the pins change. The stamp comes last: an installation that broke off is not taken for a whole one.
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found: install Python 3.11, or say which with PYTHON=..."; exit 2; }
	@echo "Setting up $(VENV) (once; a minute or two)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

train: $(READY) ## Train EXP and evaluate it
	@$(BIN)/python -m ecgclip fit $(CONFIGS) $(FOLDER) $(ARGS)

resume: $(READY) ## Go on with a RUN that was interrupted
	@$(BIN)/python -m ecgclip fit --ckpt_path $(FROM)/checkpoints/last.ckpt $(ARGS)

validate: $(READY) ## Evaluate the best checkpoint of a RUN on the validation split
	@$(BIN)/python -m ecgclip validate --ckpt_path $(FROM)/checkpoints/best.ckpt $(ARGS)

eval: $(READY) ## Evaluate the best checkpoint of a RUN on the test split
	@$(BIN)/python -m ecgclip test --ckpt_path $(FROM)/checkpoints/best.ckpt $(ARGS)

evaluate: $(READY) ## Judge a RUN by every protocol, and draw its page
	@$(BIN)/python -m ecgclip evaluate $(FROM) $(ARGS)
	@$(BIN)/python -m ecgclip report $(FROM)

report: $(READY) ## Draw the page of a RUN: RUN/report.html
	@$(BIN)/python -m ecgclip report $(FROM) $(ARGS)

test: $(READY) ## Run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup $(ARGS)

bench: $(READY) ## Measure training speed, against a straightforward implementation
	@$(BIN)/python -m ecgclip bench $(ARGS)

bench-ptbxl: $(READY) ## Train RECIPES by SEEDS on PTB-XL in DATA_DIR, and write docs/benchmarks.md
	@$(BIN)/python -m ecgclip benchmark --data_root=$(DATA_DIR) --recipes $(RECIPES) --seeds $(SEEDS) --jobs $(JOBS) \
		$(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

bench-sim2real: $(READY) ## Train on simulated ECGs alone and read PTB-XL in DATA_DIR with it
	@$(BIN)/python -m ecgclip bench-sim2real --data_root=$(DATA_DIR) $(ARGS)

bench-towers: $(READY) ## Measure size and speed of every ECG tower
	@$(BIN)/python -m ecgclip bench-towers $(ARGS)

bench-signals: $(READY) ## Measure reading and filters against neurokit2, and the quality flags on PTB-XL in DATA_DIR
	@$(BIN)/python -m ecgclip bench-signals $(if $(DATA_DIR),--data_root=$(DATA_DIR)) $(ARGS)

bench-eval: $(READY) ## Measure the evaluation of 100,000 records, against scikit-learn label by label
	@$(BIN)/python -m ecgclip bench-eval $(ARGS)

fuzz: $(READY) ## Read 10,000 damaged files of every format
	@OMP_NUM_THREADS=1 $(BIN)/python tests/signals/fuzz_readers.py $(ARGS)

gallery: $(READY) ## Draw a simulated ECG for every label, and a page to search them: gallery/index.html
	@$(BIN)/python -m ecgclip gallery $(ARGS)

bench-sim: $(READY) ## Measure the simulator: speed, validity of every label, realism against PTB-XL in DATA_DIR
	@$(BIN)/python -m ecgclip bench-sim $(if $(DATA_DIR),--data_root=$(DATA_DIR)) $(ARGS)

lint: $(READY) ## Check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean: ## Remove the virtual environment and the cache (never runs/)
	rm -rf $(VENV) cache .pytest_cache .mypy_cache .ruff_cache *.egg-info
