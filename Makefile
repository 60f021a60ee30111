# make demo | test | lab | export | notebooks | browser-test | train | hooks. All of them set themselves up in .venv first.
# Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
WHICH ?= v1 v2
MIN := $(shell sed -n 's/^min_python *= *//p' settings.ini)
PY := .venv/bin/python
FACTORY := $(PY) -m visionllm_edu.factory
KEY := $(shell cat settings.ini setup.py constraints.txt | cksum | cut -d' ' -f1)
READY := .venv/ready-$(KEY)

.DEFAULT_GOAL := help
.PHONY: help demo test lab export notebooks browser-test train hooks

help:
	@echo "make demo       ask the trained VisionLLM about new scenes, then look at out/demo/index.html (1 minute)"
	@echo "make test       check everything: notebooks, export, tests, README (10 minutes)"
	@echo "make lab        open the course in JupyterLab"
	@echo "make export     regenerate library, tests and README from the notebooks (seconds)"
	@echo "make notebooks  run every lesson in full and keep its outputs; one: make notebooks ONLY=10_geometry"
	@echo "make browser-test  open both playgrounds in JupyterLab in headless Chromium, draw, ask, keep screenshots (2 minutes)"
	@echo "make train      train VisionLLM v1 and v2 on Toybox in all stages (180 and 240 minutes); one: make train WHICH=v1"
	@echo "make hooks      clean and export before each git commit"

# One set-up per content of settings.ini, setup.py and constraints.txt; later calls start at once.
$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(MIN)".split("."))))' 2>/dev/null || \
	  { echo "This needs Python $(MIN) or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv, once: 2 to 5 minutes, 2 GB of disk (7 GB where pip takes a CUDA build of torch)."
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || \
	  { echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt setuptools wheel
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@rm -f .venv/ready-* && touch $@

demo: $(READY)
	@echo "Demo: VisionLLM v1 and v2 are asked about scenes they have never seen. About a minute on 2 CPU cores."
	@$(PY) -m visionllm_edu demo --out out/demo

test: $(READY)
	@$(FACTORY) test

lab: $(READY)
	@echo "JupyterLab opens the course in your browser; Ctrl+C here ends it."
	@cd nbs && ../.venv/bin/jupyter lab index.ipynb

export: $(READY)
	@$(FACTORY) export

notebooks: $(READY)
	@$(FACTORY) notebooks $(ONLY)

browser-test: $(READY)
	@$(PY) -m visionllm_edu.browser --out out/browser

train: $(READY)
	@for v in $(WHICH); do $(PY) -m visionllm_edu train $$v --stages --data toybox:train --val toybox:val:8 --out out/$$v-toybox || exit 1; done

hooks: $(READY)
	@git config core.hooksPath .githooks && echo "git now cleans and exports before each commit"
