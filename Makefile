# Everything from a bare Python >= 3.10: `make train`, `make test`. All is installed in .venv, below
# this file; empty files in .venv say which steps are done, so that nothing is done twice.

PYTHON ?= python3
# Options of train/run.py, for example ARGS="--config coco64".
ARGS ?=
# Where torch comes from, where that is not pip's usual index: on Linux that one has CUDA builds of
# several GB, and TORCH_INDEX=https://download.pytorch.org/whl/cpu the small build for the CPU.
TORCH_INDEX ?=

VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install -q --disable-pip-version-check -c constraints.txt
SCATTER_LOG := $(VENV)/torch-scatter.log

.PHONY: help train test lint scatter clean
.NOTPARALLEL:

help:
	@echo "make train     install everything needed, then train on the drawn landscapes (CPU, minutes)"
	@echo "make test      install everything needed, then run all tests"
	@echo "make lint      style and types: ruff, mypy"
	@echo "make scatter   try again to install torch-scatter (optional)"
	@echo "make clean     delete .venv and the caches of the tools; data and runs stay"
	@echo
	@echo "ARGS=\"...\"         options of train/run.py (ARGS=--help lists them)"
	@echo "PYTHON=python3.12  the Python to use, 3.10 or newer"
	@echo "TORCH_INDEX=https://download.pytorch.org/whl/cpu"
	@echo "                   a small torch without CUDA on Linux, instead of several GB"

train: $(VENV)/.installed $(VENV)/.scatter
	@echo "== Training"
	@$(PY) train/run.py $(ARGS)

# One torch thread a worker: the workers together use the cores.
test: $(VENV)/.dev $(VENV)/.scatter
	@echo "== All tests"
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -n logical --maxprocesses 4
	@echo "== The tests that touch torch-scatter, without it"
	@OMP_NUM_THREADS=1 SG2IM_NO_TORCH_SCATTER=1 $(PY) -m pytest -q -m scatter

lint: $(VENV)/.dev
	@echo "== Style and types"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

scatter:
	@rm -f $(VENV)/.scatter
	@$(MAKE) --no-print-directory $(VENV)/.scatter

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "sg2im_pyg needs Python 3.10 or newer, and '$(PYTHON)' is not one" \
	    "($$($(PYTHON) --version 2>&1 || true)): name another," \
	    "for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "== Python environment in $(VENV)"
	@$(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	  || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "$(PYTHON) cannot make virtual environments: install its venv module" \
	    "(Debian, Ubuntu: apt install python3-venv) and run make again" >&2; exit 1; }
	@$(INSTALL) --upgrade pip setuptools wheel
	@touch $@

$(VENV)/.torch: $(VENV)/.python constraints.txt
	@echo "== PyTorch (0.2 GB to download, with CUDA several GB)"
	@$(INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@touch $@

# --no-build-isolation: with the setuptools that is there, instead of downloading another.
# PYTHONWARNINGS: setuptools warns of every editable installation.
INSTALL_EDITABLE = PYTHONWARNINGS=ignore $(INSTALL) --no-build-isolation -e

$(VENV)/.installed: $(VENV)/.torch setup.cfg pyproject.toml constraints.txt
	@echo "== sg2im_pyg and the libraries it needs"
	@$(INSTALL_EDITABLE) .
	@touch $@

$(VENV)/.dev: $(VENV)/.torch setup.cfg pyproject.toml constraints.txt
	@echo "== sg2im_pyg, the libraries it needs, and the tools for tests"
	@$(INSTALL_EDITABLE) ".[dev]"
	@touch $(VENV)/.installed $@

# torch-scatter is compiled against one version of torch. In order: what is installed, if it fits;
# the prebuilt wheels of the PyG project, which lie outside pip's index; a build from source, or
# the wheel that pip kept of one; another build, if that wheel turns out to fit another torch.
# Where all fail, the library does without.
SCATTER_PAGE = import torch; cuda = torch.version.cuda; print("https://data.pyg.org/whl/torch-" \
  + torch.__version__.split("+")[0] + "+" + ("cu" + cuda.replace(".", "") if cuda else "cpu") + ".html")
# A build for the CPU alone would fail on the tensors of a GPU.
SCATTER_NO_NVCC = import sys, torch, torch.utils.cpp_extension as cpp; \
  sys.exit(not (torch.cuda.is_available() and cpp.CUDA_HOME is None))
SCATTER_INSTALL = $(INSTALL) --no-deps --force-reinstall torch-scatter

$(VENV)/.scatter: $(VENV)/.torch
	@trap 'exit 130' INT; \
	fits() { $(PY) -c 'import torch_scatter' >/dev/null 2>&1; }; \
	prebuilt() { $(SCATTER_INSTALL) --no-index --only-binary :all: --timeout 5 --retries 0 \
	  --find-links "$$($(PY) -c '$(SCATTER_PAGE)')" >$(SCATTER_LOG) 2>&1; }; \
	build() { $(SCATTER_INSTALL) --no-build-isolation >>$(SCATTER_LOG) 2>&1; }; \
	missing() { echo "torch-scatter is not installed: $$1. Everything works without it;" \
	  "to try again: make scatter"; }; \
	if fits; then :; else \
	  echo "== torch-scatter (optional: sums over graphs)"; \
	  if prebuilt && fits; then :; \
	  elif $${CXX:-c++} --version >/dev/null 2>&1; then \
	    if $(PY) -c '$(SCATTER_NO_NVCC)' 2>/dev/null; then \
	      missing "there is a GPU but no CUDA compiler (nvcc) to build it"; \
	    else \
	      echo "There is no prebuilt torch-scatter for this torch, so it is compiled from C++: 8 to 10" \
	        "minutes, unless pip has kept the result of an earlier time."; \
	      if build && { fits || { $(PY) -m pip cache remove torch_scatter >>$(SCATTER_LOG) 2>&1; \
	        build && fits; }; }; then :; \
	      else missing "the build failed, see $(SCATTER_LOG)"; fi; \
	    fi; \
	  else missing "no prebuilt one for this torch, and no C++ compiler to build it"; fi; \
	  fits || $(PY) -m pip uninstall -q -y torch-scatter >>$(SCATTER_LOG) 2>&1; \
	fi
	@touch $@
