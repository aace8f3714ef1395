# The commands of this repository; `make help` lists them. Everything is installed into .venv/.

# Any Python 3.11, 3.12 or 3.13; `make PYTHON=/path/to/python3.12 ...` chooses another one.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
# Test processes.
JOBS ?= 2
# The release that `make lock` pins.
TORCH ?= 2.13.0

# What was once imported is kept compiled: a process that compiles torch anew takes seconds more.
export PYTHONDONTWRITEBYTECODE =

BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
HASHED := --no-deps --require-hashes
STAMP := .venv/.installed
LIBRARY := $(shell find maskdiff_edu -type f -not -path '*/__pycache__/*' 2>/dev/null)

# One thread a process: two test processes with many threads each slow one another down.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# Progress bars go to stderr, which a chapter may not use.
NO_BARS := TQDM_DISABLE=1
# A module whose lines no test runs is not tested. Looking which lines run is free from Python 3.12
# on and takes as long as the tests themselves before: there only `make test-all` looks.
COVERAGE = $(shell $(BIN)/python -c 'import sys; sys.exit(not "$(COVER)" and sys.version_info < (3, 12))' \
	&& echo --cov maskdiff_edu --cov-report term:skip-covered --cov-fail-under 98)
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout 300 \
	--nbval-sanitize-with tests/nbval_sanitize.cfg

.PHONY: help book site slides test test-all notebooks runtime bench bench-gpu assignments homework classroom lock third-party set-repo clean distclean
.DEFAULT_GOAL := help

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1#/p' $(MAKEFILE_LIST) | \
		while IFS='#' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

# The environment: made once, again whenever the requirements change. Every file must have a hash
# that the lock gives. PyTorch comes first, as this machine's pip chooses it, since a machine may
# offer a build without CUDA, which pip would pass over for one whose hash it learns beforehand;
# with CUDA it needs more gigabytes (2.13.0, not 2.13.0+cpu). Python compiles a module when it is
# first imported; --no-compile does not do it for the thousands that never are.
$(STAMP): pyproject.toml requirements.lock requirements-cuda.lock
	@$(BIN)/python -m pip --version >/dev/null 2>&1 && $(BIN)/python -c '$(SUPPORTED)' || { \
		test -n '$(PYTHON)' && $(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { \
			echo "Needs Python 3.11, 3.12 or 3.13; got '$(PYTHON)'." >&2; \
			echo "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }; \
		echo "Making .venv with $(PYTHON)"; \
		$(PYTHON) -m venv --clear .venv || { \
			echo "Could not make .venv (on Debian and Ubuntu: apt install python3-venv)." >&2; \
			exit 1; }; }
	@echo "Installing the packages of requirements.lock into .venv (a few minutes the first time)"
	@sed -n '/^torch==/,/[^\\]$$/p' requirements.lock > .venv/torch.lock
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps \
		--dest .venv/torch "$$(head -n 1 .venv/torch.lock | cut -d ' ' -f 1)"
	@$(PIP_INSTALL) $(HASHED) --no-index --find-links .venv/torch --requirement .venv/torch.lock
	@rm -r .venv/torch
	@$(PIP_INSTALL) $(HASHED) --requirement requirements.lock
	@$(BIN)/python -c 'from importlib.metadata import version; exit("+" in version("torch"))' \
		|| exit 0; $(PIP_INSTALL) $(HASHED) --requirement requirements-cuda.lock
	@$(PIP_INSTALL) --no-build-isolation --editable '.[book,test,bench]'
	@touch $@

# Executed chapters are cached by their own text only: forget them when the library changes.
_build/.library: $(LIBRARY) $(STAMP)
	@rm -rf _build/.jupyter_cache && mkdir -p _build && touch $@

# --all: a page that was not read again would not repeat its warning, and -W would miss it.
RENDER := $(BIN)/jupyter-book build . --all -W --keep-going
# The slides are part of the site: pages link to them.
SLIDES := $(BIN)/python data_scripts/build_slides.py
SHOW_PAGE = @echo; echo "Open $(CURDIR)/_build/html/index.html"

book: $(STAMP) _build/.library  ## execute the chapters (only what changed) and render them
	$(NO_BARS) $(BIN)/python data_scripts/run_notebooks.py --cache book/*.ipynb
	$(RENDER)
	$(SLIDES)
	$(SHOW_PAGE)

site: $(STAMP)  ## render the outputs that are stored in the chapters, executing nothing
	@mkdir -p _build
	@sed -e 's/execute_notebooks: cache/execute_notebooks: "off"/' -e 's|: book/_ext|: $(CURDIR)/book/_ext|g' \
		_config.yml > _build/stored.yml
	$(RENDER) --config _build/stored.yml
	$(SLIDES)
	$(SHOW_PAGE)

slides: $(STAMP)  ## make the lecture slides anew, a part of the site (_build/html/slides)
	$(SLIDES)

test: $(STAMP)  ## linter, types, unit tests, the site in a browser, notebooks against their outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory site
	$(ONE_THREAD) COVERAGE_CORE=sysmon MASKDIFF_SITE=_build/html $(BIN)/python -m pytest -q -n $(JOBS) \
		--no-loadscope-reorder -m 'not alone' --doctest-modules $(COVERAGE) tests maskdiff_edu
	$(NO_BARS) $(BIN)/python -m pytest -q -m alone tests
	$(NO_BARS) $(ONE_THREAD) $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(NBVAL) book/*.ipynb

test-all: export MASKDIFF_ALL := 1
test-all: COVER = always
test-all: test  ## the same, every chapter with only the wheel, faults, and the book from nothing
	rm -rf _build/.jupyter_cache
	$(MAKE) --no-print-directory book

notebooks: $(STAMP)  ## execute the chapters and store their outputs in them
	$(NO_BARS) $(ONE_THREAD) $(BIN)/python data_scripts/run_notebooks.py book/*.ipynb

runtime: $(STAMP)  ## execute the chapters from nothing, and write what each took into book/runtime.md
	rm -rf _build/.jupyter_cache
	$(NO_BARS) $(BIN)/python data_scripts/run_notebooks.py --cache --table book/*.ipynb

bench: $(STAMP)  ## speed, beside other libraries
	@set -e; for script in $(filter-out tests/bench_gpu.py,$(wildcard tests/bench_*.py)); do \
		echo "$$script"; PYTHONPATH=data_scripts $(BIN)/python "$$script"; done

bench-gpu: $(STAMP)  ## speed on an NVIDIA GPU, and its digits beside the processor's
	$(BIN)/python tests/bench_gpu.py

assignments: $(STAMP)  ## COURSE="a secret" NAME=spring PLACE=owner/repo: make a course's assignments
	@test -n "$$COURSE" || { echo 'name a secret: make assignments COURSE="..." NAME=...' >&2; exit 1; }
	$(BIN)/python data_scripts/build_assignments.py "$$COURSE" --name '$(or $(NAME),course)' \
		--place '$(PLACE)'

homework: $(STAMP)  ## write the assignments for self-study, which are pages of the book, anew
	$(BIN)/python data_scripts/build_assignments.py

classroom: site  ## one zip for a room without internet; HANDOUT=_build/assignments/spring/handout
	$(BIN)/python data_scripts/build_classroom.py $(if $(HANDOUT),--handout '$(HANDOUT)')

lock: $(STAMP)  ## choose the newest versions anew and write them, with their hashes
	@$(PIP_INSTALL) '.[lock]'
	$(BIN)/python data_scripts/build_lock.py torch==$(TORCH)

third-party: $(STAMP)  ## fetch the scripts by others anew (needs npm; they are committed)
	$(BIN)/python data_scripts/fetch_third_party.py

set-repo: $(STAMP)  ## REPO=owner/name: write the repository's address everywhere
	@test -n '$(REPO)' || { echo "say which: make set-repo REPO=owner/name" >&2; exit 1; }
	$(BIN)/python data_scripts/set_repo.py '$(REPO)'

clean:  ## delete what was built, keep the environment
	rm -rf _build dist build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean  ## delete the environment too
	rm -rf .venv
