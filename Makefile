# make demo   a real T1w head -> its synthetic T2w volume, picture and scores in out/demo
# make test   all tests, lint and types; needs nothing but Python 3.11 or newer
#
# Both make their own environment in .venv and install what they need into it: the demo ONNX Runtime,
# the tests PyTorch besides.

PYTHON ?= python3
VENV := .venv
IN_VENV := . $(VENV)/bin/activate &&
INSTALL := $(IN_VENV) python -m pip install --quiet --disable-pip-version-check -c Testing/constraints.txt

.PHONY: demo test test-slow lint clean

demo: $(VENV)/demo.done
	$(IN_VENV) mambasynth demo

test: $(VENV)/test.done lint
	$(IN_VENV) python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/test.done
	$(IN_VENV) python -m pytest -m slow

lint: $(VENV)/test.done
	$(IN_VENV) ruff check . && ruff format --check . && mypy

$(VENV)/demo.done: pyproject.toml Testing/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'MambaSynth needs Python 3.11 or newer; name one with make PYTHON=python3.12'; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo 'Python lacks the venv module; on Debian and Ubuntu: apt install python3-venv'; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[onnx,report]'
	touch $@

$(VENV)/test.done: $(VENV)/demo.done
	$(INSTALL) -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) out .pytest_cache .ruff_cache .mypy_cache
