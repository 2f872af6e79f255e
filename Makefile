# Everything a newcomer needs: `make reproduce` and `make test` set themselves up.
PYTHON ?= python3
VENV   ?= .venv
DATA   ?= scenes-rooms
SCALE  ?= lab
CORES  ?= 0
BIN    := $(VENV)/bin

ifdef MDE_DATA
export MDE_DATA := $(abspath $(MDE_DATA))
endif

.PHONY: help setup lab reproduce test offline study notebooks book bench peers audit lock clean
.DEFAULT_GOAL := help

help:       ## this list
	@grep -hE '^[a-z]+: .*##' Makefile | sed 's/:.*##/\t/' | expand -t 14

setup: $(VENV)/.ready ## build .venv with the exact versions of requirements.lock

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python %d.%d was found, 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." % v[:2])'
	@echo "Building $(VENV) (about 7 GB, a few minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lab: setup ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

reproduce: setup ## data, trainings, notebooks, report (DATA=scenes-rooms|nyu SCALE=lab|smoke|study)
	$(BIN)/mde reproduce --data $(DATA) --scale $(SCALE) --cores $(CORES)

test: setup ## all tests, and every notebook at smoke scale
	MDE_SCALE=smoke OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --nbval-lax --nbval-cell-timeout 600 tests notebooks/[0-9]*.ipynb

offline: setup ## the same with the network cut, as in a room without internet (Linux)
	unshare --map-root-user --net sh -c 'ip link set lo up && $(MAKE) test'

study: setup ## the reference study on real NYU, several seeds (hours on CPU; resumable)
	$(BIN)/mde reproduce --data nyu --scale study --cores $(CORES) --collect

notebooks: setup ## build and execute the student and solution editions from notebooks/src
	$(BIN)/mde notebooks

book: setup ## the course as a static site, from the executed notebooks (needs no network)
	$(BIN)/mde book

bench: setup peers ## timings beside other libraries, into the README (QUICK=1: small sizes, prints only)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/bench.py $(if $(QUICK),--quick,--json)
	$(if $(QUICK),,$(BIN)/mde readme)

peers: setup ## other libraries that `make bench` times ours beside, in $(VENV)/peers
	@[ $(VENV)/peers/.ready -nt benchmarks/peers.txt ] || { $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/peers -r benchmarks/peers.txt && touch $(VENV)/peers/.ready; } || echo "The libraries of benchmarks/peers.txt could not be installed: their contests are left out."

audit: setup ## known vulnerabilities of the locked packages (needs a network: asks a public database)
	@[ -x $(VENV)/audit/bin/pip-audit ] || { $(BIN)/python -m venv $(VENV)/audit && $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	$(VENV)/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip --strict

lock: setup ## write requirements.lock anew from what is installed
	$(BIN)/mde lock

clean: ## delete what was built: runs/ (.venv and data/ stay)
	rm -rf runs .pytest_cache .ruff_cache
