# Every target works in a fresh clone: the first one called makes .venv, and it is made again only when its recipe changes.
.DEFAULT_GOAL := help
.PHONY: help check test test-isa campaign mutation bench tour test-browser site print demo lab notebooks dist lock clean

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
# Each candidate is run, not only looked up: version managers leave names on the path that start nothing.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell $(p) -c '$(FITS)' >/dev/null 2>&1 && echo $(p))))
PROFILE ?=
ARGS ?=
PIP_ARGS ?=
# The versions to install: those that were tested; nothing: the newest; build/oldest.txt: the oldest allowed.
CONSTRAINTS ?= constraints.txt
# Linux without an NVIDIA driver gets the CPU build of torch, a tenth of the download. CPU= takes the ordinary one.
CPU ?= $(shell [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && echo yes)
CPU_INDEX := https://download.pytorch.org/whl/cpu
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
STAMP := .venv/ssltut.stamp
# Processes that share the tests: one a core, at most four (each keeps torch and a kernel in memory).
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); echo $$((n < 4 ? n : 4)))
SPREAD = $(if $(filter-out 0 1,$(WORKERS)),-n $(WORKERS))
# With COVERAGE=1 the tests count the lines and branches of ssltut/ that they run: see pyproject.toml.
COVER = $(if $(COVERAGE),--cov --cov-report=term:skip-covered --cov-report=json:build/coverage.json)
# Tests that train little and start no kernel: what 'check' runs beside the linters.
FAST := tests/project/test_architecture.py tests/project/test_environment.py \
  tests/project/test_github.py tests/project/test_release.py tests/data tests/io \
  tests/nets tests/test_files.py tests/test_metrics.py tests/evaluation/test_draws.py \
  tests/evaluation/test_statistics.py tests/methods/test_golden.py tests/methods/test_losses.py tests/methods/test_uncertainty.py \
  tests/methods/test_registry.py
NONE := none of python3.11, python3.12, python3.13 and python3

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Options: PYTHON=python3.12  PROFILE=smoke|class|full (tour, site, print, test-browser)"
	@echo "         ARGS='-k maps' WORKERS=1 (check, test) COVERAGE=1 (test)  PIP_ARGS='--extra-index-url URL'"

tour: $(STAMP)  ## run the notebooks at the size of a class: pages in build/tour/index.html
	@$(BIN)/python notebooks/tour.py $(addprefix --profile ,$(PROFILE))

check: $(STAMP)  ## format, lint, types, architecture and fast tests: about a minute
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q $(SPREAD) $(FAST) $(ARGS)

test: $(STAMP)  ## run all tests, the notebooks among them, on all cores
	@$(BIN)/python -m pytest $(SPREAD) $(COVER) $(ARGS)
	@$(if $(COVERAGE),$(BIN)/python tests/helpers/floors.py)

test-isa: $(STAMP)  ## tests as simpler processors compute, with one thread and with two
	@for isa in "default SSE41" "avx2 AVX2"; do for threads in 1 2; do set -- $$isa; \
	  echo "ATEN_CPU_CAPABILITY=$$1 ONEDNN_MAX_CPU_ISA=$$2 OMP_NUM_THREADS=$$threads"; \
	  ATEN_CPU_CAPABILITY=$$1 ONEDNN_MAX_CPU_ISA=$$2 OMP_NUM_THREADS=$$threads \
	    $(BIN)/python -m pytest -q $(SPREAD) $(FAST) tests/methods tests/training $(ARGS) || exit 1; \
	done; done

campaign: $(STAMP)  ## break files, archives and commands at length; 200 examples of each property: an hour
	@SSLTUT_EXAMPLES=200 $(BIN)/python -m pytest -q tests/properties
	@$(BIN)/python tests/campaigns --write $(ARGS)

mutation: $(STAMP)  ## make single faults in the methods and see whether the tests notice: an hour
	@$(BIN)/python tests/mutation $(ARGS)

bench: $(STAMP)  ## speed beside MONAI and others, in turns: prints the table of docs/speed.md (half an hour)
	@$(BIN)/python benchmarks/bench.py $(ARGS)

test-browser: $(STAMP)  ## drive the notebooks in Chromium, without a network; screenshots in build/browser
	@SSLTUT_BROWSER=required SSLTUT_BROWSER_PROFILE=$(or $(PROFILE),smoke) $(BIN)/python -m pytest -ra tests/notebooks/test_browser.py $(ARGS)

site: $(STAMP)  ## build the site of notebooks, pictures, words and functions: build/site/html/index.html
	@$(BIN)/python docs/website.py $(addprefix --profile ,$(PROFILE))

print: $(STAMP)  ## slides, handouts and the cheat sheet for a lesson without laptops, in build/print
	@$(BIN)/python docs/handout.py $(addprefix --profile ,$(PROFILE)) $(ARGS)

demo: $(STAMP)  ## a femur to turn and to ask, in JupyterLab: nothing is trained, no network is needed
	@$(BIN)/python notebooks/open_lab.py --demo $(ARGS)

lab: $(STAMP)  ## open your own copies of the notebooks, in my/, in JupyterLab; answers stay as they are
	@$(BIN)/python notebooks/open_lab.py $(ARGS)

notebooks: $(STAMP)  ## write the notebooks again from notebooks/masters (yours in my/ stay as they are)
	@$(BIN)/python notebooks/tool.py build

dist: $(STAMP)  ## the wheel and the sdist in dist/; with TAG=v1.2.3 only where everything says 1.2.3
	@SSLTUT_TAG="$(TAG)" $(BIN)/python -m pytest -q tests/project/test_release.py
	@$(BIN)/python -m build --outdir dist

lock: $(STAMP)  ## pin what a course needs, with hashes: requirements-lock.txt
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python data_scripts/lock.py

clean:  ## remove what was built (not .venv, not your checkpoints elsewhere)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .coverage*
	find ssltut tests notebooks -name __pycache__ -prune -exec rm -rf {} +

build/oldest.txt: pyproject.toml
	@mkdir -p build && "$(PYTHON)" .ci/oldest.py > $@

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" && "$(PYTHON)" -c '$(FITS)' 2>/dev/null || \
	  { echo "ssltut needs Python 3.11, 3.12 or 3.13: $(if $(PYTHON),$(PYTHON) does not fit,$(NONE) fits)." \
	         "Next: install one, then make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv .venv
	@echo "Installing ssltut and its libraries into .venv: about 2 minutes after the download ..."
	@$(if $(CPU),$(BIN)/pip install -qq --disable-pip-version-check --retries 0 --timeout 10 --no-deps \
	  --index-url $(CPU_INDEX) $(addprefix -c ,$(CONSTRAINTS)) torch 2>/dev/null || echo "The CPU build of torch cannot be had: taking the ordinary one")
	@$(BIN)/pip install -qq --disable-pip-version-check $(PIP_ARGS) $(addprefix -c ,$(CONSTRAINTS)) -e ".[all]"
	@touch $@
