# The two commands are `make book` and `make test`; `make help` lists the rest.
# Everything is made inside this folder: the environment in .venv, the site in _build/html.

# The first of these that is Python 3.11 to 3.13; or name one: make book PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$p; break; }; done)
PORT ?= 8000

bin := .venv/bin
python := $(bin)/python

.PHONY: book test serve pyodide match bench mutants pdf site-report links lint clean help again notebooks editions grade guide
.DEFAULT_GOAL := help

book: .venv/installed  ## build the book, every cell executed, into _build/html
	@$(python) book/build.py

test: .venv/installed  ## run all tests (those of the built pages need `make book` first)
	@$(python) -m pytest $(ARGS)

mutants: .venv-mutants/installed  ## MODULE=adjode/discrete: break the code on purpose; tests must notice (minutes)
	@.venv-mutants/bin/python tests/mutants/run.py $(MODULE)

serve: .venv/installed  ## serve the built book; PORT=8000
	@test -f _build/html/index.html || { echo "There is no built book yet: run \`make book\` first." >&2; exit 1; }
	@echo "The book is at http://localhost:$(PORT)/ (stop with Ctrl-C)"
	@$(python) -m http.server $(PORT) --bind localhost --directory _build/html

pyodide: .venv/installed  ## FOLDER=...: let the pages run Python: copy a Pyodide distribution into the built site
	@$(python) book/pyodide.py "$(FOLDER)"

notebooks: book  ## the same, and say where the chapters lie as notebooks: _build/notebooks
	@echo; echo "The notebooks, as the site offers them, with the wheel that they install:"; echo
	@ls _build/notebooks/book/*/*.ipynb | sed 's/^/    /'

match: .venv/installed  ## LABEL=eq-name: look at a changed equation beside its check, and accept it
	@test -n "$(LABEL)" || { echo "Say which equation: make match LABEL=eq-name" >&2; exit 1; }
	@$(python) -m receipts.match $(LABEL)

editions: .venv/installed  ## notebooks for a class into _build/editions; STUDENTS=names.txt for a sheet each
	@$(python) -m teaching editions $(if $(STUDENTS),--students "$(STUDENTS)") $(if $(OUT),--out "$(OUT)")

grade: .venv/installed  ## FOLDER=submitted [CLASS=class.json] [ASSIGNMENT=name]: points, and a report for each student
	@test -n "$(FOLDER)" || { echo "Say which folder: make grade FOLDER=submitted" >&2; exit 1; }
	@$(python) -m teaching grade "$(FOLDER)" $(if $(CLASS),--class "$(CLASS)") \
		$(if $(ASSIGNMENT),--assignment "$(ASSIGNMENT)") $(if $(OUT),--out "$(OUT)")

guide: .venv/installed  ## write the tables of the teaching guide again, from the chapters
	@$(python) -m teaching guide

bench: .venv/installed  ## measure gradient times beside other libraries; minutes, and once a large download
	@test -f .venv-bench/installed || { \
		echo "Making .venv-bench with the other libraries (bench/README.md) ..."; \
		$(PYTHON) -m venv --clear .venv-bench \
		&& .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt \
		&& touch .venv-bench/installed; } \
		|| echo "They could not be installed: measuring adjode and autograd alone." >&2
	@if test -f .venv-bench/installed; then with=.venv-bench/bin/python; else with=$(python); fi; \
		PYTHONPATH=src $$with bench/run.py $(ARGS)

site-report: .venv/installed  ## measure every built page with Lighthouse and axe; minutes; ARGS="PAGE ..." for some
	@$(python) tests/site/report.py $(ARGS)

pdf: .venv/installed  ## print the built book into _build/the-checked-adjoint.pdf; needs a Chromium
	@$(python) book/pdf.py

links: .venv/installed  ## ask every address that the book links to whether it is there
	@$(bin)/jupyter-book build . --builder linkcheck --path-output _build/links

lint: .venv/installed  ## check the style of the code
	@$(python) -m ruff check .

clean:  ## remove what was built; the environment stays
	rm -rf _build

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

# Made once, and again only when the requirements change, or when it no longer works here: its
# Python is gone, or this folder was moved or copied, and it would import the code of the old one.
# A half-made one does not count: the stamp comes last.
works := $(python) -c 'import importlib.util as u, os; \
	assert os.path.samefile(u.find_spec("adjode").origin, "src/adjode/__init__.py")' 2>/dev/null
again:
.venv/installed: requirements.txt pyproject.toml $(shell $(works) || echo again)
	@test -n "$(PYTHON)" || { echo "The book needs Python 3.11, 3.12 or 3.13, and none was found. Install one, or name it: make book PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13. Name one that is: make book PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) lacks its venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Making the environment .venv with $(PYTHON) (once; about a minute) ..."
	@rm -f $@
	@$(python) -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@$(python) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

# Mutation testing has an environment of its own: nobody else needs its tools.
.venv-mutants/installed: tests/mutants/requirements.txt requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed, and none was found. Name one: make mutants PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv-mutants
	@grep -v '^-e' requirements.txt >.venv-mutants/constraints.txt
	@.venv-mutants/bin/python -m pip install --quiet --disable-pip-version-check \
		-c .venv-mutants/constraints.txt -r tests/mutants/requirements.txt
	@touch $@
