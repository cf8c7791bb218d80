# GNU make 3.81 or newer (macOS has that). `make help` lists the targets.

PYTHONS = python3 python3.14 python3.13 python3.12 python3.11
VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
METADATA = pyproject.toml constraints.txt

# A stamp is older than the metadata when the environment has to be brought up to date.
MADE = $(VENV)/.made
PRODUCT = $(VENV)/.product
DEV = $(VENV)/.dev
DOCS = $(VENV)/.docs
PYSIDE = $(VENV)/pyside/.dev

ifeq ($(shell uname -s),Linux)
DISPLAYED = xvfb-run -a -s "-screen 0 1600x1000x24"
endif

# One worker a core; the tests of a file share what is made once for them.
WORKERS = -n auto --dist loadfile

# Without bytecode every import of torch would compile it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-napari test test-pyside lint docs pictures clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/make \1	\2/p' Makefile

demo: $(PRODUCT) ## make a synthetic subject, segment it, evaluate the result (into demo-output)
	$(BIN)/napari-pvs demo demo-output --overwrite

demo-napari: $(VENV)/.gui demo ## the same, then open it in napari
	$(BIN)/napari-pvs open demo-output

test: lint ## lint, then pytest on a virtual display; PYTEST_ARGS="-k grid" chooses tests
	.ci/system-packages
	$(BIN)/python -m pytest $(WORKERS) $(PYTEST_ARGS)

test-pyside: $(PYSIDE) ## the docks' tests under PySide6 instead of PyQt6; PYTEST_ARGS as above
	.ci/system-packages
	QT_API=pyside6 PYTEST_QT_API=pyside6 \
	    $(VENV)/pyside/bin/python -m pytest $(WORKERS) tests/widgets $(PYTEST_ARGS)

lint: $(DEV) ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(DOCS) ## build the documentation into site
	$(BIN)/mkdocs build --strict

pictures: $(DEV) ## the documentation's pictures of the plugin anew, from a real window
	.ci/system-packages
	$(DISPLAYED) $(BIN)/python benchmarks/screenshots.py --out docs/images

clean: ## remove the environment and everything that was made
	rm -rf $(VENV) demo-output site dist build .coverage .mypy_cache .pytest_cache .ruff_cache

$(MADE):
	@for python in $(PYTHONS); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "$$python -m venv $(VENV)"; \
	        $$python -m venv $(VENV) && touch $@; exit; \
	    fi; \
	done; \
	echo "napari-pvs needs Python 3.11 or newer, and none of $(PYTHONS) is; install one." >&2; exit 1

$(PRODUCT): $(METADATA) | $(MADE)
	$(PIP) -e .
	@touch $@

$(VENV)/.gui: $(METADATA) | $(MADE)
	$(PIP) -e '.[all]'
	@touch $@ $(PRODUCT)

$(DEV): $(METADATA) | $(MADE)
	$(PIP) -e '.[dev]'
	@touch $@ $(PRODUCT)

# without PyQt6, so that nothing can lean on it
$(PYSIDE): $(METADATA) | $(MADE)
	$(BIN)/python -m venv $(VENV)/pyside
	$(VENV)/pyside/bin/python -m pip install --disable-pip-version-check -c constraints.txt \
	    -e '.[dev]' 'PySide6-Essentials>=6.6,<6.12'
	$(VENV)/pyside/bin/python -m pip uninstall -q -y PyQt6 PyQt6-Qt6 PyQt6-sip
	@touch $@

$(DOCS): $(METADATA) | $(MADE)
	$(PIP) -e '.[docs]'
	@touch $@ $(PRODUCT)
