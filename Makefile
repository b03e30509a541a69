# Each target sets up .venv by itself when needed; a second call finds it ready.
PYTHON ?= python3
PARAMS ?= params/demo.yaml
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
# Exactly the files whose hashes the lists name, and nothing that they do not name.
LOCKED := $(PIP) --require-hashes
# True where the PyTorch that was installed is the build that needs CUDA's libraries beside it.
NEEDS_CUDA := import importlib.metadata as m, sys; \
  sys.exit(not any(r.startswith(("nvidia", "cuda", "triton")) for r in m.requires("torch")))

.PHONY: report test bench docs lab lint format lock audit fuzz clean clean-outputs

report: $(VENV)/.base
	$(BIN)/lresnet run $(PARAMS)

# Two workers share the machine, so OpenMP threads must not spin while they wait.
test: $(VENV)/.dev
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# IR-SE100 at batch 16 alone takes twenty minutes on two cores; nothing else should run meanwhile.
bench: $(VENV)/.base
	$(BIN)/python benchmarks/peers.py $(BENCH)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

# The API reference, from the docstrings into build/api; a warning ends it. The kernels' class comes
# from Jupyter, whose own annotations pdoc cannot read.
docs: $(VENV)/.docs
	$(BIN)/python -W error::UserWarning -m pdoc --docformat numpy --no-search \
	  --output-directory build/api lresnet_utils '!lresnet_utils.running.kernels'

lab: $(VENV)/.lab
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/1_export.ipynb

# Runs are left alone: they may be hours of work.
clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis

clean-outputs:
	find outputs -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +

# Every list of requirements/ anew, after a change of pyproject.toml or constraints.txt.
lock: $(VENV)/.tools
	$(BIN)/python requirements/lock.py

# Not part of `make test`: it asks a service on the network.
audit: $(VENV)/.tools
	@$(BIN)/python requirements/audit.py

# More damaged files for every reader, then coverage-guided ones; FUZZ="--help" for what to choose.
fuzz: $(VENV)/.dev
	@$(LOCKED) -r requirements/fuzz.txt || \
	  echo "atheris has no build for this Python, so only the mutation engine runs"
	$(BIN)/python tests/fuzz/long.py $(FUZZ)

$(VENV)/.base: pyproject.toml requirements/base.txt requirements/torch.txt requirements/cuda.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' || \
	  { echo "Python 3.11.5 or newer is needed; name one with make PYTHON=python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) (once) ..."
	@$(LOCKED) --no-index -r requirements/torch.txt 2>/dev/null || \
	  $(LOCKED) -r requirements/torch.txt
	@$(LOCKED) -r requirements/base.txt
	@if $(BIN)/python -c '$(NEEDS_CUDA)'; then $(LOCKED) -r requirements/cuda.txt; fi
	@$(PIP) --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base requirements/dev.txt
	@$(LOCKED) -r requirements/dev.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.base requirements/docs.txt
	@$(LOCKED) -r requirements/docs.txt
	@touch $@

$(VENV)/.lab: $(VENV)/.base requirements/lab.txt
	@$(LOCKED) -r requirements/lab.txt
	@touch $@

$(VENV)/.tools: $(VENV)/.base requirements/tools.txt
	@$(LOCKED) -r requirements/tools.txt
	@touch $@
