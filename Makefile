# Every target works in a fresh clone: the first one called makes .venv, and it is made again only when its recipe changes.
.DEFAULT_GOAL := help
.PHONY: help tour test test-browser site lab notebooks clean

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
# Each candidate is run, not only looked up: version managers leave names on the path that start nothing.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell $(p) -c '$(FITS)' >/dev/null 2>&1 && echo $(p))))
PROFILE ?=
ARGS ?=
PIP_ARGS ?=
BIN := .venv/bin
STAMP := .venv/ssltut.stamp
NONE := none of python3.11, python3.12 and python3

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Options: PYTHON=python3.12  PROFILE=smoke|class|full (tour, site, test-browser)  ARGS='-k maps' (test)  PIP_ARGS='--extra-index-url URL'"

tour: $(STAMP)  ## run the notebooks and collect them as pages in build/tour/index.html
	@$(BIN)/python notebooks/tour.py $(addprefix --profile ,$(PROFILE))

test: $(STAMP)  ## run all tests, the notebooks among them
	@$(BIN)/python -m pytest $(ARGS)

test-browser: $(STAMP)  ## drive the notebooks in Chromium, without a network; screenshots in build/browser
	@SSLTUT_BROWSER=required SSLTUT_BROWSER_PROFILE=$(or $(PROFILE),smoke) $(BIN)/python -m pytest -ra tests/notebooks/test_browser.py $(ARGS)

site: $(STAMP)  ## build the site of notebooks, pictures, words and functions: build/site/html/index.html
	@$(BIN)/python docs/website.py $(addprefix --profile ,$(PROFILE))

lab: $(STAMP)  ## open the notebooks in JupyterLab
	@$(BIN)/python -m jupyter lab --notebook-dir=notebooks

notebooks: $(STAMP)  ## write the student and solution copies again from notebooks/masters (over your answers in them)
	@$(BIN)/python notebooks/tool.py build

clean:  ## remove what was built (not .venv, not your checkpoints elsewhere)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find ssltut tests notebooks -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && "$(PYTHON)" -c '$(FITS)' 2>/dev/null || \
	  { echo "ssltut needs Python 3.11 or 3.12: $(if $(PYTHON),$(PYTHON) does not fit,$(NONE) fits)." \
	         "Next: install one, then make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv .venv
	@echo "Installing ssltut and its libraries into .venv: about 2 minutes after the download ..."
	@$(BIN)/pip install -qq --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[all]"
	@touch $@
