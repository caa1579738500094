# Two commands do everything on a fresh machine, set-up included: `make demo` and `make test`.
# PHOTOS=folder runs the demo on your own photographs; OUT=folder says where its results go.

TORCH := $(shell sed -n 's/^ *"\(torch==[0-9.]*\)",/\1/p' pyproject.toml)
BIN := .venv/bin
READY := .venv/.ready
# mypy finds modules by path, so it sees the repository under its import name.
SOURCE := .venv/share/source
OUT ?= runs/demo
PHOTOS ?=
SAMPLES ?=
# Rooms whose tests start neither Ray nor DeepSpeed nor MLflow.
QUICK_ROOMS := records synthetic faces degradation identity_index models restoration evaluation
IDENTITIES ?=
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
# Whose certificate authority pip is told of, uv is told of too.
ifneq ($(PIP_CERT),)
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
export NO_ALBUMENTATIONS_UPDATE := 1
# Ray, DeepSpeed and the tests start dozens of processes: without compiled modules each needs ten seconds more to import.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test wheel-test cluster-environment cluster-test lint types environment lock extras licences advisories benchmarks clean help

help:
	@echo "make demo [PHOTOS=folder] [OUT=folder]   photographs in, a trained and judged restorer and a report page out (synthetic people: 17 to 31 minutes on two cores that compute bfloat16)"
	@echo "make test                                every test (20 minutes on two cores)"
	@echo "make cluster-test                        real clusters and servers on this machine: Slurm of three nodes, Ray, a bucket (Debian: slurm-wlm, munge; root)"
	@echo "make wheel-test [PYTHON=python3.13]      the wheel without the repository: the command, and the tests of the rooms that need no engine"
	@echo "make lint                                ruff and mypy"
	@echo "make extras                              whether every extra can be had beside the locks, for each Python"
	@echo "make advisories                          known advisories against the pinned packages (asks api.osv.dev)"
	@echo "make benchmarks                          each room's cost beside a named rival or limit"

environment: $(READY)

# torch comes first and alone: the machine (a CPU wheel in PIP_FIND_LINKS, or the ordinary wheel) decides its build, so
# it and what only it asks for have no hash here; everything else is what the lock says, or is not installed.
$(READY): requirements.lock installer.lock pyproject.toml
	@python=; for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; \
	  then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then echo "anchorface needs Python 3.11, 3.12 or 3.13: install one, or make PYTHON=/path/to/python3.13" >&2; exit 1; fi; \
	echo "environment: .venv with $$($$python --version) ..."; \
	[ -x $(BIN)/python ] || $$python -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement installer.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --constraint requirements.lock $(TORCH)
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --require-hashes --requirements requirements.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)
	@$(BIN)/anchorface demo --out $(OUT) $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(SAMPLES),--samples $(SAMPLES)) $(if $(IDENTITIES),--identities $(IDENTITIES))

test: $(READY)
	@$(BIN)/python -m pytest -q --durations=15 --numprocesses 2 --dist loadfile

# The wheel as others install it, in an environment of its own where nothing of the repository is: what it asks for, in
# the locks' versions, and the tests' tools. ../shared is not there either, so tests of real photographs skip.
wheel-test: $(READY)
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && trap 'exit 130' INT TERM && \
	$(BIN)/uv build --quiet --no-build-isolation --out-dir "$$place/built" . && \
	$(BIN)/uv venv --quiet --python $(or $(PYTHON),$(BIN)/python) "$$place/environment" && \
	VIRTUAL_ENV="$$place/environment" $(BIN)/uv pip install --quiet --constraint requirements.lock --group dev "$$place"/built/*.whl && \
	VIRTUAL_ENV="$$place/environment" $(BIN)/uv pip check && \
	cp -r tests pyproject.toml "$$place" && cd "$$place" && export HOME="$$place" PATH="$$place/environment/bin:$$PATH" && \
	anchorface doctor > /dev/null && \
	python -m pytest -q -m 'not line and not cluster' --durations=5 --numprocesses 2 --dist loadfile $(QUICK_ROOMS:%=tests/%)

# What Ray needs for its dashboard, jobs and metrics, beside the rest: each Ray of one's own then takes 44 MB more, and
# ports that others may have. So it is for a cluster's nodes, and for those who test clusters.
cluster-environment: $(READY)
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --require-hashes --requirements cluster.lock

cluster-test: cluster-environment
	@$(BIN)/python -m pytest -q -m cluster --durations=15 --timeout=3600

lint: $(READY)
	@$(BIN)/ruff check .
	@mkdir -p $(SOURCE) && ln -sfn ../../.. $(SOURCE)/anchorface && MYPYPATH=$(SOURCE) $(BIN)/mypy

benchmarks: $(READY)
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# One lock for CPU and CUDA: every package but torch and what only torch asks for, with the hashes of all its files; and
# one of what the extra `cluster` adds to it.
lock: EXPORT = $(BIN)/uv export --quiet --prune torch --no-emit-project --no-header --no-annotate --all-groups \
  --all-extras --no-extra noncommercial --no-extra dlib
lock:
	@$(BIN)/uv lock --quiet && $(EXPORT) --no-extra cluster --no-extra serve > requirements.lock && $(EXPORT) \
	  $$(sed -n 's/^\([^=[:space:]]*\)==.*/--no-emit-package \1/p' requirements.lock) > cluster.lock && rm uv.lock

# All at once, beside the locks' versions; nothing is installed.
extras: $(READY)
	@for version in 3.11 3.12 3.13; do echo "Python $$version" && $(BIN)/uv pip compile --quiet --python-version $$version \
	  --all-extras --constraint requirements.lock --constraint cluster.lock --output-file /dev/null pyproject.toml > /dev/null || exit 1; done

licences: cluster-environment
	@$(BIN)/python -m anchorface.infra.supply licences

advisories: $(READY)
	@$(BIN)/python -m anchorface.infra.supply advisories

clean:
	rm -rf .venv runs mlruns build *.egg-info
