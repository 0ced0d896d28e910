# make demo    the main job: three ways to a robust classifier, a few minutes on a CPU
# make test    everything that has to pass: format, lint, types, documentation, tests
# make test-oldest    the tests again, with the lowest versions that pyproject.toml allows
# make docs    the documentation as a site: docs/_build/html/index.html
# make notebooks    examples/notebooks anew, from examples/pytorch_lightning
#
# All create a virtual environment in .venv the first time, test-oldest one in
# .venv-oldest; later nothing is installed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest

# The development environment pins torch, so that it is the same everywhere; the package
# itself asks for torch>=2.4 only. Make it empty to let pip choose: make TORCH= test
TORCH ?= torch==2.14.1 torchvision==0.29.1

# Every warning is an error, broken references included.
SPHINX := $(BIN)/sphinx-build --builder html --nitpicky --fail-on-warning --keep-going --quiet

.PHONY: demo test test-oldest docs notebooks format type-check install clean

demo: install
	$(BIN)/lightly-adv demo

test: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(SPHINX) docs docs/_build/html
	$(BIN)/python -m pytest -n 2

test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest -n 2

docs: install
	$(SPHINX) docs docs/_build/html

notebooks: install
	$(BIN)/python examples/notebooks/create_notebooks.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

type-check: install
	$(BIN)/mypy

install: $(VENV)/.installed

# torch comes first and alone: what asks for it afterwards finds it there.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(BIN)/python -m pip install --disable-pip-version-check $(TORCH))
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[all,dev]"
	touch $@

$(OLDEST)/.installed: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python tests/lowest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --disable-pip-version-check \
		--constraint $(OLDEST)/constraints.txt -e ".[all,test]"
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) .mypy_cache .pytest_cache .ruff_cache build dist
