# Each target sets up .venv by itself when needed; a second call finds it ready.
PYTHON ?= python3
PARAMS ?= params/demo.yaml
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: report test bench lab lint format clean

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

lab: $(VENV)/.lab
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/1_export.ipynb

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find outputs -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +

$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) (once) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@$(PIP) -e '.[cluster,dev]'
	@touch $@

$(VENV)/.lab: $(VENV)/.base
	@$(PIP) -e '.[lab]'
	@touch $@
